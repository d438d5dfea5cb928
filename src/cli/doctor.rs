//! `shutterbug doctor`: will this run here?

use std::fmt;

use super::Verdict;
use super::options::ModelOptions;
use crate::config::Settings;
use crate::systems::{ModelDirectory, PartSize};
use crate::torch::{accelerator_memory, available_memory_bytes};

/// Check the model directory, the device and its memory
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: shutterbug doctor --model model --device cuda")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
}

/// Space beside the weights: key-value cache, activations of a 1024 x 1024 picture, libtorch.
const WORKING_BYTES: u64 = 3 << 30;

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let mut report = Report::default();

    let compute = match arguments.model.compute(settings) {
        Ok(compute) => {
            report.good("device", &format!("the model would run on {compute}"));
            Some(compute)
        }
        Err(error) => {
            report.bad("device", &format!("{error:#}"));
            None
        }
    };
    let directory = match ModelDirectory::open(arguments.model.directory(settings)) {
        Ok(directory) => {
            report.good("model", &format!("{} is complete", directory.revision()));
            Some(directory)
        }
        Err(error) => {
            report.bad("model", &format!("{:#}", anyhow::Error::from(error)));
            None
        }
    };
    if let (Some(compute), Some(directory)) = (compute, directory) {
        let parts = directory.sizes()?;
        let (what, available) = match accelerator_memory().filter(|_| compute.device.is_cuda()) {
            Some(memory) => ("GPU memory", Some(memory.free_bytes)),
            None => ("memory", available_memory_bytes()),
        };
        let element_bytes = compute.kind.elt_size_in_bytes() as u64;
        report.memory(&parts, element_bytes, what, available);
    }
    print!("{report}");
    Ok(if report.problems == 0 { Verdict::Fine } else { Verdict::Problems })
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
    problems: usize,
}

impl Report {
    fn good(&mut self, part: &str, text: &str) {
        self.lines.push(format!("ok       {part}: {text}"));
    }

    fn bad(&mut self, part: &str, text: &str) {
        self.lines.push(format!("problem  {part}: {text}"));
        self.problems += 1;
    }

    /// What each part of the model takes, and whether all of it fits.
    fn memory(
        &mut self,
        parts: &[PartSize],
        element_bytes: u64,
        what: &str,
        available: Option<u64>,
    ) {
        let mut total = WORKING_BYTES;
        for part in parts {
            // The VAE always runs in float32.
            let bytes = part.elements * if part.name == "vae" { 4 } else { element_bytes };
            total += bytes;
            self.lines.push(format!("         {:<16} {:>8}", part.name, Size(bytes)));
        }
        self.lines.push(format!("         {:<16} {:>8}", "working space", Size(WORKING_BYTES)));
        let Some(available) = available else {
            self.bad(what, "this system does not say how much is free");
            return;
        };
        let figures = format!("{} needed, {} available", Size(total), Size(available));
        if total <= available {
            self.good(what, &format!("{figures}: it fits"));
            return;
        }
        let without_t5 = total
            - parts
                .iter()
                .filter(|part| part.name == "text_encoder_3")
                .map(|part| part.elements)
                .sum::<u64>()
                * element_bytes;
        let advice = if without_t5 < total && without_t5 <= available {
            "without T5 it would fit: in a copy of the diffusion folder remove text_encoder_3, set it to \
             [null, null] in model_index.json, and convert again"
        } else if element_bytes > 2 {
            "try --precision bfloat16, a smaller model or a larger machine"
        } else {
            "take a smaller model or a larger machine"
        };
        self.bad(what, &format!("{figures}: it does not fit; {advice}"));
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            writeln!(f, "{line}")?;
        }
        match self.problems {
            0 => writeln!(f, "Everything is in order."),
            1 => writeln!(f, "1 problem."),
            problems => writeln!(f, "{problems} problems."),
        }
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.0 as f64 / f64::from(1 << 30);
        let text =
            if gib >= 0.1 { format!("{gib:.1} GiB") } else { format!("{:.1} MiB", gib * 1024.0) };
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(name: &'static str, elements: u64) -> PartSize {
        PartSize { name, elements }
    }

    #[test]
    fn what_does_not_fit_comes_with_advice() {
        let parts = [part("llama", 2 << 30), part("text_encoder_3", 4 << 30), part("vae", 1 << 20)];
        let verdict = |available_gib: u64, element_bytes| {
            let mut report = Report::default();
            report.memory(&parts, element_bytes, "memory", Some(available_gib << 30));
            (report.problems, report.lines.pop().unwrap())
        };
        let (problems, line) = verdict(16, 2);
        assert_eq!(
            (problems, line.as_str()),
            (0, "ok       memory: 15.0 GiB needed, 16.0 GiB available: it fits")
        );
        let (problems, line) = verdict(8, 2);
        assert_eq!(problems, 1);
        assert!(line.contains("without T5 it would fit"), "{line}");
        assert!(
            verdict(8, 4)
                .1
                .ends_with("try --precision bfloat16, a smaller model or a larger machine")
        );
        assert!(verdict(4, 2).1.ends_with("take a smaller model or a larger machine"));
    }
}
