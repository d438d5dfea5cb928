//! `shutterbug doctor`: will this run here?

use std::fmt;

use tch::{Device, Kind};

use super::Verdict;
use super::options::ModelOptions;
use crate::config::Settings;
use crate::systems::{Finding, Footprint, ModelError, inspect};
use crate::torch::{Compute, cuda_devices, device_memory};

/// Check the model directory, the device and its memory, before anything is loaded
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: shutterbug doctor --model model --device cuda")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
}

/// Most problems of one place that are told one by one.
const PROBLEMS_TOLD_MAX: usize = 8;

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> Verdict {
    let mut report = Report::default();
    let directory = arguments.model.directory(settings);
    report.findings(inspect(directory, arguments.model.adapter(settings).as_deref()).findings);

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
    let needed = |kind| -> Result<Footprint, ModelError> {
        Footprint::of(directory, kind, settings.reply.new_tokens_max, settings.drawing.size)
    };
    // What is wrong with the files has been said.
    if let (Some(compute), Ok(single), Ok(half)) =
        (compute, needed(Kind::Float), needed(Kind::BFloat16))
    {
        let rooms: Vec<Room> = devices_beside(compute.device).filter_map(Room::of).collect();
        report.memory(compute, &Needs { single, half }, &rooms);
    }
    print!("{report}");
    if report.problems == 0 { Verdict::Fine } else { Verdict::Problems }
}

/// The chosen device and, if it is not the CPU, every other one. Asking for CUDA takes a while, which
/// those who asked for the CPU are spared.
fn devices_beside(chosen: Device) -> impl Iterator<Item = Device> {
    let others = if chosen == Device::Cpu { 0 } else { cuda_devices() };
    let all = (0..others).map(Device::Cuda).chain([Device::Cpu]);
    [chosen].into_iter().chain(all.filter(move |device| *device != chosen))
}

/// What the model takes in either format.
struct Needs {
    single: Footprint,
    half: Footprint,
}

impl Needs {
    fn of(&self, kind: Kind) -> &Footprint {
        if kind == Kind::Float { &self.single } else { &self.half }
    }
}

/// A device and the memory that it has.
struct Room {
    device: Device,
    free_bytes: u64,
    total_bytes: u64,
}

impl Room {
    fn of(device: Device) -> Option<Self> {
        let memory = device_memory(device)?;
        Some(Self { device, free_bytes: memory.free_bytes, total_bytes: memory.total_bytes })
    }
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

    /// A line each, except where one place has very many problems: they have one cause.
    fn findings(&mut self, findings: Vec<Finding>) {
        let mut untold = 0;
        let mut findings = findings.into_iter().peekable();
        let (mut place, mut told) = (String::new(), 0);
        while let Some(finding) = findings.next() {
            if finding.place != place {
                (place, told) = (finding.place.clone(), 0);
            }
            match finding.verdict {
                Ok(praise) => self.good(&place, &praise),
                Err(_) if told >= PROBLEMS_TOLD_MAX => untold += 1,
                Err(error) => {
                    self.bad(&place, &format!("{:#}", anyhow::Error::from(error)));
                    told += 1;
                }
            }
            if untold > 0 && findings.peek().is_none_or(|next| next.place != place) {
                self.bad(&place, &format!("and {untold} more of this kind"));
                untold = 0;
            }
        }
    }

    /// What each part of the model takes, whether all of it fits on the chosen device (the first of
    /// `rooms`), and if not, what would.
    fn memory(&mut self, chosen: Compute, needs: &Needs, rooms: &[Room]) {
        let footprint = needs.of(chosen.kind);
        for share in &footprint.weights {
            self.lines.push(format!("         {:<16} {:>9}", share.name, Size(share.bytes)));
        }
        for (name, bytes) in [
            ("talking", footprint.talking_bytes),
            ("or drawing", footprint.drawing_bytes),
            ("libtorch", footprint.runtime_bytes),
        ] {
            self.lines.push(format!("         {name:<16} {:>9}", Size(bytes)));
        }
        let total = footprint.total_bytes();
        let name = DeviceName(chosen.device);
        let Some(room) = rooms.iter().find(|room| room.device == chosen.device) else {
            self.bad("memory", &format!("{name} does not say how much it has"));
            return;
        };
        let figures = format!(
            "{} needed on {name}, {} of {} free",
            Size(total),
            Size(room.free_bytes),
            Size(room.total_bytes)
        );
        if total <= room.free_bytes {
            self.good("memory", &format!("{figures}: it fits"));
        } else {
            let advice = advice(footprint, room, needs, rooms);
            self.bad("memory", &format!("{figures}: it does not fit; {advice}"));
        }
    }
}

/// What to do where `footprint` does not fit into what is free in `room`.
fn advice(footprint: &Footprint, room: &Room, needs: &Needs, rooms: &[Room]) -> String {
    let mut fitting = Vec::new();
    for room in rooms {
        for (kind, option) in [(Kind::Float, "float32"), (Kind::BFloat16, "bfloat16")] {
            if needs.of(kind).total_bytes() <= room.free_bytes {
                let device = DeviceOption(room.device);
                fitting.push(format!("--device {device} --precision {option}"));
            }
        }
    }
    let smallest = needs.half.total_bytes();
    if !fitting.is_empty() {
        format!("it would with {}", fitting.join(", or with "))
    } else if footprint.total_bytes() <= room.total_bytes {
        "it would if other programs gave their memory back".to_owned()
    } else if needs.half.t5_bytes() > 0
        && rooms.iter().any(|room| smallest - needs.half.t5_bytes() <= room.free_bytes)
    {
        "without T5 it would fit in bfloat16: in a copy of the diffusion folder remove \
         text_encoder_3, set it to [null, null] in model_index.json, and convert again"
            .to_owned()
    } else {
        format!(
            "nothing here is large enough: take a smaller model, or a machine with {} for bfloat16",
            Size(smallest)
        )
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

/// A device as people call it.
struct DeviceName(Device);

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Device::Cuda(index) => write!(f, "CUDA device {index}"),
            _ => f.write_str("the CPU"),
        }
    }
}

/// A device as the option --device takes it.
struct DeviceOption(Device);

impl fmt::Display for DeviceOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Device::Cuda(index) => write!(f, "cuda:{index}"),
            _ => f.write_str("cpu"),
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
    use crate::systems::Share;
    use crate::torch::LoadError;

    const GIB: u64 = 1 << 30;

    fn needs() -> Needs {
        let footprint = |element_bytes: u64| Footprint {
            weights: vec![
                Share { name: "llama", bytes: 2 * element_bytes * GIB },
                Share { name: "text_encoder_3", bytes: 4 * element_bytes * GIB },
                Share { name: "vae", bytes: GIB },
            ],
            talking_bytes: element_bytes * GIB,
            drawing_bytes: GIB,
            runtime_bytes: GIB,
        };
        Needs { single: footprint(4), half: footprint(2) }
    }

    fn room(device: Device, free_gib: u64, total_gib: u64) -> Room {
        Room { device, free_bytes: free_gib * GIB, total_bytes: total_gib * GIB }
    }

    /// Problems, and the last line.
    fn told(kind: Kind, rooms: &[Room]) -> (usize, String) {
        let mut report = Report::default();
        let compute = Compute { device: rooms[0].device, kind };
        report.memory(compute, &needs(), rooms);
        (report.problems, report.lines.pop().unwrap())
    }

    #[test]
    fn what_fits_is_told_with_figures() {
        // 12 + 1 for the weights, 1 for libtorch, 2 for talking.
        let (problems, line) = told(Kind::BFloat16, &[room(Device::Cuda(1), 16, 24)]);
        let expected =
            "ok       memory: 16.0 GiB needed on CUDA device 1, 16.0 GiB of 24.0 GiB free: it fits";
        assert_eq!((problems, line.as_str()), (0, expected));
    }

    #[test]
    fn what_does_not_fit_comes_with_what_would() {
        let cpu = |free, total| vec![room(Device::Cpu, free, total)];
        for (kind, rooms, expected) in [
            (Kind::Float, cpu(16, 16), "it would with --device cpu --precision bfloat16"),
            (
                Kind::BFloat16,
                vec![room(Device::Cuda(0), 8, 8), room(Device::Cpu, 64, 64)],
                "it would with --device cpu --precision float32, or with --device cpu --precision bfloat16",
            ),
            (Kind::BFloat16, cpu(4, 16), "it would if other programs gave their memory back"),
            (Kind::BFloat16, cpu(8, 8), "model_index.json, and convert again"),
            (Kind::Float, cpu(4, 8), "or a machine with 16.0 GiB for bfloat16"),
        ] {
            let (problems, line) = told(kind, &rooms);
            assert_eq!(problems, 1);
            assert!(line.ends_with(expected), "{expected:?} does not end {line:?}");
        }
    }

    #[test]
    fn a_place_with_very_many_problems_is_cut_short() {
        let finding = |place: &str, index: i64| Finding {
            place: place.to_owned(),
            verdict: Err(ModelError::Weights(LoadError::Missing {
                path: "model.safetensors".into(),
                tensor: format!("w{index}"),
                expected: vec![index],
            })),
        };
        let findings = (0..30).map(|index| finding("a", index)).chain([finding("b", 0)]);
        let mut report = Report::default();
        report.findings(findings.collect());
        assert_eq!(report.lines.len(), PROBLEMS_TOLD_MAX + 2);
        assert_eq!(report.lines[PROBLEMS_TOLD_MAX], "problem  a: and 22 more of this kind");
        assert!(
            report.lines[0].starts_with("problem  a: model.safetensors lacks the tensor w0 [0]")
        );
    }
}
