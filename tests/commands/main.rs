//! The commands as scripts and people meet them: outputs, exit statuses, and sentences that tell
//! what to do.

mod doctor;
mod evaluate;

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::{Value, json};

fn tiny(part: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tiny").join(part)
}

fn photo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/photos/grace_hopper.jpg")
}

fn shutterbug() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shutterbug"));
    command.env_remove("SHUTTERBUG_CONFIG");
    command
}

struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    /// A folder with the tiny model in it.
    fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        shutterbug()
            .args(["models", "convert", "--llama"])
            .arg(tiny("llama"))
            .arg("--diffusion")
            .arg(tiny("diffusion"))
            .arg("--out")
            .arg(place.path("model"))
            .assert()
            .success();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn generate(&self, lines: &str, options: &[&str]) -> (i32, Vec<Value>, String) {
        let file = self.path("dialogues.jsonl");
        fs::write(&file, lines).unwrap();
        let output = shutterbug()
            .env("SHUTTERBUG_LOG_LEVEL", "error")
            .args(["generate", "--device", "cpu", "--steps", "2", "--max-new-tokens", "12"])
            .arg("--model")
            .arg(self.path("model"))
            .arg("--out")
            .arg(self.path("out"))
            .args(options)
            .arg(file)
            .output()
            .unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code().unwrap(), lines, String::from_utf8(output.stderr).unwrap())
    }
}

fn line(id: &str, element: &Value) -> String {
    json!({"id": id, "turns": [{"speaker": "B", "elements": [element]}]}).to_string()
}

fn photos_of(reply: &Value) -> Vec<&str> {
    let elements = reply["reply"]["elements"].as_array().unwrap();
    elements.iter().filter_map(|element| element["photo"].as_str()).collect()
}

#[test]
fn a_line_that_can_t_be_read_gets_an_error_and_the_rest_go_on() {
    let place = Place::new();
    fs::write(place.path("broken.jpg"), &fs::read(photo()).unwrap()[..2000]).unwrap();
    let lines = [
        line("good", &json!({"text": "hello"})),
        "{\"id\":".to_owned(),
        String::new(),
        line("lost", &json!({"photo": "nowhere.png"})),
        line("broken", &json!({"photo": "broken.jpg"})),
        line("seen", &json!({"photo": photo()})),
        line("good", &json!({"text": "again"})),
    ];
    let (status, answers, stderr) = place.generate(&lines.join("\n"), &[]);
    assert_eq!(status, 1);
    assert_eq!(answers.len(), 6);
    assert_eq!(answers[0]["id"], "good");
    assert_eq!(answers[1]["line"], 2);
    assert!(answers[1]["error"].as_str().unwrap().starts_with("not a dialogue: "));
    assert_eq!(answers[2]["line"], 4);
    assert!(answers[2]["error"].as_str().unwrap().contains("nowhere.png: No such file"));
    assert_eq!(answers[3]["line"], 5);
    assert_eq!(answers[4]["id"], "seen");
    assert_eq!(answers[5], json!({"line": 7, "error": "the id \"good\" was there before"}));
    assert!(stderr.contains("4 lines of "), "{stderr}");
}

#[test]
fn the_seed_decides_and_photos_can_be_turned_off() {
    let place = Place::new();
    let lines = line("d", &json!({"text": "show me something"}));
    let run = |options: &[&str]| {
        let (status, answers, stderr) = place.generate(&lines, options);
        assert_eq!(status, 0, "{stderr}");
        answers.into_iter().next().unwrap()
    };
    let first = run(&["--seed", "7", "--share-bias", "30"]);
    let picture = fs::read(photos_of(&first)[0]).unwrap();
    let again = run(&["--seed", "7", "--share-bias", "30"]);
    assert_eq!(again["tokens"], first["tokens"]);
    assert_eq!(fs::read(photos_of(&again)[0]).unwrap(), picture);
    let other = run(&["--seed", "8", "--share-bias", "30"]);
    assert_ne!(fs::read(photos_of(&other)[0]).unwrap(), picture);

    let off = run(&["--seed", "7", "--share-bias", "30", "--photos", "off"]);
    assert_eq!(photos_of(&off), Vec::<&str>::new());
    assert_eq!(off["share_probability"], Value::Null);

    let wide = run(&["--seed", "7", "--share-bias", "30", "--size", "96x64"]);
    let wide = image::open(photos_of(&wide)[0]).unwrap();
    assert_eq!((wide.width(), wide.height()), (96, 64));
}

#[test]
fn beams_and_greedy_decoding_draw_nothing() {
    let place = Place::new();
    let lines = line("d", &json!({"text": "hello"}));
    for options in [["--greedy"].as_slice(), &["--beams", "3"], &["--temperature", "0"]] {
        let tokens = ["1", "2"].map(|seed| {
            let (_, answers, _) =
                place.generate(&lines, &[options, &["--photos", "off", "--seed", seed]].concat());
            answers[0]["tokens"].clone()
        });
        assert_eq!(tokens[0], tokens[1], "{options:?}");
    }
}

#[test]
fn what_can_t_be_drawn_says_why() {
    let place = Place::new();
    let refused = |options: &[&str], sentence: &str| {
        let output = shutterbug()
            .args(["draw", "--device", "cpu", "--model"])
            .arg(place.path("model"))
            .arg("--out")
            .arg(place.path("x.png"))
            .args(options)
            .arg("a cup")
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(sentence), "{stderr}");
        assert!(!place.path("x.png").exists());
        output.status.code().unwrap()
    };
    assert_eq!(refused(&["--size", "60x64"], "--size can't be met: a picture of 60×64"), 2);
    assert_eq!(refused(&["--steps", "1001"], "--steps is 1001, but this model"), 2);
    assert_eq!(refused(&["--size", "64"], "give WIDTHxHEIGHT in pixels"), 2);
    assert_eq!(refused(&["--guidance", "0.5"], "--guidance must be at least 1"), 2);
    assert_eq!(refused(&["--latents", "nowhere.safetensors"], "nowhere.safetensors"), 1);
    assert_eq!(refused(&["--adapter", "nowhere"], "nowhere is no adapter: neither"), 1);
}

#[test]
fn every_command_helps_with_an_example() {
    for command in ["run", "generate", "draw", "doctor"] {
        let output = shutterbug().args([command, "--help"]).output().unwrap();
        let help = String::from_utf8(output.stdout).unwrap();
        assert!(help.contains("Example: "), "{command}: {help}");
    }
    shutterbug().arg("dance").assert().code(2);
}

#[test]
fn settings_that_the_model_can_t_meet_are_refused_before_anything_starts() {
    let place = Place::new();
    // No token and no Discord: neither is asked for before the model fits.
    for (settings, sentence) in [
        (
            "[drawing]\nwidth = 60\nheight = 64\n",
            "the settings `drawing.width` and `drawing.height` can't be met: a picture of 60×64",
        ),
        ("[drawing]\nsteps = 5000\n", "the setting `drawing.steps` is 5000, but this model"),
        (
            "[reply]\nnew_tokens_max = 4000\n",
            "the setting `reply.new_tokens_max` is 4000, but prompt and reply together may have \
             2048 tokens",
        ),
    ] {
        let config = place.path("my.toml");
        fs::write(&config, settings).unwrap();
        let output = shutterbug()
            .args(["run", "--device", "cpu", "--model"])
            .arg(place.path("model"))
            .arg("--config")
            .arg(config)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(sentence), "{stderr}");
        assert_eq!(output.status.code(), Some(2));
    }
}

#[test]
fn the_model_s_own_adapter_is_used_unless_told_otherwise() {
    let place = Place::new();
    let own = place.path("model").join("adapter/llama");
    fs::create_dir_all(&own).unwrap();
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(tiny("../systems/adapter/llama").join(file), own.join(file)).unwrap();
    }
    let line = line("d", &json!({"text": "hello"}));
    let run = |options: &[&str]| {
        let options = [&["--greedy", "--photos", "off"], options].concat();
        let (status, answers, stderr) = place.generate(&line, &options);
        assert_eq!(status, 0, "{stderr}");
        assert!(stderr.contains(" runs on the CPU in float32"), "{stderr}");
        (answers[0]["adapter"].clone(), answers[0]["tokens"].clone())
    };
    let (adapter, tokens) = run(&[]);
    assert!(adapter.is_string());
    let (none, plain) = run(&["--adapter", "none"]);
    assert_eq!(none, Value::Null);
    assert_ne!(tokens, plain);
    let named = place.path("model/adapter");
    assert_eq!(run(&["--adapter", named.to_str().unwrap()]), (adapter, tokens));
}

#[test]
fn the_published_models_bench_runs_at_a_tiny_size() {
    let figures = |options: &[&str]| -> Value {
        let output = shutterbug()
            .args(["bench", "published", "--size", "tiny", "--device", "cpu"])
            .args(["--prompt-tokens", "8", "--new-tokens", "4", "--steps", "2"])
            .args(options)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let with_t5 = figures(&[]);
    assert!(with_t5["runs_on"].as_str().unwrap().starts_with("the CPU in float32"));
    for (part, figure) in [
        ("talk", "prefill_s"),
        ("talk", "tokens_per_s"),
        ("talk", "bandwidth_share"),
        ("talk", "bytes_max"),
        ("talk", "beside_weights_bytes_reckoned"),
        ("draw", "picture_s"),
        ("draw", "bytes_max"),
        ("draw", "beside_weights_bytes_reckoned"),
    ] {
        assert!(with_t5[part][figure].as_f64().unwrap() > 0.0, "{part} {figure}");
    }
    assert_eq!(
        (with_t5["draw"]["width"].clone(), with_t5["draw"]["height"].clone()),
        (64.into(), 64.into())
    );
    // 16 patches beside the text: with T5 its 256 positions, without it a single one of zeros.
    let keys = |figures: &Value, count: usize| {
        figures["draw"]["attention"].to_string().contains(&format!("keys [2, 4, {count}, 16]"))
    };
    assert!(keys(&with_t5, 16 + 77 + 256), "{with_t5}");
    let without = figures(&["--without-t5", "--precision", "bfloat16"]);
    assert!(keys(&without, 16 + 77 + 1), "{without}");
    assert!(!with_t5["talk"]["attention"].as_array().unwrap().is_empty());
}

#[test]
fn the_load_bench_loads_a_whole_model() {
    let place = Place::new();
    for files in ["in-memory", "on-disk"] {
        let output = shutterbug()
            .args(["bench", "load", "--rounds", "1", "--files", files, "--model"])
            .arg(place.path("model"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let figures: Value = serde_json::from_slice(&output.stdout).unwrap();
        for figure in ["file_bytes", "read_s", "load_s", "load_per_read", "resident_bytes_max"] {
            assert!(figures[figure].as_f64().unwrap() > 0.0, "{figure}: {figures}");
        }
        // The tiny model's files are in half precision for the most part.
        assert!(figures["tensor_bytes"].as_u64() > figures["file_bytes"].as_u64(), "{figures}");
    }
}
