//! The bridge's closed form against a transformation matrix that is really built, and what becomes
//! of its gradient as the temperature falls.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};

use shutterbug::bridge::{
    Bridge, CaptionMap, Choices, DrivingCaption, Mode, Pooling, StaticMatch, Temperature,
    gumbel_noise, gumbel_softmax, words,
};
use shutterbug::prompt::{
    CaptionTokenizer, CaptionTokenizers, EncodedCaption, LlamaTokenizer, TextToken,
};
use shutterbug::torch::Generator;
use tch::{Device, Kind, Tensor};

const MODES: [Mode; 5] = [
    Mode::Static(StaticMatch::Raw),
    Mode::Static(StaticMatch::Folded),
    Mode::Sentence,
    Mode::Word,
    Mode::Position,
];

const TEXTS: [&str; 7] = [
    "a small black cat on a table",
    "Two people, sharing a BIG birthday-cake!",
    "naïve café №7 🐱👩‍👩‍👧 at 12:30",
    "  two  spaces\tand a tab\n",
    "שלום beside 日本語のテキスト",
    "the the the cat cat",
    "supercalifragilisticexpialidocious",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/prompt")
}

/// Two small vocabularies that split words differently, and token tables over the encoders'.
struct Setting {
    llama: LlamaTokenizer,
    encoders: CaptionTokenizers,
    tables: [Tensor; 2],
    barred_v: Tensor,
    generator: Generator,
}

impl Setting {
    fn new(seed: u64) -> Self {
        let llama = LlamaTokenizer::load(&fixtures().join("llama_0"), None).unwrap();
        let encoders = CaptionTokenizers::load(&fixtures().join("clip_102")).unwrap();
        let mut generator = Generator::new(seed);
        let rows = encoders.clip_l.rows() as i64;
        let tables = [generator.randn(&[rows, 6]), generator.randn(&[rows, 9])];
        let barred_v = Tensor::zeros([llama.rows() as i64], (Kind::Bool, Device::Cpu));
        for (_, id) in llama.controls() {
            let _ = barred_v.get(i64::from(id)).fill_(1);
        }
        Self { llama, encoders, tables, barred_v, generator }
    }

    fn tables(&self) -> [&Tensor; 2] {
        [&self.tables[0], &self.tables[1]]
    }

    /// Logits of a model that is `confidence` above chance about the caption.
    fn logits(&mut self, caption: &str, confidence: f64) -> Tensor {
        let tokens = self.llama.encode(caption).unwrap();
        let logits_mv =
            self.generator.randn(&[tokens.len() as i64, self.llama.rows() as i64]) * 2.0;
        for (at, token) in tokens.iter().enumerate() {
            let _ = logits_mv.get(at as i64).get(i64::from(token.id)).g_add_scalar_(confidence);
        }
        logits_mv
    }

    fn draw(&mut self, logits_mv: &Tensor, temperature: Temperature) -> Choices {
        let noise_mv = gumbel_noise(&mut self.generator, &logits_mv.size());
        gumbel_softmax(logits_mv, &noise_mv, &self.barred_v, temperature)
    }
}

fn meets(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The text that a token writes, as eq. 3 compares it.
fn string(bytes: &[u8], sameness: StaticMatch) -> Option<Vec<u8>> {
    match sameness {
        StaticMatch::Raw => Some(bytes.to_vec()),
        StaticMatch::Folded => {
            let text = String::from_utf8(bytes.to_vec()).ok()?.trim().to_lowercase();
            (!text.is_empty()).then(|| text.into_bytes())
        }
    }
}

/// Matrices that belong to no caption, by encoder.
type Built = HashMap<usize, Tensor>;

/// M by its definition, dense `[v_llm, v_sd]`, at an encoder's content position `p`.
fn dense(
    mode: Mode,
    setting: &Setting,
    encoder: &CaptionTokenizer,
    (caption, encoded): (&DrivingCaption, &EncodedCaption),
    p: usize,
) -> Tensor {
    let (v_llm, v_sd) = (setting.llama.rows(), encoder.rows());
    let mut matrix = vec![0.0f32; v_llm * v_sd];
    let content = &encoded.ids[encoded.content.clone()];
    let mut pairs = |tokens: Vec<&TextToken>, ids: &[i64]| {
        for token in tokens {
            for &id in ids {
                matrix[token.id as usize * v_sd + id as usize] = 1.0;
            }
        }
    };
    let tokens = caption.tokens.iter();
    match mode {
        Mode::Static(sameness) => {
            for llm in 0..v_llm {
                let Some(bytes) = setting.llama.token_bytes(llm as u32) else { continue };
                let same = string(bytes, sameness);
                for (sd, other) in encoder.written() {
                    if same.is_some() && same == string(&other, sameness) {
                        matrix[llm * v_sd + sd as usize] = 1.0;
                    }
                }
            }
        }
        Mode::Sentence => {
            let read = encoded.bytes.last().map_or(0, |last| last.end);
            let words = words(&caption.text).into_iter();
            let end = words.filter(|word| word.start < read).map(|word| word.end).max();
            let end = end.unwrap_or(0);
            // White space behind the last word belongs to the caption where nothing was cut.
            let whole = caption.text[end..].trim().is_empty();
            pairs(tokens.filter(|token| whole || token.bytes.start < end).collect(), content);
        }
        Mode::Word => {
            let word = word_at(caption, &encoded.bytes[p]);
            let places = content.iter().zip(&encoded.bytes);
            let ids: Vec<i64> =
                places.filter(|(_, bytes)| meets(bytes, &word)).map(|(id, _)| *id).collect();
            pairs(tokens.filter(|token| meets(&token.bytes, &word)).collect(), &ids);
        }
        Mode::Position => {
            for llm in 0..v_llm {
                let Some(bytes) = setting.llama.token_bytes(llm as u32) else { continue };
                let Ok(text) = std::str::from_utf8(bytes) else { continue };
                let own = encoder.encode(text).unwrap();
                let ids = &own.ids[own.content];
                for &id in ids {
                    matrix[llm * v_sd + id as usize] += 1.0 / ids.len() as f32;
                }
            }
        }
    }
    Tensor::from_slice(&matrix).view([v_llm as i64, v_sd as i64])
}

fn word_at(caption: &DrivingCaption, bytes: &Range<usize>) -> Range<usize> {
    words(&caption.text).into_iter().find(|word| meets(word, bytes)).unwrap()
}

/// The positions of the language model over which R M is averaged at an encoder's position.
fn averaged(mode: Mode, caption: &DrivingCaption, bytes: &Range<usize>) -> Vec<i64> {
    let range = match mode {
        Mode::Static(_) | Mode::Sentence => return (0..caption.positions.len() as i64).collect(),
        Mode::Word => word_at(caption, bytes),
        Mode::Position => bytes.clone(),
    };
    let written = caption.positions.iter().enumerate();
    written.filter(|(_, written)| meets(written, &range)).map(|(at, _)| at as i64).collect()
}

/// Eq. 5 by its definition, times the table: `[77, d]`.
fn naive(
    mode: Mode,
    setting: &Setting,
    side: usize,
    choices_mv: &Tensor,
    caption: (&DrivingCaption, &EncodedCaption),
    built: &mut Built,
) -> Tensor {
    let encoder = [&setting.encoders.clip_l, &setting.encoders.clip_g][side];
    let encoded = caption.1;
    let one_hot = Tensor::from_slice(&encoded.ids).one_hot(encoder.rows() as i64);
    let mut rows: Vec<Tensor> = one_hot.to_kind(Kind::Float).unbind(0);
    if matches!(mode, Mode::Sentence | Mode::Word) {
        built.clear();
    }
    for (p, bytes) in encoded.bytes.iter().enumerate() {
        if mode == Mode::Word {
            built.clear();
        }
        let matrix = built.entry(side).or_insert_with(|| dense(mode, setting, encoder, caption, p));
        let positions = Tensor::from_slice(&averaged(mode, caption.0, bytes));
        let reached = choices_mv.index_select(0, &positions).matmul(&*matrix);
        let average = reached.mean_dim([0i64].as_slice(), false, Kind::Float);
        let row = &mut rows[encoded.content.start + p];
        *row = &*row - average.detach() + average;
    }
    Tensor::stack(&rows, 0).matmul(&setting.tables[side])
}

/// Which caption drives.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Driver {
    Gold,
    Own,
}

impl Setting {
    fn driving(&self, caption: &str, tokens_m: &Tensor, driver: Driver) -> DrivingCaption {
        match driver {
            Driver::Gold => DrivingCaption::gold(caption, &self.llama, &self.encoders),
            Driver::Own => {
                let drawn: Vec<i64> = tokens_m.try_into().unwrap();
                let drawn: Vec<u32> = drawn.into_iter().map(|id| id as u32).collect();
                DrivingCaption::own(&drawn, &self.llama, &self.encoders)
            }
        }
        .unwrap()
    }
}

fn gradient(of: &Tensor, by: &Tensor) -> Tensor {
    Tensor::run_backward(&[of], &[by], true, false).remove(0)
}

/// Holds value and gradient of one caption against the naive form, for both encoders; gives the
/// gradient's norms.
fn check(
    setting: &mut Setting,
    mode: Mode,
    caption: &str,
    driver: Driver,
    built: &mut Built,
) -> [f64; 2] {
    let bridge =
        Bridge::new(mode, Pooling::Mean, &setting.llama, &setting.encoders, setting.tables())
            .unwrap();
    let logits_mv = setting.logits(caption, 6.0).set_requires_grad(true);
    let temperature = Temperature { tau: 0.7, floor: 0.0 };
    let Choices { choices_mv, tokens_m } = setting.draw(&logits_mv, temperature);
    let driving = setting.driving(caption, &tokens_m, driver);
    let embedded = bridge.embed(&choices_mv, &driving);
    let what = format!("{mode:?}, {driver:?}, {caption:?}");
    let mut check_side = |embedded: &Tensor, side: usize, encoded: &EncodedCaption| {
        let table = &setting.tables[side];
        let hard = table.index_select(0, &Tensor::from_slice(&encoded.ids));
        assert_eq!(*embedded, hard, "{what}: other values than the hard rows");
        let naive = naive(mode, setting, side, &choices_mv, (&driving, encoded), built);
        assert!((&naive - embedded).abs().max().double_value(&[]) < 1e-3, "{what}");
        let probe = Generator::new(side as u64).randn(&embedded.size());
        let [expected, ours] = [&naive, embedded]
            .map(|value| gradient(&(value * &probe).sum(Kind::Float), &logits_mv));
        let norm = expected.norm().double_value(&[]);
        let error = (expected - ours).norm().double_value(&[]);
        assert!(error <= 1e-5 * norm + 1e-7, "{what}, encoder {side}: {error:e} of {norm:e}");
        norm
    };
    [
        check_side(&embedded.clip_l, 0, &driving.clip_l),
        check_side(&embedded.clip_g, 1, &driving.clip_g),
    ]
}

#[test]
fn every_mode_equals_a_matrix_that_is_built() {
    let mut setting = Setting::new(1);
    for mode in MODES {
        let (mut norms, mut built) = (Vec::new(), Built::new());
        for caption in TEXTS {
            for driver in [Driver::Gold, Driver::Own] {
                norms.extend(check(&mut setting, mode, caption, driver, &mut built));
            }
        }
        let some = norms.iter().filter(|norm| **norm > 1e-3).count();
        assert!(some * 4 >= norms.len() * 3, "{mode:?} hardly has a gradient: {norms:?}");
    }
}

#[test]
fn a_caption_longer_than_the_encoder_is_cut_on_both_sides() {
    let mut setting = Setting::new(2);
    let caption = (0..60).map(|n| format!("word{n}")).collect::<Vec<_>>().join(" ") + " ZEBRA";
    let driving = DrivingCaption::gold(&caption, &setting.llama, &setting.encoders).unwrap();
    let encoded = &driving.clip_l;
    assert_eq!((encoded.ids.len(), encoded.content.len()), (77, 75));
    let read = encoded.bytes.last().unwrap().end;
    assert!(read < caption.len() / 2);
    for mode in [Mode::Sentence, Mode::Word, Mode::Position] {
        check(&mut setting, mode, &caption, Driver::Gold, &mut Built::new());
    }

    // Only the words that survive are reached.
    let choices_mv = Tensor::zeros(
        [driving.positions.len() as i64, setting.llama.rows() as i64],
        (Kind::Float, Device::Cpu),
    )
    .set_requires_grad(true);
    let bridge = Bridge::new(
        Mode::Sentence,
        Pooling::Mean,
        &setting.llama,
        &setting.encoders,
        setting.tables(),
    )
    .unwrap();
    let embedded = bridge.embed(&choices_mv, &driving).clip_l;
    let reached = gradient(&embedded.sum(Kind::Float), &choices_mv).get(0).nonzero().view([-1]);
    let reached: Vec<i64> = reached.try_into().unwrap();
    let last = words(&caption).into_iter().rfind(|word| word.start < read).unwrap();
    let survivors: BTreeSet<i64> = driving
        .tokens
        .iter()
        .filter(|token| token.bytes.start < last.end)
        .map(|token| i64::from(token.id))
        .collect();
    assert_eq!(BTreeSet::from_iter(reached), survivors);
    let all: BTreeSet<u32> = driving.tokens.iter().map(|token| token.id).collect();
    assert!(survivors.len() < all.len());
}

#[test]
fn an_own_caption_is_what_the_draw_says() {
    let setting = Setting::new(3);
    let ids = |text: &str| -> Vec<u32> {
        setting.llama.encode(text).unwrap().iter().map(|token| token.id).collect()
    };
    let mut drawn = ids(" a red");
    // Half a character, which is read as U+FFFD.
    drawn.push(ids("é")[0]);
    drawn.extend(ids(" cat  "));
    let own = DrivingCaption::own(&drawn, &setting.llama, &setting.encoders).unwrap();
    assert_eq!(own.text, "a red\u{FFFD} cat");
    assert_eq!(own.tokens, setting.llama.encode(&own.text).unwrap());
    assert_eq!(own.positions.len(), drawn.len());
    let written: String = own.positions.iter().map(|range| &own.text[range.clone()]).collect();
    assert_eq!(written, own.text);

    let blank = DrivingCaption::own(&ids("  "), &setting.llama, &setting.encoders).unwrap();
    assert_eq!((blank.text.as_str(), blank.clip_l.content.len()), ("", 0));
    for mode in MODES {
        let bridge =
            Bridge::new(mode, Pooling::Mean, &setting.llama, &setting.encoders, setting.tables())
                .unwrap();
        let size = [blank.positions.len() as i64, setting.llama.rows() as i64];
        let choices_mv = Tensor::zeros(size, (Kind::Float, Device::Cpu));
        assert_eq!(bridge.embed(&choices_mv, &blank).clip_g.size(), [77, 9]);
    }
}

#[test]
fn only_position_reaches_tokens_outside_the_caption() {
    let setting = Setting::new(4);
    let driving = DrivingCaption::gold(TEXTS[0], &setting.llama, &setting.encoders).unwrap();
    let caption: BTreeSet<i64> = driving.tokens.iter().map(|token| i64::from(token.id)).collect();
    for (mode, outside) in [(Mode::Sentence, false), (Mode::Word, false), (Mode::Position, true)] {
        let bridge =
            Bridge::new(mode, Pooling::Mean, &setting.llama, &setting.encoders, setting.tables())
                .unwrap();
        let size = [driving.positions.len() as i64, setting.llama.rows() as i64];
        let choices_mv = Tensor::zeros(size, (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let embedded = bridge.embed(&choices_mv, &driving).clip_l;
        let reached = gradient(&embedded.sum(Kind::Float), &choices_mv).abs().amax([0i64], false);
        let reached: Vec<i64> = reached.nonzero().view([-1]).try_into().unwrap();
        assert_eq!(reached.iter().any(|token| !caption.contains(token)), outside, "{mode:?}");
    }
}

#[test]
fn the_mapping_of_a_caption_takes_kilobytes() {
    let setting = Setting::new(5);
    let caption = "a photo of a large brown bear that stands near the river, ".repeat(2);
    let driving = DrivingCaption::gold(&caption, &setting.llama, &setting.encoders).unwrap();
    let map = CaptionMap::new(&driving, &driving.clip_l);
    for mode in MODES {
        let kilobytes = map.bytes(mode) as f64 / 1024.0;
        println!("{mode:?}: {kilobytes:.2} kB a caption and encoder");
        assert!(kilobytes < 8.0, "{mode:?}: {kilobytes}");
    }
    assert!(map.bytes(Mode::Sentence) > 0);
}

/// Median and maximum over many captions of the norm of the gradient by the logits, of a smooth
/// function of the embeddings.
fn norms(temperature: Temperature) -> (f64, f64) {
    const CAPTIONS: i64 = 1500;
    let mut setting = Setting::new(6);
    let tables = setting.tables();
    let mode = Mode::Sentence;
    let bridge = Bridge::new(mode, Pooling::Mean, &setting.llama, &setting.encoders, tables);
    let bridge = bridge.unwrap();
    let driving = DrivingCaption::gold(TEXTS[0], &setting.llama, &setting.encoders).unwrap();
    let probe = setting.generator.randn(&[77, 6]);
    let logits: Vec<Tensor> = (0..CAPTIONS).map(|_| setting.logits(TEXTS[0], 2.0)).collect();
    let logits_mv = Tensor::cat(&logits, 0).set_requires_grad(true);
    let choices_mv = setting.draw(&logits_mv, temperature).choices_mv;
    let losses: Vec<Tensor> = choices_mv
        .chunk(CAPTIONS, 0)
        .iter()
        .map(|choices_mv| {
            let embedded = bridge.embed(choices_mv, &driving).clip_l;
            (embedded.tanh() * &probe).mean(Kind::Float)
        })
        .collect();
    let gradient = gradient(&Tensor::stack(&losses, 0).sum(Kind::Float), &logits_mv);
    let norms = gradient.view([CAPTIONS, -1]).norm_scalaropt_dim(2.0, [1i64], false);
    (norms.median().double_value(&[]), norms.max().double_value(&[]))
}

/// As the temperature falls the paper's gradient becomes rare spikes: nothing in the median, ever
/// more in the maximum. A floor for the backward pass keeps both.
#[test]
fn a_falling_temperature_needs_a_floor() {
    let measure = |floor| [1.0, 0.1, 1e-4].map(|tau| norms(Temperature { tau, floor }));
    let bare = measure(0.0);
    let floored = measure(0.5);
    println!("without a floor {bare:?}\nwith a floor {floored:?}");
    let [warm, cool, cold] = bare;
    assert!(warm.0 > 0.0 && cool.0 < 0.5 * warm.0 && cold.0 == 0.0, "medians {bare:?}");
    assert!(cool.1 > 2.0 * warm.1 && cold.1 > 20.0 * cool.1, "maxima {bare:?}");
    let [warm, cool, cold] = floored;
    assert_eq!(cool, cold);
    assert!(cold.0 > 0.3 * warm.0, "medians {floored:?}");
    assert!(cold.1 < 4.0 * warm.1, "maxima {floored:?}");
}
