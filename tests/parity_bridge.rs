//! The bridge against its equations written down naively in Python, value and gradient, for every
//! mode. `tests/parity/bridge.py` writes the cases: small vocabularies kept in
//! `tests/fixtures/bridge`, and with `make parity` fresh ones, the published vocabularies of Llama 3
//! and CLIP among them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use shutterbug::bridge::{
    Bridge, CaptionMap, Choices, DrivingCaption, Mode, Pooling, StaticMatch, Temperature,
    gumbel_softmax, static_matches,
};
use shutterbug::prompt::{CaptionTokenizers, LlamaTokenizer};
use shutterbug::torch::Generator;
use tch::{Device, Kind, Tensor};

#[derive(Deserialize)]
struct Expected {
    vocabularies: Vec<Vocabulary>,
}

#[derive(Deserialize)]
struct Vocabulary {
    directory: String,
    tables_seed: u64,
    /// Tokens of the language model with a counterpart, and pairs.
    static_raw: (usize, usize),
    static_folded: (usize, usize),
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    caption: String,
    seed: u64,
    tau: f64,
    floor: f64,
    pooling: String,
    drawn: Vec<i64>,
    own: String,
    own_ids: [Vec<i64>; 2],
}

/// Widths of the two encoders, and directions on which gradients are projected.
const WIDTHS: [i64; 2] = [6, 9];
const DIRECTIONS: i64 = 16;

const MODES: [(&str, Mode); 5] = [
    ("static_raw", Mode::Static(StaticMatch::Raw)),
    ("static_folded", Mode::Static(StaticMatch::Folded)),
    ("sentence", Mode::Sentence),
    ("word", Mode::Word),
    ("position", Mode::Position),
];

fn root() -> PathBuf {
    match std::env::var_os("SHUTTERBUG_PARITY") {
        Some(fresh) => Path::new(&fresh).join("bridge"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/bridge"),
    }
}

fn expected() -> Expected {
    let text = std::fs::read_to_string(root().join("expected.json")).expect("the cases are there");
    serde_json::from_str(&text).expect("the cases are well-formed")
}

fn tensors(file: &str) -> HashMap<String, Tensor> {
    Tensor::read_safetensors(root().join(file)).unwrap().into_iter().collect()
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).norm().double_value(&[])
}

#[test]
fn draws_equal_those_of_pytorch() {
    let tensors = tensors("gumbel.safetensors");
    let barred_v = Tensor::zeros([40], (Kind::Bool, Device::Cpu));
    for at in 0..4 {
        let case = |key: &str| &tensors[&format!("{at}.{key}")];
        let temperature = Temperature { tau: case("tau").double_value(&[0]), floor: 0.0 };
        let logits_mv = case("logits").copy().set_requires_grad(true);
        let drawn = gumbel_softmax(&logits_mv, case("noise"), &barred_v, temperature);
        assert_eq!(drawn.choices_mv, *case("value"), "{temperature:?}");
        (drawn.choices_mv * case("weight")).sum(Kind::Float).backward();
        let (ours, theirs) = (logits_mv.grad(), case("gradient"));
        let norm = theirs.norm().double_value(&[]);
        assert!(difference(&ours, theirs) <= 1e-6 * norm, "{temperature:?}: {norm}");
    }
}

struct Models {
    llama: LlamaTokenizer,
    encoders: CaptionTokenizers,
    barred_v: Tensor,
    tables: [Tensor; 2],
    /// By mode and pooling: the published vocabularies' tables take seconds to fold.
    bridges: HashMap<(&'static str, String), Bridge>,
}

impl Models {
    fn load(vocabulary: &Vocabulary) -> Self {
        let directory = root().join(&vocabulary.directory);
        let llama = LlamaTokenizer::load(&directory.join("llama"), None).unwrap();
        let encoders = CaptionTokenizers::load(&directory.join("clip")).unwrap();
        let barred_v = Tensor::zeros([llama.rows() as i64], (Kind::Bool, Device::Cpu));
        for (_, id) in llama.controls() {
            let _ = barred_v.get(i64::from(id)).fill_(1);
        }
        let mut generator = Generator::new(vocabulary.tables_seed);
        let rows = [encoders.clip_l.rows(), encoders.clip_g.rows()];
        let tables = [0, 1].map(|side| generator.randn(&[rows[side] as i64, WIDTHS[side]]));
        Self { llama, encoders, barred_v, tables, bridges: HashMap::new() }
    }

    fn bridge(&mut self, name: &'static str, mode: Mode, pooling: &str) -> &Bridge {
        let Self { llama, encoders, tables: [clip_l, clip_g], bridges, .. } = self;
        bridges.entry((name, pooling.to_owned())).or_insert_with(|| {
            let pooling = if pooling == "sum" { Pooling::Sum } else { Pooling::Mean };
            Bridge::new(mode, pooling, llama, encoders, [clip_l, clip_g]).unwrap()
        })
    }
}

#[test]
fn static_matches_are_equal() {
    for vocabulary in expected().vocabularies {
        let models = Models::load(&vocabulary);
        for (sameness, expected) in [
            (StaticMatch::Raw, vocabulary.static_raw),
            (StaticMatch::Folded, vocabulary.static_folded),
        ] {
            let matches = static_matches(&models.llama, &models.encoders.clip_g, sameness);
            let pairs = matches.iter().map(|(_, ids)| ids.len()).sum();
            assert_eq!((matches.len(), pairs), expected, "{} {sameness:?}", vocabulary.directory);
        }
    }
}

/// What both sides draw from a case's seed, in this order.
struct Draws {
    logits_mv: Tensor,
    noise_mv: Tensor,
    probes: [Tensor; 2],
    directions: Tensor,
}

impl Draws {
    fn new(case: &Case, models: &Models) -> Self {
        let gold = models.llama.encode(&case.caption).unwrap();
        let mut generator = Generator::new(case.seed);
        let size = [gold.len() as i64, models.llama.rows() as i64];
        let logits_mv = generator.randn(&size) * 2.0;
        for (at, token) in gold.iter().enumerate() {
            let _ = logits_mv.get(at as i64).get(i64::from(token.id)).g_add_scalar_(5.0);
        }
        let uniform = generator.rand(&size).clamp(1e-7, 1.0 - 1e-7);
        Self {
            logits_mv: logits_mv.set_requires_grad(true),
            noise_mv: -(-uniform.log()).log(),
            probes: WIDTHS.map(|d| generator.randn(&[77, d])),
            directions: generator.randn(&[size[1], DIRECTIONS]),
        }
    }
}

fn check(case: &Case, models: &mut Models, expected: &HashMap<String, Tensor>) {
    let draws = Draws::new(case, models);
    let temperature = Temperature { tau: case.tau, floor: case.floor };
    let Choices { choices_mv, tokens_m } =
        gumbel_softmax(&draws.logits_mv, &draws.noise_mv, &models.barred_v, temperature);
    let drawn: Vec<i64> = tokens_m.try_into().unwrap();
    assert_eq!(drawn, case.drawn, "{}", case.name);
    let drawn: Vec<u32> = drawn.into_iter().map(|id| id as u32).collect();
    let gold = DrivingCaption::gold(&case.caption, &models.llama, &models.encoders).unwrap();
    let own = DrivingCaption::own(&drawn, &models.llama, &models.encoders).unwrap();
    assert_eq!(own.text, case.own, "{}", case.name);
    assert_eq!([&own.clip_l.ids, &own.clip_g.ids], case.own_ids.each_ref(), "{}", case.name);

    let [clip_l, clip_g] = models.tables.each_ref().map(Tensor::shallow_clone);
    for (mode_name, mode) in MODES {
        let bridge = models.bridge(mode_name, mode, &case.pooling);
        for (driver, caption) in [("gold", &gold), ("own", &own)] {
            let what = format!("{}.{driver}.{mode_name}", case.name);
            let embedded = bridge.embed(&choices_mv, caption);
            let hard =
                |ids: &[i64], table: &Tensor| table.index_select(0, &Tensor::from_slice(ids));
            assert_eq!(embedded.clip_l, hard(&caption.clip_l.ids, &clip_l), "{what}");
            assert_eq!(embedded.clip_g, hard(&caption.clip_g.ids, &clip_g), "{what}");
            let value = (embedded.clip_l * &draws.probes[0]).sum(Kind::Float)
                + (embedded.clip_g * &draws.probes[1]).sum(Kind::Float);
            let gradient = if value.requires_grad() {
                Tensor::run_backward(&[value], &[&draws.logits_mv], true, false).remove(0)
            } else {
                draws.logits_mv.zeros_like()
            };
            let expected = &expected[&what];
            let projected = gradient.matmul(&draws.directions);
            let norms = gradient.norm_scalaropt_dim(2.0, [1i64], true);
            let ours = Tensor::cat(&[projected, norms], 1);
            let norm = expected.norm().double_value(&[]);
            let error = difference(&ours, expected);
            assert!(error <= 1e-4 * norm + 1e-6, "{what}: {error:e} of {norm:e}");
        }
    }

    // The mapping of one caption: kilobytes, where M would be gigabytes.
    let map = CaptionMap::new(&gold, &gold.clip_l);
    for (mode_name, mode) in MODES {
        let kilobytes = map.bytes(mode) as f64 / 1024.0;
        println!("{}: {mode_name} takes {kilobytes:.2} kB", case.name);
        assert!(kilobytes < 16.0, "{mode_name}");
    }
}

#[test]
fn every_mode_equals_the_equations() {
    let gradients = tensors("gradients.safetensors");
    let mut cases = 0;
    for vocabulary in expected().vocabularies {
        let mut models = Models::load(&vocabulary);
        for case in &vocabulary.cases {
            check(case, &mut models, &gradients);
            cases += 1;
        }
    }
    assert!(cases >= 11);
    let some = gradients.values().filter(|gradient| gradient.norm().double_value(&[]) > 1e-3);
    assert!(some.count() * 2 > gradients.len(), "most captions have a gradient");
}
