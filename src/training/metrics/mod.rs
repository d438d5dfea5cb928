//! What is kept of a run's steps: `metrics.jsonl`, TensorBoard's event files, and curves at the
//! end.

mod curves;
mod lines;
mod tensorboard;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Map, Value, json};
use tch::Device;

use self::lines::Lines;
use self::tensorboard::EventFile;
use super::error::TrainError;
use super::trainer::{Outcome, StepReport};
use crate::torch::peak_bytes;

const LINES: &str = "metrics.jsonl";
const EVENTS: &str = "tensorboard";
const CURVES: &str = "curves.svg";

/// The open files of one run.
pub struct MetricsLog {
    folder: PathBuf,
    device: Device,
    lines: Lines,
    events: EventFile,
}

impl MetricsLog {
    /// Opens the files in `folder`, which is there, of a run on `device`. What an interrupted run wrote of the steps
    /// after `steps`, which are made again, is dropped.
    ///
    /// # Errors
    /// If a file can't be read or written.
    pub fn open(folder: &Path, steps: u64, device: Device) -> Result<Self, TrainError> {
        let failed = |path: PathBuf| move |source| TrainError::Io { path, source };
        let (lines, events) = (folder.join(LINES), folder.join(EVENTS));
        Ok(Self {
            lines: Lines::open(&lines, steps).map_err(failed(lines))?,
            events: EventFile::create(&events, SystemTime::now(), steps).map_err(failed(events))?,
            folder: folder.to_owned(),
            device,
        })
    }

    /// Writes one step.
    ///
    /// # Errors
    /// If a file can't be written.
    pub fn write(&mut self, report: &StepReport) -> Result<(), TrainError> {
        let failed = |name| {
            let path = self.folder.join(name);
            move |source| TrainError::Io { path, source }
        };
        let object = object(report, self.device);
        self.lines.write(&object).map_err(failed(LINES))?;
        let scalars = object.iter().filter(|(name, _)| *name != "step");
        let scalars = scalars.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)));
        self.events.write(SystemTime::now(), report.step, scalars).map_err(failed(EVENTS))
    }

    /// Draws the curves of all steps so far; gives the picture's path.
    ///
    /// # Errors
    /// If `metrics.jsonl` can't be read or the picture not be written.
    pub fn draw_curves(&self) -> Result<PathBuf, TrainError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| TrainError::Io { path, source }
        };
        let (lines, path) = (self.folder.join(LINES), self.folder.join(CURVES));
        let steps = lines::read(&lines).map_err(failed(&lines))?;
        let picture = curves::draw(&steps);
        std::fs::write(&path, picture).map_err(failed(&path))?;
        Ok(path)
    }
}

/// A step as one flat object. What is not finite becomes `null`.
fn object(report: &StepReport, device: Device) -> Map<String, Value> {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| {
        object.insert(name.to_owned(), value);
    };
    put("step", json!(report.step));
    put("epoch", json!(report.epoch));
    put(
        "outcome",
        json!(match report.outcome {
            Outcome::Updated => "updated",
            Outcome::NotFinite => "not finite",
            Outcome::NothingUsable => "nothing usable",
        }),
    );
    put("loss", json!(report.loss));
    put("gradient_norm", json!(report.gradient_norm));
    put("learning_rate", json!(report.learning_rate));
    put("temperature", json!(report.temperature));
    for (name, figure) in &report.figures {
        put(name, json!(figure));
    }
    put("tokens", json!(report.counts.tokens));
    put("photos", json!(report.counts.photos));
    put("left_out", json!(report.left_out.len()));
    put("skipped", json!(report.skipped));
    put("seconds", json!(report.duration.as_secs_f64()));
    put("memory_bytes_max", json!(peak_bytes(device)));
    object
}
