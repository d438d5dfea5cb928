//! `shutterbug data` as a person uses it: machine output on stdout, exit statuses, files.

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;
use shutterbug::data::{Dataset, Picture, load_photo};
use shutterbug::systems::{Transfer, convert};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn data(arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let mut command = Command::cargo_bin("shutterbug").unwrap();
    let output = command.arg("data").args(arguments).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let values = serde_json::Deserializer::from_str(&stdout).into_iter::<Value>();
    let values = values.map(|value| value.unwrap_or_else(|_| panic!("{stdout}"))).collect();
    (output.status.code(), values, String::from_utf8(output.stderr).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn photochat_is_imported_as_missing_photos_are_to_be_taken() {
    let folder = tempfile::tempdir().unwrap();
    let sample = root().join("tests/fixtures/photochat/sample.json");
    let photos = folder.path().join("photos here");
    fs::create_dir(&photos).unwrap();
    fs::copy(root().join("tests/fixtures/images/plain.jpg"), photos.join("17.jpg")).unwrap();
    let out = folder.path().join("out/sample.jsonl");
    let import = |missing: &str, more: &[&str]| {
        let arguments = ["photochat", "--photos", text(&photos), "--missing", missing, "--out"];
        data(&[&arguments[..], &[text(&out)], more, &[text(&sample)]].concat())
    };

    let (status, values, _) = import("skip", &[]);
    assert_eq!(status, Some(0));
    let statistics = &values[0];
    let dialogues = statistics["dialogues"].as_u64().unwrap();
    assert_eq!(statistics["photos_by_a"], dialogues);
    assert_eq!(statistics["photos_missing"], dialogues - 1);
    let read = Dataset::read(&[&out]).unwrap();
    assert_eq!(read.examples[0].id, "sample-0");
    read.examples[0].dialogue(load_photo).unwrap();
    let (status, values, _) = data(&["check", text(&out)]);
    assert_eq!((status, values.len()), (Some(0), 0));

    // The dialogues whose photo is missing are named, the other one is imported.
    let (status, values, stderr) = import("fail", &[]);
    assert_eq!(status, Some(1), "{stderr}");
    assert_eq!(values[0]["dialogue"], 2);
    assert!(values[0]["error"].as_str().unwrap().contains("is missing"), "{}", values[0]);
    assert_eq!(values.last().unwrap()["dialogues"], 1);
    assert_eq!(Dataset::read(&[&out]).unwrap().examples.len(), 1);

    let tiny = root().join("tests/fixtures/tiny");
    let model = folder.path().join("model");
    convert(&tiny.join("llama"), &tiny.join("diffusion"), &model, Transfer::Link).unwrap();
    let draw = ["--model", text(&model), "--device", "cpu", "--steps", "1", "--seed", "3"];
    let (status, values, stderr) = import("draw", &draw);
    assert_eq!(status, Some(0), "{stderr}");
    assert_eq!(values[0]["photos_drawn"], dialogues - 1);
    let drawn = Dataset::read(&[&out]).unwrap();
    let picture = |k: usize| drawn.examples[k].photos().next().unwrap().2.picture.clone();
    assert!(matches!(picture(0), Picture::File(_)));
    let Picture::Drawn(path) = picture(1) else { panic!("{:?}", picture(1)) };
    let first = fs::read(&path).unwrap();
    import("draw", &draw);
    assert_eq!(fs::read(&path).unwrap(), first, "the same seed draws the same picture");
}

#[test]
fn what_is_broken_is_named_and_exits_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.jsonl");
    let lines = [
        r#"{"id":"a","turns":[{"speaker":"B","elements":[{"photo":"gone.png"}]}]}"#,
        r#"{"id":"b","turns":[{"speaker":"B","elements":[{"text":"hi"}]}]}"#,
        r#"{"id":"c","turns":[{"speaker":"B","elements":[{"text":"hi"}]}"#,
    ];
    fs::write(&file, lines.join("\n")).unwrap();
    let (status, values, _) = data(&["check", text(&file)]);
    assert_eq!(status, Some(3));
    assert_eq!(values[0]["line"], 3);
    assert_eq!(values[1]["id"], "a");
    assert!(values[1]["error"].as_str().unwrap().contains("gone.png"), "{}", values[1]);
    let (status, values, _) = data(&["stats", text(&file)]);
    assert_eq!((status, &values[0]["dialogues"]), (Some(0), &Value::from(2)));

    fs::write(&file, "").unwrap();
    let (status, values, _) = data(&["check", text(&file)]);
    assert_eq!((status, values.len()), (Some(3), 1));
    let (status, _, stderr) = data(&["stats", text(&file)]);
    assert_eq!(status, Some(1));
    assert!(stderr.contains("no dialogue of"), "{stderr}");
    let (status, _, stderr) = data(&["photochat", "--out", "x.jsonl", text(&file)]);
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("is no list of dialogues"), "{stderr}");
}

#[test]
fn the_pocket_world_is_written_whole() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pocket");
    let sizes = ["--train", "6", "--validation", "0", "--test", "4"];
    let (status, values, _) = data(&[&["pocket", "--out", text(&out)], &sizes[..]].concat());
    assert_eq!(status, Some(0));
    assert_eq!(values[0]["files"].as_array().unwrap().len(), 2);
    for (name, dialogues) in [("train", 6), ("test", 4)] {
        let file = out.join(format!("{name}.jsonl"));
        let read = Dataset::read(&[&file]).unwrap();
        assert_eq!(read.examples.len(), dialogues);
        let (status, _, _) = data(&["check", text(&file)]);
        assert_eq!(status, Some(0));
    }
}
