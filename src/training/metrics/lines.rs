//! `metrics.jsonl`: one object a step.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Map, Value};

/// The file, open at its end.
pub(super) struct Lines(File);

impl Lines {
    /// Opens `path`, keeping the lines of the first `steps` steps.
    pub(super) fn open(path: &Path, steps: u64) -> io::Result<Self> {
        if path.is_file() {
            let kept: String = read(path)?
                .iter()
                .filter(|object| object.get("step").and_then(Value::as_u64) <= Some(steps))
                .map(line)
                .collect();
            let part = path.with_extension("jsonl.part");
            fs::write(&part, kept)?;
            fs::rename(&part, path)?;
        }
        Ok(Self(OpenOptions::new().create(true).append(true).open(path)?))
    }

    /// Adds a line, in one write.
    pub(super) fn write(&mut self, object: &Map<String, Value>) -> io::Result<()> {
        self.0.write_all(line(object).as_bytes())
    }
}

fn line(object: &Map<String, Value>) -> String {
    serde_json::to_string(object).expect("a map of plain values is JSON") + "\n"
}

/// Every whole line; one that a kill cut short is none.
pub(super) fn read(path: &Path) -> io::Result<Vec<Map<String, Value>>> {
    let text = fs::read(path)?;
    Ok(text
        .split(|&byte| byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(step: u64) -> Map<String, Value> {
        Map::from_iter([("step".to_owned(), json!(step)), ("loss".to_owned(), json!(0.1 + 0.2))])
    }

    #[test]
    fn steps_that_are_made_again_are_dropped_and_so_is_half_a_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut lines = Lines::open(&path, 0).unwrap();
        for step in 1..=4 {
            lines.write(&object(step)).unwrap();
        }
        drop(lines);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + "{\"step\":5,\"lo").unwrap();
        let mut lines = Lines::open(&path, 2).unwrap();
        lines.write(&object(3)).unwrap();
        assert_eq!(read(&path).unwrap(), [object(1), object(2), object(3)]);
    }
}
