//! How Llama 3.2 Vision writes: photo tags, sampling, cancelling, ends; and the tags' own rows.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use shutterbug::llama_vision::{
    Decoding, Finish, Generation, GenerationSettings, LlamaVision, PhotoRules, Prompt, Written,
};
use shutterbug::tokens::PhotoTags;
use shutterbug::torch::{Checkpoint, Compute, Generator, LoadError, Weights};
use tch::{Kind, Tensor};

const IDS: [u32; 6] = [0, 17, 42, 8, 99, 63];
const TAGS: PhotoTags = PhotoTags { img: 5, img_end: 6 };
const END_TOKEN: u32 = 1;
/// More than any difference between logits.
const OVERWHELMING: f64 = 1e4;

fn model_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/llama/grouped")
}

fn model() -> LlamaVision {
    LlamaVision::load(&model_dir(), Compute::CPU, None).unwrap()
}

fn rules() -> PhotoRules {
    PhotoRules {
        tags: TAGS,
        photos_max: 2,
        caption_tokens_max: 4,
        control_tokens: (0..16).collect(),
        logit_bias: 0.0,
    }
}

fn settings(decoding: Decoding, new_tokens_max: usize, rules: PhotoRules) -> GenerationSettings {
    GenerationSettings { decoding, new_tokens_max, end_tokens: vec![], photos: Some(rules) }
}

fn go_on(_: Written) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn write(model: &LlamaVision, settings: &GenerationSettings, seed: u64) -> Generation {
    let prompt = Prompt { ids: &IDS, photos: &[] };
    model.generate(prompt, settings, &mut Generator::new(seed), None, &mut go_on)
}

const SAMPLE: Decoding = Decoding::Sample { temperature: 1.2, top_p: 0.95 };
const DECODINGS: [Decoding; 3] = [Decoding::Greedy, SAMPLE, Decoding::Beam { width: 3 }];

/// Captions of a reply; fails where the tags don't pair up.
fn captions(ids: &[u32]) -> Vec<Vec<u32>> {
    let mut captions = Vec::new();
    let mut open: Option<Vec<u32>> = None;
    for &id in ids {
        match (&mut open, id) {
            (None, 5) => open = Some(Vec::new()),
            (None, 6) => panic!("[/IMG] without [IMG] in {ids:?}"),
            (Some(_), 6) => captions.extend(open.take()),
            (Some(caption), id) => caption.push(id),
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "a caption stays open in {ids:?}");
    captions
}

#[test]
fn captions_are_short_plain_and_as_many_as_allowed() {
    let model = model();
    for decoding in DECODINGS {
        for seed in 0..5 {
            let eager = PhotoRules { logit_bias: OVERWHELMING, ..rules() };
            let reply = write(&model, &settings(decoding, 20, eager), seed);
            let captions = captions(&reply.ids);
            assert_eq!(reply.ids[0], TAGS.img);
            assert_eq!(captions.len(), 2, "{decoding:?}: {:?}", reply.ids);
            for caption in captions {
                assert!(caption.len() <= 4, "{decoding:?}: {:?}", reply.ids);
                assert!(caption.iter().all(|&id| id >= 16), "{decoding:?}: {:?}", reply.ids);
            }
        }
    }
}

#[test]
fn no_reply_ends_within_a_caption() {
    let model = model();
    for decoding in DECODINGS {
        for tokens_max in 1..9 {
            let eager = PhotoRules { logit_bias: OVERWHELMING, ..rules() };
            let reply = write(&model, &settings(decoding, tokens_max, eager), 3);
            let captions = captions(&reply.ids);
            assert_eq!(reply.ids.len(), tokens_max);
            assert_eq!(captions.is_empty(), tokens_max < 3, "{decoding:?}: {:?}", reply.ids);
        }
    }
}

#[test]
fn photos_that_are_off_never_come() {
    let model = model();
    for decoding in DECODINGS {
        let off = PhotoRules { photos_max: 0, logit_bias: OVERWHELMING, ..rules() };
        let reply = write(&model, &settings(decoding, 20, off), 3);
        assert_eq!(captions(&reply.ids).len(), 0);
        assert_eq!(reply.share_probability, None);
    }
}

/// P([IMG]) at every text position, from passes over the whole sequence.
fn share_probability(model: &LlamaVision, ids: &[u32]) -> f64 {
    let mut inside = false;
    let mut most = 0.0f64;
    for (place, &id) in ids.iter().enumerate() {
        if !inside {
            let so_far = [&IDS[..], &ids[..place]].concat();
            let logits = model.logits(&[Prompt { ids: &so_far, photos: &[] }], None).get(0).get(-1);
            let probability = logits.softmax(-1, Kind::Float).double_value(&[i64::from(TAGS.img)]);
            most = most.max(probability);
        }
        inside = id == TAGS.img || inside && id != TAGS.img_end;
    }
    most
}

#[test]
fn the_share_probability_is_the_models_own_whatever_the_bias() {
    let _no_grad = tch::no_grad_guard();
    let model = model();
    for decoding in DECODINGS {
        for logit_bias in [0.0, 3.0] {
            // Two tokens more than are looked at: at the very end there is no room for a photo.
            let rules = PhotoRules { logit_bias, photos_max: 9, ..rules() };
            let reply = write(&model, &settings(decoding, 16, rules), 11);
            let place = reply.ids.len() - 2;
            let expected = share_probability(&model, &reply.ids[..place]);
            let ours = reply.share_probability.unwrap();
            assert!((ours - expected).abs() < 1e-5, "{decoding:?}: {ours}, not {expected}");
        }
    }
}

#[test]
fn draws_are_the_seeds_alone_also_in_a_batch() {
    let model = model();
    let settings = settings(SAMPLE, 24, rules());
    let alone: Vec<Vec<u32>> = (0..4).map(|seed| write(&model, &settings, seed).ids).collect();
    assert_eq!(write(&model, &settings, 2).ids, alone[2]);
    assert!(alone[0] != alone[1] && alone[1] != alone[2]);

    let prompts = [Prompt { ids: &IDS, photos: &[] }; 4];
    let mut generators: Vec<Generator> = (0..4).map(Generator::new).collect();
    let mut generators: Vec<&mut Generator> = generators.iter_mut().collect();
    let together = model.generate_batch(&prompts, &settings, &mut generators, None, &mut go_on);
    let together: Vec<Vec<u32>> = together.into_iter().map(|reply| reply.ids).collect();
    assert_eq!(together, alone);
}

#[test]
fn a_cold_or_narrow_draw_is_greedy() {
    let model = model();
    let greedy = write(&model, &settings(Decoding::Greedy, 24, rules()), 0);
    for (temperature, top_p) in [(1e-4, 1.0), (1.0, 1e-4)] {
        let cold = Decoding::Sample { temperature, top_p };
        assert_eq!(write(&model, &settings(cold, 24, rules()), 5).ids, greedy.ids);
    }
}

#[test]
fn an_end_token_ends_the_reply_and_its_row_alone() {
    let model = model();
    let greedy = write(&model, &settings(Decoding::Greedy, 24, rules()), 0);
    let end = greedy.ids[4];
    let cut = 1 + greedy.ids.iter().position(|&id| id == end).unwrap();
    let settings = GenerationSettings {
        end_tokens: vec![END_TOKEN, end],
        ..settings(Decoding::Greedy, 24, rules())
    };
    let reply = write(&model, &settings, 0);
    assert_eq!(reply.ids, greedy.ids[..cut]);
    assert_eq!(reply.finish, Finish::EndToken);

    let other = [33u32, 70, 71];
    let prompts = [Prompt { ids: &IDS, photos: &[] }, Prompt { ids: &other, photos: &[] }];
    let mut generators = [Generator::new(0), Generator::new(0)];
    let mut generators: Vec<&mut Generator> = generators.iter_mut().collect();
    let both = model.generate_batch(&prompts, &settings, &mut generators, None, &mut go_on);
    assert_eq!(both[0].ids, reply.ids);
    let alone = model.generate(prompts[1], &settings, &mut Generator::new(0), None, &mut go_on);
    assert_eq!((&both[1].ids, both[1].finish), (&alone.ids, alone.finish));
    assert_ne!(both[0].ids.len(), both[1].ids.len());
}

#[test]
fn a_watcher_cancels_between_tokens() {
    let model = model();
    for decoding in DECODINGS {
        let mut left = 3;
        let mut watcher = |_: Written| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let reply = model.generate(
            Prompt { ids: &IDS, photos: &[] },
            &settings(decoding, 24, rules()),
            &mut Generator::new(0),
            None,
            &mut watcher,
        );
        assert_eq!(reply.finish, Finish::Cancelled);
        assert_eq!(reply.ids.len(), 3, "{decoding:?}");
    }
}

fn table(dir: &Path, name: &str, shape: &[i64]) -> Tensor {
    Weights::new(Checkpoint::open(dir, "model").unwrap(), Compute::CPU).tensor(name, shape).unwrap()
}

#[test]
fn the_tags_rows_are_means_and_the_files_stay_as_they_are() {
    let before = fs::read(model_dir().join("model.safetensors")).unwrap();
    let tagged = LlamaVision::load(&model_dir(), Compute::CPU, Some(TAGS)).unwrap();
    let _no_grad = tch::no_grad_guard();
    let head = table(&model_dir(), "language_model.lm_head.weight", &[120, 32]);
    let others: Vec<i64> = (0..120).filter(|id| ![5, 6].contains(id)).collect();
    let mean_of = |x: &Tensor, dim| {
        x.index_select(dim, &Tensor::from_slice(&others)).mean_dim(dim, false, Kind::Float)
    };

    // The head: a tag's logit is the mean of the others', which are as they were.
    let logits = |model: &LlamaVision, ids: &[u32]| {
        model.logits(&[Prompt { ids, photos: &[] }], None).get(0)
    };
    let with_tags = logits(&tagged, &IDS);
    let without = logits(&model(), &IDS);
    let close = |a: &Tensor, b: &Tensor| (a - b).abs().max().double_value(&[]) < 1e-5;
    for tag in [5, 6] {
        assert!(close(&with_tags.select(1, tag), &mean_of(&with_tags, 1)));
        assert!(!close(&without.select(1, tag), &mean_of(&without, 1)));
    }
    let others_of = |x: &Tensor| x.index_select(1, &Tensor::from_slice(&others));
    assert!(close(&others_of(&with_tags), &others_of(&without)));
    assert_eq!(head.size(), [120, 32]);

    // The embedding: both tags read alike, and unlike before.
    assert!(close(&logits(&tagged, &[0, 5]), &logits(&tagged, &[0, 6])));
    assert!(!close(&logits(&tagged, &[0, 5]), &logits(&model(), &[0, 5])));
    assert_eq!(fs::read(model_dir().join("model.safetensors")).unwrap(), before);
}

#[test]
fn a_tag_outside_of_the_vocabulary_is_refused() {
    let tags = PhotoTags { img: 5, img_end: 120 };
    let Err(error) = LlamaVision::load(&model_dir(), Compute::CPU, Some(tags)) else {
        panic!("loaded")
    };
    assert!(matches!(error, LoadError::Config { .. }));
    assert!(error.to_string().contains("tag 120 is no token of a vocabulary of 120"), "{error}");
}

/// Writes the model again, changed by `change`, with `tie_word_embeddings`.
fn tied(dir: &Path, change: impl Fn(&mut Vec<(String, Tensor)>)) -> Result<LlamaVision, LoadError> {
    let config = fs::read_to_string(model_dir().join("config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_str(&config).unwrap();
    config["text_config"]["tie_word_embeddings"] = true.into();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let mut tensors = Tensor::read_safetensors(model_dir().join("model.safetensors")).unwrap();
    change(&mut tensors);
    Tensor::write_safetensors(&tensors, dir.join("model.safetensors")).unwrap();
    LlamaVision::load(dir, Compute::CPU, Some(TAGS))
}

#[test]
fn a_tied_head_is_the_embeddings_first_rows() {
    const HEAD: &str = "language_model.lm_head.weight";
    const EMBEDDING: &str = "language_model.model.embed_tokens.weight";
    let _no_grad = tch::no_grad_guard();
    let (absent, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let without_head = tied(absent.path(), |tensors| tensors.retain(|(name, _)| name != HEAD));
    let with_copy = tied(copied.path(), |tensors| {
        let rows = tensors.iter().find(|(name, _)| name == EMBEDDING).unwrap().1.narrow(0, 0, 120);
        tensors.retain(|(name, _)| name != HEAD);
        tensors.push((HEAD.to_owned(), rows.copy()));
    });
    let logits = |model: Result<LlamaVision, LoadError>| {
        model.unwrap().logits(&[Prompt { ids: &IDS, photos: &[] }], None)
    };
    let difference = logits(without_head) - logits(with_copy);
    assert!(difference.abs().max().double_value(&[]) < 1e-5);
}
