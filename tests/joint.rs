//! The joint objective through the trainer: what it draws, what it measures, and what it writes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use shutterbug::config::{Preset, Training};
use shutterbug::data::Dataset;
use shutterbug::llama_vision::{LlamaVision, TRAINED_TAGS};
use shutterbug::systems::{BridgeMode, EndToEnd, ModelDirectory, Transfer, convert};
use shutterbug::torch::{Checkpoint, Compute};
use shutterbug::training::{
    Draws, JointObjective, Objective, Progress, Recorder, StepContext, StepReport, TrainError,
    TrainingRun, open_run,
};
use tch::Tensor;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn model(folder: &Path) -> PathBuf {
    let out = folder.join("model");
    let tiny = fixtures().join("tiny");
    convert(&tiny.join("llama"), &tiny.join("diffusion"), &out, Transfer::Copy).unwrap();
    out
}

fn dataset() -> Dataset {
    Dataset::read(&[fixtures().join("training/dialogues.jsonl")]).unwrap()
}

fn settings(overrides: &[&str]) -> Training {
    let common = ["training.batch_examples=2", "training.steps=2", "optimizer.warmup_steps=0"];
    let all: Vec<String> = common.iter().chain(overrides).map(|&text| text.to_owned()).collect();
    Training::load(Preset::Default, None, &all).unwrap()
}

fn open(model: &Path, overrides: &[&str]) -> Result<Box<dyn TrainingRun>, TrainError> {
    open_over(model, None, overrides)
}

/// A run that goes on from an adapter.
fn open_over(
    model: &Path,
    adapter: Option<&Path>,
    overrides: &[&str],
) -> Result<Box<dyn TrainingRun>, TrainError> {
    open_run(model, adapter, dataset().examples, &settings(overrides), Compute::CPU)
}

/// All steps of a run.
fn drive(run: &mut dyn TrainingRun) -> Vec<StepReport> {
    let mut reports = Vec::new();
    loop {
        match run.advance().unwrap() {
            Progress::MicroStep { .. } => {}
            Progress::Step(report) => reports.push(report),
            Progress::Finished => return reports,
        }
    }
}

#[test]
fn a_run_measures_both_losses_and_what_crosses_the_bridge() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    for mode in ["static", "sentence", "word", "position", "none"] {
        let mode = format!("bridge.mode={mode}");
        let mut run = open(&model, &[&mode, "diffusion.caption_dropout=0"]).unwrap();
        for report in drive(run.as_mut()) {
            assert_eq!((report.counts.tokens, report.counts.photos), (189, 3));
            let figure = |name: &str| report.figures.get(name).copied();
            let total = figure("text_loss").unwrap() + figure("picture_loss").unwrap();
            assert!((report.loss - total).abs() < 1e-4 * total, "{mode}: {report:?}");
            assert!(figure("caption_loss").unwrap() > 0.0);
            let crossing = figure("bridge_gradient_max");
            assert_eq!(crossing.is_some(), mode != "bridge.mode=none");
            assert!(crossing.is_none_or(|norm| norm > 0.0), "{mode}: {report:?}");
        }
    }
}

#[test]
fn draws_do_not_depend_on_how_a_batch_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let losses = |cut: &str| -> Vec<f64> {
        let own = ["bridge.gold_epochs=0", "bridge.own_caption_epochs=0", "lora.dropout=0"];
        let mut run = open(&model, &[&own[..], &[cut]].concat()).unwrap();
        drive(run.as_mut()).iter().map(|report| report.loss).collect()
    };
    let whole = losses("training.micro_batch_examples=2");
    let cut = losses("training.micro_batch_examples=1");
    for (whole, cut) in whole.iter().zip(&cut) {
        assert!((whole - cut).abs() < 1e-4 * whole, "{whole} {cut}");
    }
    assert!((whole[0] - whole[1]).abs() > 1e-3, "each step draws anew: {whole:?}");
}

#[test]
fn an_adapter_is_written_that_the_system_uses_and_training_goes_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let mut run = open(&model, &["optimizer.learning_rate=1e-2"]).unwrap();
    let first = drive(run.as_mut());
    let out = folder.path().join("out");
    run.write_results(&out).unwrap();
    assert!(!out.join("model").exists());
    let adapter = out.join("adapter");
    let directory = ModelDirectory::open(&model).unwrap();
    EndToEnd::load(&directory, Compute::CPU).unwrap().add_adapter(&adapter).unwrap();

    // A run over the model with this adapter begins where the other ended.
    let again = |overrides: &[&str]| open_over(&model, Some(&adapter), overrides);
    let text = |report: &StepReport| report.figures["text_loss"];
    let second = drive(again(&["lora.dropout=0"]).unwrap().as_mut());
    assert!(text(&second[0]) < text(&first[0]), "{first:?} {second:?}");

    // A half that isn't trained serves as it is, without dropout, and is written along.
    let nothing = ["training.language=nothing"];
    let mut run = again(&nothing).unwrap();
    let frozen = drive(run.as_mut());
    assert_eq!(text(&frozen[0]).to_bits(), text(&second[0]).to_bits());
    let out = folder.path().join("frozen");
    run.write_results(&out).unwrap();
    let tensors = |adapter: &Path, file: &str| {
        let tensors = Tensor::read_safetensors(adapter.join(file)).unwrap();
        BTreeMap::from_iter(tensors)
    };
    for (file, same) in [
        ("llama/adapter_model.safetensors", true),
        ("diffusion/pytorch_lora_weights.safetensors", false),
    ] {
        let [before, after] = [&adapter, &out.join("adapter")].map(|it| tensors(it, file));
        assert!(before.keys().eq(after.keys()) && (before == after) == same, "{file}");
    }

    // A checkpoint of it goes on with that adapter only.
    let checkpoints = folder.path().join("checkpoints");
    run.save(&checkpoints).unwrap();
    let error = open(&model, &nothing).unwrap().resume(&checkpoints).unwrap_err();
    assert!(error.to_string().contains("was trained on adapter"), "{error}");
    assert!(again(&nothing).unwrap().resume(&checkpoints).unwrap().is_some());

    let error = again(&["training.language=weights"]).err().unwrap();
    assert!(error.to_string().contains("--adapter none"), "{error}");
}

#[test]
fn trained_weights_are_written_as_a_model_whose_tags_stay() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let all = ["training.language=weights", "training.diffusion=weights", "training.recompute=on"];
    let mut run = open(&model, &all).unwrap();
    drive(run.as_mut());
    let out = folder.path().join("out");
    run.write_results(&out).unwrap();
    assert!(!out.join("adapter").exists());
    let trained = ModelDirectory::open(&out.join("model")).unwrap();
    let mode = trained.manifest.bridge.map(|bridge| bridge.mode);
    assert_eq!(mode, Some(BridgeMode::Position));
    EndToEnd::load(&trained, Compute::CPU).unwrap();
    let checkpoint = Checkpoint::open(&trained.llama(), LlamaVision::STEM).unwrap();
    assert_eq!(checkpoint.metadata(TRAINED_TAGS.0), Some(TRAINED_TAGS.1));
}

#[test]
fn there_must_be_something_to_train() {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path());
    let nothing = ["training.language=nothing", "training.diffusion=nothing"];
    let error = open(&model, &nothing).err().unwrap();
    assert!(matches!(error, TrainError::Setting(_)), "{error}");

    for (setting, told) in [
        ("lora.llama_layers=self_attn.q_prok", "names \"self_attn.q_prok\", but no linear"),
        ("lora.diffusion_layers=", "lora.diffusion_layers is empty"),
    ] {
        let error = open(&model, &[setting]).err().unwrap();
        assert!(error.to_string().contains(told), "{error}");
    }

    // A frozen language model learns nothing from a dialogue without a photo of A's.
    let settings = settings(&["training.language=nothing"]);
    let mut examples = dataset().examples;
    for photo in examples[0].photos_mut() {
        photo.caption = None;
    }
    let mut objective =
        JointObjective::load(&model, None, examples, &settings, Compute::CPU).unwrap();
    let context = StepContext {
        step: 0,
        epoch: 0.0,
        temperature: 1.0,
        own_caption_share: 0.0,
        draws: Draws::new(0, 0),
        recorder: Recorder::default(),
    };
    let batch = objective.prepare(&[0, 1], &context).unwrap();
    assert_eq!(batch.counts.len(), 1);
    assert_eq!(batch.left_out[0], "d0: A shares no photo in it");
    assert!(batch.left_out[1].starts_with("d1: its caption is longer than the text encoders'"));
}
