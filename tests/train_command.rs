//! `shutterbug train` as a process: killed and resumed, out of room, given bad input.

mod tiny_copy;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use shutterbug::dialogue::Pixels;
use shutterbug::imaging::encode_png;
use shutterbug::systems::{ModelDirectory, Transfer, convert};
use shutterbug::training::Draws;

use tiny_copy::copy_without_weights;

const LIMIT: Duration = Duration::from_secs(300);

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny")
}

/// Twelve dialogues with two photos each.
fn dataset(folder: &Path) -> PathBuf {
    let mut lines = String::new();
    for number in 0..12u32 {
        for photo in 0..2 {
            let shade = |channel: u32| (number * 19 + photo * 90 + channel * 40) as u8;
            let rgb = (0..64 * 64).flat_map(|at| [0, 1, 2].map(|c| shade(c) ^ (at / 512) as u8));
            let pixels = Pixels { width: 64, height: 64, rgb: rgb.collect() };
            fs::write(folder.join(format!("{number}-{photo}.png")), encode_png(&pixels)).unwrap();
        }
        let line = format!(
            r#"{{"id":"d{number}","turns":[{{"speaker":"B","elements":[{{"text":"look at this"}},{{"photo":"{number}-0.png","caption":"a cat"}}]}},{{"speaker":"A","elements":[{{"text":"here is mine"}},{{"photo":"{number}-1.png","caption":"a dog {number}"}}]}}]}}"#
        );
        lines += &line;
        lines.push('\n');
    }
    let file = folder.join("train.jsonl");
    fs::write(&file, lines).unwrap();
    file
}

fn arguments(stage: &str, data: &Path, out: &Path) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["train", "--threads", "1", "--device", "cpu", "--stage", stage].map(str::to_owned).into();
    for setting in ["training.batch_examples=4", "training.micro_batch_examples=2"] {
        arguments.extend(["--set".to_owned(), setting.to_owned()]);
    }
    for (name, path) in
        [("--model", &tiny()), ("--data", &data.to_owned()), ("--out", &out.to_owned())]
    {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    arguments
}

fn train(arguments: &[String], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shutterbug"))
        .args(arguments)
        .args(more)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Step and loss of every whole line, the loss as it is written.
fn losses(out: &Path) -> Vec<(u64, String)> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| (line["step"].as_u64().unwrap(), line["loss"].to_string())).collect()
}

fn begun(arguments: &[String], more: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_shutterbug"))
        .args(arguments)
        .args(more)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_moment_and_resumed_a_run_is_the_one_that_was_not_killed() {
    const KILLS: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(folder.path());
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let more = ["--steps", "60", "--set", "checkpoint.every_steps=3", "--resume"];
    let output = train(&arguments("vae", &data, &whole), &more);
    assert!(output.status.success(), "{}", stderr(&output));

    let arguments = arguments("vae", &data, &pieces);
    let draws = Draws::new(1, 0);
    for kill in 0..KILLS {
        let draw = |place| draws.uniform(shutterbug::training::Purpose::Order, 2 * kill + place);
        let steps = 1 + (draw(0) * 6.0) as usize;
        let until = losses(&pieces).len() + steps;
        let mut child = begun(&arguments, &more);
        let since = Instant::now();
        // What came after the last checkpoint is made again first.
        while losses(&pieces).len() < until {
            assert!(since.elapsed() < LIMIT, "no step was made");
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_secs_f64(draw(1) * 0.05));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = train(&arguments, &more);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("going on from"), "{}", stderr(&output));

    assert_eq!(losses(&pieces), losses(&whole));
    assert_eq!(losses(&whole).len(), 60);
    for file in ["checkpoints/step-00000060/state.safetensors", "model/diffusion/vae/config.json"] {
        assert_eq!(fs::read(pieces.join(file)).unwrap(), fs::read(whole.join(file)).unwrap());
    }
}

#[test]
fn a_checkpoint_that_finds_no_room_loses_nothing_already_saved() {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(folder.path());
    let out = folder.path().join("run");
    let arguments = arguments("vae", &data, &out);
    let every = ["--set", "checkpoint.every_steps=2", "--resume"];
    let begin = [&["--steps", "2"], &every[..]].concat();
    assert!(train(&arguments, &begin).status.success());
    let saved = out.join("checkpoints/step-00000002/state.safetensors");
    let bytes = fs::read(&saved).unwrap();

    let more = [&["--steps", "6"], &every[..]].concat();
    // Files may not grow beyond 64 blocks: far less than the checkpoint.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\""])
        .arg(env!("CARGO_BIN_EXE_shutterbug"))
        .args(&arguments)
        .args(&more)
        .output()
        .unwrap();
    let log = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{log}");
    assert!(log.contains("the checkpoint of step 4 can't be written"), "{log}");
    assert!(log.contains("step-00000002 is whole, and --resume goes on from it"), "{log}");
    assert!(log.contains("training goes on"), "{log}");
    assert_eq!(fs::read(&saved).unwrap(), bytes);
    assert_eq!(fs::read_dir(out.join("checkpoints")).unwrap().count(), 1);

    assert!(train(&arguments, &more).status.success());
    let straight = folder.path().join("straight");
    let straight_arguments = self::arguments("vae", &data, &straight);
    // The rate follows the length of the run, which is 2 at first.
    assert!(train(&straight_arguments, &begin).status.success());
    assert!(train(&straight_arguments, &more).status.success());
    assert_eq!(losses(&out), losses(&straight));
}

#[test]
fn what_can_not_be_used_is_told_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(folder.path());
    let mut lines = fs::read_to_string(&data).unwrap();
    lines = lines.replace("a dog 1\"", &format!("{}\"", "a dog and another dog ".repeat(40)));
    fs::write(&data, lines + "{\n").unwrap();
    fs::write(folder.path().join("3-1.png"), b"no picture").unwrap();
    let out = folder.path().join("run");
    let output = train(&arguments("diffusion", &data, &out), &["--steps", "6"]);
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("train.jsonl, line 13: not a dialogue"), "{log}");
    assert!(log.contains("d3, photo 2: "), "{log}");
    assert_eq!(log.matches("d3, photo 2: ").count(), 1, "{log}");
    assert!(log.contains("d1, photo 2: its caption is longer than the text encoders' 77"), "{log}");
    assert_eq!(losses(&out).len(), 6);

    let out = folder.path().join("text");
    let more = ["--steps", "3", "--set", "text.tokens_max=30"];
    let output = train(&arguments("text", &data, &out), &more);
    let log = stderr(&output);
    assert!(output.status.success(), "{log}");
    assert!(log.contains("longer than 30 tokens"), "{log}");
    assert!(log.contains("d3: "), "{log}");
}

/// The tiny model as a model directory.
fn model(folder: &Path) -> String {
    let model = folder.join("model");
    let (llama, diffusion) = (tiny().join("llama"), tiny().join("diffusion"));
    convert(&llama, &diffusion, &model, Transfer::Copy).unwrap();
    model.display().to_string()
}

#[test]
fn what_was_learned_jointly_serves_as_an_adapter_and_goes_on_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (data, model) = (dataset(folder.path()), model(folder.path()));
    let (whole, pieces) = (folder.path().join("whole"), folder.path().join("pieces"));
    let run = |out: &Path, steps: &str| {
        let mut arguments = arguments("joint", &data, out);
        let place = arguments.iter().position(|argument| argument == "--model").unwrap();
        arguments[place + 1].clone_from(&model);
        // Gold captions and then own ones, Gumbel noise and dropout: everything that is drawn.
        let more = [
            "--resume",
            "--steps",
            steps,
            "--set",
            "optimizer.schedule=constant",
            "--set",
            "bridge.gold_epochs=0.5",
            "--set",
            "bridge.own_caption_epochs=0",
        ];
        let output = train(&arguments, &more);
        assert!(output.status.success(), "{}", stderr(&output));
    };
    run(&whole, "5");
    for steps in ["1", "3", "5"] {
        run(&pieces, steps);
    }
    assert_eq!(losses(&pieces), losses(&whole));
    assert_eq!(losses(&whole).len(), 5);

    let dialogue = folder.path().join("dialogue.jsonl");
    let line = r#"{"id":"d","turns":[{"speaker":"B","elements":[{"text":"hello"}]}]}"#;
    fs::write(&dialogue, line).unwrap();
    let adapter = whole.join("adapter");
    let output = Command::new(env!("CARGO_BIN_EXE_shutterbug"))
        .args(["generate", "--model", &model, "--device", "cpu", "--greedy", "--steps", "2"])
        .args(["--max-new-tokens", "8", "--adapter"])
        .args([&adapter, Path::new("--out"), &folder.path().join("out"), &dialogue])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(reply["adapter"].is_string(), "{reply}");
}

/// From configurations and tokenizers alone to a model directory that opens, a stage after the
/// other, each of which learns.
#[test]
fn the_stages_of_pretraining_make_a_model_from_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(folder.path());
    let mut model = folder.path().join("blank");
    copy_without_weights(&tiny(), &model);
    for (stage, steps) in [("vae", 24), ("encoders", 24), ("text", 24), ("diffusion", 160)] {
        let steps = steps.to_string();
        let out = folder.path().join(stage);
        let mut arguments = arguments(stage, &data, &out);
        let place = arguments.iter().position(|argument| argument == "--model").unwrap();
        arguments[place + 1] = model.display().to_string();
        let more = [
            "--steps",
            &steps,
            "--set",
            "training.begin=nothing",
            "--set",
            "optimizer.learning_rate=2e-3",
            "--set",
            "optimizer.warmup_steps=2",
        ];
        let output = train(&arguments, &more);
        assert!(output.status.success(), "{}", stderr(&output));
        let losses: Vec<f64> = losses(&out).iter().map(|(_, loss)| loss.parse().unwrap()).collect();
        let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
        let quarter = losses.len() / 4;
        let (begin, end) = (mean(&losses[..quarter]), mean(&losses[3 * quarter..]));
        assert!(end < 0.97 * begin, "{stage}: {losses:?}");
        model = out.join("model");
        let complete = model.join("shutterbug.toml").is_file();
        assert_eq!(complete, stage == "diffusion");
    }
    ModelDirectory::open(&model).unwrap();
}

#[test]
fn wrong_use_is_told_with_its_exit_status() {
    let folder = tempfile::tempdir().unwrap();
    let data = dataset(folder.path());
    let out = folder.path().join("run");
    let arguments = arguments("vae", &data, &out);
    let refused = |more: &[&str], status: i32, sentence: &str| {
        let output = train(&arguments, more);
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert!(stderr(&output).contains(sentence), "{}", stderr(&output));
    };
    refused(&["--set", "training.step=1"], 2, "did you mean `steps`?");
    refused(&["--preset", "best"], 2, "published-code");
    refused(&["--set", "diffusion.picture_px=63"], 2, "multiples of");
    let output = train(&arguments, &["--steps", "1"]);
    assert!(output.status.success(), "{}", stderr(&output));
    refused(&["--steps", "1"], 2, "holds a run already: give --resume");
    refused(&["--resume", "--preset", "paper"], 2, "--preset begins anew");
    let resumed = ["--resume", "--steps", "2", "--set", "training.seed=9"];
    refused(&resumed, 1, "another training.seed or training.batch_examples");

    let lines = fs::read_to_string(&data).unwrap();
    fs::write(&data, lines.split_once('\n').unwrap().1).unwrap();
    refused(&["--resume", "--steps", "2"], 1, "from 24 examples, and this dataset has 22");
    fs::write(&data, "\n").unwrap();
    refused(&["--resume"], 1, "no dialogue of");
}
