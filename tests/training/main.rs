//! The trainer on a toy: micro-steps, updates, skipped steps, checkpoints.

mod toy;

use std::fs;

use shutterbug::config::{Preset, Training};
use shutterbug::torch::{Checkpoint, Compute, Parameters, Weights};
use shutterbug::training::{
    Objective, Outcome, Progress, StepReport, TrainError, Trainer, TrainingRun,
};
use tch::{Kind, Tensor};

use self::toy::Toy;

fn settings(overrides: &[&str]) -> Training {
    let few = ["training.batch_examples=6", "training.steps=8", "optimizer.warmup_steps=2"];
    let overrides: Vec<String> =
        few.iter().chain(overrides).map(|&setting| setting.to_owned()).collect();
    Training::load(Preset::Default, None, &overrides).unwrap()
}

fn trainer(mut toy: Toy, overrides: &[&str]) -> Trainer<Toy> {
    let settings = settings(overrides);
    toy.micro_batch = settings.micro_batch_examples;
    Trainer::new(toy, settings).unwrap()
}

fn step(trainer: &mut Trainer<Toy>) -> Result<StepReport, TrainError> {
    loop {
        match trainer.advance()? {
            Progress::MicroStep { .. } => {}
            Progress::Step(report) => return Ok(report),
            Progress::Finished => panic!("the run is over"),
        }
    }
}

fn losses(trainer: &mut Trainer<Toy>) -> Vec<f64> {
    let mut losses = Vec::new();
    while trainer.steps() < trainer.length().steps {
        losses.push(step(trainer).unwrap().loss);
    }
    losses
}

fn values(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.detach().flatten(0, -1)).unwrap()
}

fn copy(parameters: &Parameters) -> Vec<(String, Vec<f32>)> {
    parameters.iter().map(|(name, tensor)| (name.clone(), values(tensor))).collect()
}

#[test]
fn a_step_is_as_many_micro_steps_as_its_batch_needs() {
    let mut trainer = trainer(Toy::new(20), &["training.micro_batch_examples=4"]);
    assert_eq!(trainer.advance().unwrap(), Progress::MicroStep { done: 1, of: 2 });
    let Progress::Step(report) = trainer.advance().unwrap() else { panic!("the step is done") };
    assert_eq!((report.step, report.outcome), (1, Outcome::Updated));
    assert_eq!(report.counts.photos, 6);
    assert!((report.epoch - 0.3).abs() < 1e-12);
    for _ in 0..14 {
        assert_ne!(trainer.advance().unwrap(), Progress::Finished);
    }
    assert_eq!(trainer.advance().unwrap(), Progress::Finished);
}

#[test]
fn a_batch_learns_the_same_however_it_is_cut() {
    let run = |micro: &str| {
        let mut trainer = trainer(Toy::new(20), &[micro]);
        let losses = losses(&mut trainer);
        (losses, copy(trainer.objective().parameters()))
    };
    let (whole, at_once) = run("training.micro_batch_examples=6");
    for micro in ["training.micro_batch_examples=1", "training.micro_batch_examples=4"] {
        let (losses, parameters) = run(micro);
        for (a, b) in losses.iter().zip(&whole) {
            assert!((a - b).abs() < 1e-5 * b.abs(), "{losses:?} {whole:?}");
        }
        for ((_, a), (_, b)) in parameters.iter().zip(&at_once) {
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5), "{a:?} {b:?}");
        }
    }
    assert!(whole[7] < whole[0], "{whole:?}");
}

#[test]
fn summed_accumulation_grows_with_the_number_of_micro_batches() {
    let first = |overrides: &[&str]| step(&mut trainer(Toy::new(20), overrides)).unwrap().loss;
    let mean = first(&["training.micro_batch_examples=2"]);
    let sum = first(&["training.micro_batch_examples=2", "training.accumulation=sum"]);
    assert!((sum - 3.0 * mean).abs() < 1e-4 * sum, "{mean} {sum}");
}

/// Loshchilov and Hutter, 2019, algorithm 2, its first step: the moments cancel out.
#[test]
fn an_update_is_adamw_s_and_only_matrices_decay() {
    let mut trainer = trainer(
        Toy::new(20),
        &[
            "optimizer.weight_decay=0.5",
            "optimizer.gradient_norm_max=0",
            "optimizer.learning_rate=0.1",
            "optimizer.epsilon=0.25",
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("step.safetensors");
    trainer.trace_next_step(file.clone());
    let before = copy(trainer.objective().parameters());
    let report = step(&mut trainer).unwrap();
    let after = copy(trainer.objective().parameters());
    assert!((report.learning_rate - 0.05).abs() < 1e-12);
    let trace = Weights::new(Checkpoint::file(&file).unwrap(), Compute::CPU);
    for (((name, before), (_, after)), shape, decay) in before
        .iter()
        .zip(&after)
        .zip([vec![2], vec![3, 2]])
        .zip([0.0, 0.5])
        .map(|((a, b), c)| (a, b, c))
    {
        let gradient = values(&trace.tensor(&format!("gradient.{name}"), &shape).unwrap());
        for ((before, after), gradient) in before.iter().zip(after).zip(gradient) {
            let expected =
                before * (1.0 - 0.05 * decay) - 0.05 * gradient / (gradient.abs() + 0.25);
            assert!((after - expected).abs() < 1e-6, "{name}: {after} {expected}");
        }
    }
    let loss = trace.tensor("loss", &[]).unwrap().to_kind(Kind::Double).double_value(&[]);
    assert!((loss - report.loss).abs() < 1e-6 * loss);
    assert_eq!(trace.tensor("x", &[4, 3]).unwrap().size(), [4, 3]);
    assert!(trace.tensor("x.1", &[2, 3]).is_ok());
}

#[test]
fn large_gradients_are_scaled_down_before_the_update() {
    let folder = tempfile::tempdir().unwrap();
    let moments = |limit: &str| {
        let mut trainer = trainer(Toy::new(20), &[limit]);
        let report = step(&mut trainer).unwrap();
        let path = trainer.save(&folder.path().join(limit)).unwrap();
        let state = Checkpoint::file(&path.join("state.safetensors")).unwrap();
        let moment = Weights::new(state, Compute::CPU).tensor("first_moment.w", &[3, 2]).unwrap();
        (report.gradient_norm, values(&moment))
    };
    let (norm, free) = moments("optimizer.gradient_norm_max=0");
    let (same_norm, clipped) = moments("optimizer.gradient_norm_max=0.5");
    assert!((norm - same_norm).abs() < f64::EPSILON && norm > 0.5, "{norm}");
    for (free, clipped) in free.iter().zip(clipped) {
        assert!((f64::from(*free) * 0.5 / norm - f64::from(clipped)).abs() < 1e-6);
    }
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let mut toy = Toy::new(20);
    toy.poisoned_steps = vec![2];
    let mut trainer = trainer(toy, &[]);
    step(&mut trainer).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let state = |trainer: &Trainer<Toy>, name: &str| {
        let path = trainer.save(&folder.path().join(name)).unwrap();
        fs::read(path.join("state.safetensors")).unwrap()
    };
    step(&mut trainer).unwrap();
    let before = state(&trainer, "before");
    let report = step(&mut trainer).unwrap();
    assert_eq!((report.outcome, report.skipped), (Outcome::NotFinite, 1));
    assert_eq!(state(&trainer, "after"), before);
    let report = step(&mut trainer).unwrap();
    assert_eq!((report.outcome, report.skipped), (Outcome::Updated, 1));
}

#[test]
fn three_such_steps_in_a_row_end_the_run_with_a_diagnosis() {
    let mut toy = Toy::new(20);
    toy.poisoned_steps = vec![0, 2, 3, 4];
    let mut trainer = trainer(toy, &[]);
    for _ in 0..4 {
        step(&mut trainer).unwrap();
    }
    let before = copy(trainer.objective().parameters());
    let error = step(&mut trainer).unwrap_err();
    let TrainError::NotFinite(diagnosis) = &error else { panic!("{error}") };
    assert_eq!((diagnosis.steps, diagnosis.step), (3, 5));
    // Each of them depends on the poisoned input.
    assert_eq!(diagnosis.tensors, ["w", "b"]);
    assert!(error.to_string().contains("2 of 2 gradients were not finite (w, b)"), "{error}");
    assert_eq!(copy(trainer.objective().parameters()), before);
}

#[test]
fn what_can_not_be_read_is_left_out_and_told() {
    let mut toy = Toy::new(6);
    toy.unreadable = vec![1, 4];
    let report = step(&mut trainer(toy, &[])).unwrap();
    assert_eq!((report.counts.photos, report.outcome), (4, Outcome::Updated));
    let mut told = report.left_out;
    told.sort();
    assert_eq!(told, ["example 1 is broken", "example 4 is broken"]);
}

#[test]
fn a_dataset_of_which_nothing_can_be_read_ends_the_run() {
    let mut toy = Toy::new(12);
    toy.unreadable = (0..12).collect();
    let mut trainer = trainer(toy, &[]);
    let report = step(&mut trainer).unwrap();
    assert_eq!(report.outcome, Outcome::NothingUsable);
    let error = step(&mut trainer).unwrap_err().to_string();
    assert!(
        error.starts_with("none of the last 12 examples could be used; the last one: "),
        "{error}"
    );
    let empty = Trainer::new(Toy::new(0), settings(&[])).map(drop).unwrap_err();
    assert!(empty.to_string().starts_with("the dataset is empty"), "{empty}");
}

#[test]
fn a_resumed_run_has_the_losses_of_one_that_never_stopped() {
    for overrides in [&["optimizer.mean_decay=0.9"][..], &["checkpoint.kept=1"]] {
        let whole = losses(&mut trainer(Toy::new(20), overrides));
        for stop in [1, 3, 7] {
            let folder = tempfile::tempdir().unwrap();
            let mut first = trainer(Toy::new(20), overrides);
            let mut pieces: Vec<f64> = (0..stop).map(|_| step(&mut first).unwrap().loss).collect();
            first.save(folder.path()).unwrap();
            // What came after the checkpoint is lost and made again.
            step(&mut first).unwrap();
            let mut second = trainer(Toy::new(20), overrides);
            assert!(second.resume(folder.path()).unwrap().is_some());
            assert_eq!(second.steps(), stop);
            pieces.extend(losses(&mut second));
            assert_eq!(pieces, whole);
        }
    }
}

#[test]
fn the_running_mean_is_what_is_written() {
    let mut trainer = trainer(Toy::new(20), &["optimizer.mean_decay=0.5"]);
    let begin = copy(trainer.objective().parameters());
    step(&mut trainer).unwrap();
    let first = copy(trainer.objective().parameters());
    let out = tempfile::tempdir().unwrap();
    trainer.write_results(out.path()).unwrap();
    let written = Checkpoint::file(&out.path().join("toy.safetensors")).unwrap();
    let written = values(&Weights::new(written, Compute::CPU).tensor("w", &[3, 2]).unwrap());
    // After the first update a tenth of the beginning is left.
    for ((begin, first), written) in begin[1].1.iter().zip(&first[1].1).zip(written) {
        assert!((0.1 * begin + 0.9 * first - written).abs() < 1e-6);
    }
}

#[test]
fn only_the_newest_checkpoints_stay_and_halves_are_cleared_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut trainer = trainer(Toy::new(20), &["checkpoint.kept=2"]);
    fs::create_dir(folder.path().join("step-00000009.partial")).unwrap();
    fs::create_dir(folder.path().join("step-00000099")).unwrap();
    fs::create_dir(folder.path().join("notes")).unwrap();
    for _ in 0..4 {
        step(&mut trainer).unwrap();
        trainer.save(folder.path()).unwrap();
    }
    let mut names: Vec<String> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["notes", "step-00000003", "step-00000004"]);
}

#[test]
fn a_checkpoint_of_another_base_is_refused_naming_both() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = trainer(Toy::new(20), &[]);
    step(&mut first).unwrap();
    first.save(folder.path()).unwrap();
    let mut other = Toy::new(20);
    other.base = "feed".to_owned();
    let error = trainer(other, &[]).resume(folder.path()).unwrap_err().to_string();
    assert!(error.contains("was trained on toy cafe, but the model has feed"), "{error}");
}

#[test]
fn a_checkpoint_of_other_tensors_or_another_order_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = trainer(Toy::new(20), &[]);
    step(&mut first).unwrap();
    let path = first.save(folder.path()).unwrap();
    let mut resumed = trainer(Toy::new(20), &["training.seed=5"]);
    let error = resumed.resume(folder.path()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("another training.seed"), "{source}");
    // A running mean that the checkpoint doesn't have.
    let mut resumed = trainer(Toy::new(20), &["optimizer.mean_decay=0.9"]);
    assert!(resumed.resume(folder.path()).is_err());
    fs::write(path.join("manifest.json"), "{").unwrap();
    let error = trainer(Toy::new(20), &[]).resume(folder.path()).unwrap_err().to_string();
    assert!(error.contains("step-00000001 can't be resumed from"), "{error}");
}

#[test]
fn probes_show_the_gradient_that_passes_them() {
    let mut toy = Toy::new(20);
    toy.probe = true;
    let report = step(&mut trainer(toy, &["training.micro_batch_examples=3"])).unwrap();
    let [median, mean, max] = ["median", "mean", "max"]
        .map(|kind| report.figures[&format!("prediction_gradient_{kind}")]);
    // Two samples, one a micro-batch.
    assert!((median - mean).abs() < 1e-12 && max >= mean && mean > 0.0);
}
