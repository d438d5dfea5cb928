//! What was answered so far, on disk: a run that was killed goes on where it stopped.
//!
//! ```text
//! out/
//!   run.json        what is measured: model, data, settings
//!   results.jsonl   a line a decision, each written whole as soon as it is there
//!   photos/         ID-TURN-NUMBER.png
//! ```

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::case::{Answer, read_answer};
use super::error::EvaluateError;
use crate::data::reply_line;
use crate::dialogue::{Element, Reply};
use crate::imaging;

/// The folder of a run.
#[derive(Debug)]
pub struct Results {
    folder: PathBuf,
    file: File,
    answers: HashMap<(String, usize), Answer>,
}

impl Results {
    /// Begins a run, or goes on with the one in the folder. `run` describes what is measured: a
    /// folder that holds anything else is refused.
    ///
    /// # Errors
    /// If it holds another run's results, or can't be read or written.
    pub fn open(folder: &Path, run: &Map<String, Value>) -> Result<Self, EvaluateError> {
        let photos = folder.join("photos");
        fs::create_dir_all(&photos).map_err(failed(&photos))?;
        let description = folder.join("run.json");
        match fs::read(&description) {
            Ok(bytes) => same_run(&description, &bytes, run)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let part = folder.join("run.json.part");
                fs::write(&part, format!("{:#}\n", json!(run))).map_err(failed(&part))?;
                fs::rename(&part, &description).map_err(failed(&description))?;
            }
            Err(error) => return Err(failed(&description)(error)),
        }
        let path = folder.join("results.jsonl");
        let open = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let file = open.map_err(failed(&path))?;
        let mut bytes = fs::read(&path).map_err(failed(&path))?;
        // Killed in the middle of a line: that decision is made again.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < bytes.len() {
            file.set_len(whole as u64).map_err(failed(&path))?;
            bytes.truncate(whole);
        }
        let mut answers = HashMap::new();
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let read = serde_json::from_slice(line).and_then(read_answer);
            let (id, turn, answer) = read.map_err(|source| EvaluateError::Result {
                path: path.clone(),
                line: index + 1,
                source,
            })?;
            answers.insert((id, turn), answer);
        }
        Ok(Self { folder: folder.to_owned(), file, answers })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What was answered at a turn, failures included.
    pub fn answer(&self, id: &str, turn: usize) -> Option<&Answer> {
        self.answers.get(&(id.to_owned(), turn))
    }

    /// Whether a decision need not be made again. One that failed is tried again.
    pub(super) fn is_done(&self, id: &str, turn: usize) -> bool {
        self.answer(id, turn).is_some_and(|answer| answer.error.is_none())
    }

    /// Keeps a reply, its photos first; gives where they are, from the folder on.
    ///
    /// # Errors
    /// If a file can't be written.
    pub(super) fn keep(
        &mut self,
        id: &str,
        turn: usize,
        reply: &Reply,
    ) -> Result<(), EvaluateError> {
        let pixels = reply.elements.iter().filter_map(|element| match element {
            Element::Photo(photo) => photo.pixels.as_ref(),
            Element::Utterance(_) => None,
        });
        let mut photos = Vec::new();
        for (number, pixels) in pixels.enumerate() {
            let relative = Path::new("photos").join(format!("{id}-{turn}-{number}.png"));
            let path = self.folder.join(&relative);
            fs::write(&path, imaging::encode_png(pixels)).map_err(failed(&path))?;
            photos.push(relative);
        }
        self.write(id, turn, reply_line(id, reply, &photos))
    }

    /// Keeps that there is no reply.
    ///
    /// # Errors
    /// If the file can't be written.
    pub(super) fn keep_failure(
        &mut self,
        id: &str,
        turn: usize,
        error: &dyn std::error::Error,
    ) -> Result<(), EvaluateError> {
        let mut line = crate::data::error_line(0, error);
        line["id"] = json!(id);
        self.write(id, turn, line)
    }

    fn write(&mut self, id: &str, turn: usize, mut line: Value) -> Result<(), EvaluateError> {
        let path = self.folder.join("results.jsonl");
        line["turn"] = json!(turn);
        // One call, so that a line is there or not.
        self.file.write_all(format!("{line}\n").as_bytes()).map_err(failed(&path))?;
        let (_, _, answer) =
            read_answer(line).map_err(|source| EvaluateError::Result { path, line: 0, source })?;
        self.answers.insert((id.to_owned(), turn), answer);
        Ok(())
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> EvaluateError {
    move |source| EvaluateError::Io { path: path.to_owned(), source }
}

fn same_run(path: &Path, bytes: &[u8], run: &Map<String, Value>) -> Result<(), EvaluateError> {
    let found: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|source| EvaluateError::Result { path: path.to_owned(), line: 1, source })?;
    let different = run.iter().find(|(key, value)| found.get(*key) != Some(value));
    different.map_or(Ok(()), |(key, value)| {
        Err(EvaluateError::OtherRun {
            path: path.to_owned(),
            what: key.clone(),
            found: found.get(key).unwrap_or(&Value::Null).to_string(),
            expected: value.to_string(),
        })
    })
}
