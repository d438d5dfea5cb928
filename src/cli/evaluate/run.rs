//! `shutterbug evaluate run`: every reply of held-out dialogues again, and figures about them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::super::Verdict;
use super::super::options::read_dataset;
use super::{SubjectOptions, progress};
use crate::config::Settings;
use crate::evaluation::{Judge, PhotoSwap, PocketJudge, Report, Results, Suite, contact_sheet};
use crate::imaging;
use crate::systems::{ReplyRequest, System};

/// Photos on the contact sheet.
const SHEET_PHOTOS: usize = 32;
const SHEET_COLUMNS: usize = 8;

/// Answer held-out dialogues anew, turn by turn, and report how good the answers are
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every turn of A's is answered greedily after the true dialogue before it. The folder then holds
run.json, results.jsonl, photos/, report.json, report.md and, if a photo was drawn, sheet.png.
Interrupted, the same command goes on.

Example: shutterbug evaluate run --model model --data pocket/test.jsonl --limit 500 \
             --judge judge.safetensors --out evaluation
control: shutterbug evaluate run --model model --data pocket/test.jsonl --limit 500 --swap-photos --out swapped")]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: SubjectOptions,

    /// Added to the logit of [IMG]: above 0, photos become more frequent [default: the setting
    /// reply.share_bias]
    #[arg(long, value_name = "B", allow_hyphen_values = true)]
    share_bias: Option<f64>,

    /// Show another dialogue's photos in the place of every dialogue's own: the control of whether
    /// photos are seen
    #[arg(long)]
    swap_photos: bool,

    /// Judge of the pocket world's pictures, as `shutterbug evaluate judge` makes one; without it
    /// nothing is said about what drawn photos show
    #[arg(long, value_name = "FILE")]
    judge: Option<PathBuf>,

    /// Folder for results and report
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let subject = &arguments.subject;
    let share_bias = arguments.share_bias.unwrap_or(settings.reply.share_bias);
    let mut template = subject.request(settings, share_bias)?;
    let judge = arguments.judge.as_deref();
    let judge = judge.map(PocketJudge::load).transpose()?;
    let dataset = read_dataset(&[&subject.data])?;
    let examples = &dataset.examples[..subject.count(dataset.examples.len())];
    let (mut system, adapter) = subject.prepare(settings)?.system(subject.system)?;
    template.adapter = adapter;
    let run = description(arguments, &template, system.as_ref())?;
    let mut results = Results::open(&arguments.out, &run)?;

    // Photos of all dialogues may stand in, so that a limit changes no context.
    let swap = arguments.swap_photos.then(|| PhotoSwap::new(&dataset.examples, template.seed));
    let suite = Suite::new(examples, template, swap);
    suite.run(system.as_mut(), &mut results, &mut progress("replies"))?;

    let judge = judge.as_ref().map(|judge| judge as &dyn Judge);
    let report = Report::of(&run, examples, &results, judge)?;
    write(&arguments.out, &report)?;
    println!("{}", report.json());
    if report.failed > 0 {
        anyhow::bail!(
            "{} of {} replies failed; {} says why, and the same command tries them again",
            report.failed,
            report.decisions,
            arguments.out.join("results.jsonl").display()
        );
    }
    Ok(Verdict::Fine)
}

/// All that the results depend on.
fn description(
    arguments: &Arguments,
    template: &ReplyRequest,
    system: &dyn System,
) -> anyhow::Result<Map<String, Value>> {
    let subject = &arguments.subject;
    let bytes = fs::read(&subject.data)
        .with_context(|| format!("can't read {}", subject.data.display()))?;
    let latents = template.drawing.latents.as_ref().map(|latents| {
        let values: Vec<u8> = latents.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        blake3::hash(&values).to_hex().to_string()
    });
    let Value::Object(run) = json!({
        "system": subject.system.name(),
        "model": system.revision(),
        "adapter": template.adapter,
        "data": subject.data.file_name().map(|name| name.to_string_lossy()),
        "data_blake3": blake3::hash(&bytes).to_hex().to_string(),
        "photos": if arguments.swap_photos { "swapped" } else { "own" },
        "seed": template.seed,
        "share_bias": template.share_bias,
        "system_text": template.system_text,
        "new_tokens_max": template.new_tokens_max,
        "steps": template.drawing.steps,
        "guidance": template.drawing.guidance,
        "size": template.drawing.size,
        "latents_blake3": latents,
    }) else {
        anyhow::bail!("a description is an object");
    };
    Ok(run)
}

fn write(folder: &Path, report: &Report) -> anyhow::Result<()> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| format!("can't write {}", path.display()))
    };
    let shown: Vec<_> =
        report.exhibits.iter().take(SHEET_PHOTOS).map(|exhibit| exhibit.pixels.clone()).collect();
    if let Some(sheet) = contact_sheet(&shown, SHEET_COLUMNS) {
        write("sheet.png", &imaging::encode_png(&sheet))?;
    }
    write("report.json", format!("{:#}\n", report.json()).as_bytes())?;
    write("report.md", report.markdown(shown.len()).as_bytes())
}
