//! `shutterbug evaluate`: a whole run with a tiny model, its folder, and what it refuses.

use std::fs;

use serde_json::{Value, json};

use super::{Place, shutterbug, tiny};

impl Place {
    /// Three dialogues of the pocket world.
    fn dialogues(&self) {
        let make = ["data", "pocket", "--train", "0", "--validation", "0", "--test", "3", "--out"];
        shutterbug().args(make).arg(self.path("pocket")).assert().success();
    }

    fn evaluate(&self, command: &str, options: &[&str]) -> (i32, Value, String) {
        let output = shutterbug()
            .env("SHUTTERBUG_LOG_LEVEL", "error")
            .args(["evaluate", command, "--device", "cpu", "--steps", "1"])
            .args(["--max-new-tokens", "6", "--guidance", "1"])
            .arg("--model")
            .arg(self.path("model"))
            .arg("--data")
            .arg(self.path("pocket/test.jsonl"))
            .args(options)
            .output()
            .unwrap();
        let stdout = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), stdout, String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn a_run_leaves_a_report_goes_on_and_guards_its_folder() {
    let place = Place::new();
    place.dialogues();
    let out = place.path("evaluation");
    let out_option = out.to_str().unwrap().to_owned();
    let with = |more: &[&str]| {
        place.evaluate("run", &[&["--out", &out_option, "--share-bias", "30"], more].concat())
    };
    let (status, first, stderr) = with(&["--limit", "1"]);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(first["dialogues"], 1);
    let (status, report, stderr) = with(&[]);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!((&report["dialogues"], &report["failed"]), (&Value::from(3), &Value::from(0)));
    // Under such a bias every reply has a photo.
    assert_eq!(report["figures"]["timing.sharing_rate"]["value"], 1.0);
    let lines = fs::read_to_string(out.join("results.jsonl")).unwrap();
    assert_eq!(Value::from(lines.lines().count()), report["decisions"]);
    let written: Value =
        serde_json::from_slice(&fs::read(out.join("report.json")).unwrap()).unwrap();
    assert_eq!(written, report);
    assert!(fs::read_to_string(out.join("report.md")).unwrap().contains("| timing.f1 |"));
    assert!(image::open(out.join("sheet.png")).is_ok());

    let (status, _, stderr) = with(&["--swap-photos"]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("its photos is \"own\""), "{stderr}");
    let pipeline = place.path("pipeline");
    let options = ["--system", "pipeline", "--limit", "1", "--out", pipeline.to_str().unwrap()];
    let (status, report, stderr) = place.evaluate("run", &options);
    assert_eq!(status, 0, "{stderr}");
    assert_eq!(report["run"]["system"], "pipeline");
}

#[test]
fn losses_depend_on_the_seed_where_noise_is_and_on_the_adapter() {
    let place = Place::new();
    place.dialogues();
    let losses = |options: &[&str]| {
        let output = shutterbug()
            .env("SHUTTERBUG_LOG_LEVEL", "error")
            .args(["evaluate", "losses", "--device", "cpu", "--model"])
            .arg(place.path("model"))
            .arg("--data")
            .arg(place.path("pocket/test.jsonl"))
            .args(options)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["losses"].clone()
    };
    let value = |losses: &Value, name: &str| losses[name]["value"].as_f64().unwrap();
    let first = losses(&[]);
    for name in ["text_loss", "caption_loss", "picture_loss"] {
        assert!(value(&first, name) > 0.0 && value(&first, name) < 30.0, "{first}");
    }
    assert_eq!(losses(&[]), first);
    let other = losses(&["--seed", "1"]);
    assert_eq!(other["text_loss"], first["text_loss"]);
    assert_ne!(other["picture_loss"], first["picture_loss"]);
    let folder = tiny("../systems/adapter");
    let adapted = losses(&["--adapter", folder.to_str().unwrap()]);
    assert_ne!(adapted["text_loss"], first["text_loss"]);
    assert_ne!(adapted["picture_loss"], first["picture_loss"]);
}

#[test]
fn calibration_prints_the_bias() {
    let place = Place::new();
    place.dialogues();
    let (status, found, stderr) = place.evaluate("calibrate", &["--rate", "0.5", "--limit", "1"]);
    assert_eq!(status, 0, "{stderr}");
    // The tiny model seldom shares by itself.
    assert!(found["share_bias"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["rate_without_bias"].as_f64().unwrap() < 0.5, "{found}");
    let (status, _, stderr) = place.evaluate("calibrate", &["--rate", "1.5"]);
    assert_eq!(status, 2, "{stderr}");
    assert!(stderr.contains("--rate"), "{stderr}");
}

#[test]
fn systems_are_compared_over_the_files_of_their_runs() {
    let folder = tempfile::tempdir().unwrap();
    let runs: Vec<String> = (0..3)
        .map(|number| {
            let run = folder.path().join(format!("word-{number}"));
            fs::create_dir(&run).unwrap();
            let f1 = 0.8 + 0.01 * f64::from(number);
            let report = json!({ "figures": { "timing.f1": { "value": f1, "of": 20 } } });
            fs::write(run.join("report.json"), report.to_string()).unwrap();
            let losses = json!({ "losses": { "text_loss": { "value": 0.5 } } });
            fs::write(run.join("losses.json"), losses.to_string()).unwrap();
            run.display().to_string()
        })
        .collect();
    let table = folder.path().join("table.md");
    let compare = |figures: &[&str]| {
        let mut command = shutterbug();
        command.args(["evaluate", "compare"]);
        for figure in figures {
            command.args(["--figure", figure]);
        }
        command.arg("--out").arg(&table).arg(format!("word={}", runs.join(",")));
        command.arg(format!("none={}", runs[0])).output().unwrap()
    };
    let output = compare(&["timing.f1", "text_loss"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let word = &found["systems"]["word"]["timing.f1"];
    assert!((word["value"].as_f64().unwrap() - 0.81).abs() < 1e-9 && word["runs"] == 3, "{word}");
    assert!(word["high"].as_f64().unwrap() > 0.83, "{word}");
    let table = fs::read_to_string(&table).unwrap();
    assert!(
        table.contains("| word | 0.810 ± 0.025 | 0.500 ± 0.000 |\n| none | 0.800 |"),
        "{table}"
    );
    let output = compare(&["timing.f2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no run has a figure timing.f2"));
}

#[test]
fn a_judge_that_has_learned_too_little_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("judge.safetensors");
    let output = shutterbug()
        .args(["evaluate", "judge", "--steps", "1", "--scenes", "8", "--out"])
        .arg(&out)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--steps"));
    assert!(!out.exists());
}
