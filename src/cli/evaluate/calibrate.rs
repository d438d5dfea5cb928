//! `shutterbug evaluate calibrate`: the bias at which photos come as often as is wanted.

use serde_json::json;

use super::super::options::read_dataset;
use super::super::{UsageError, Verdict};
use super::{SubjectOptions, progress};
use crate::config::Settings;
use crate::evaluation::{Suite, share_bias, sharing_rate};

/// Find the share bias at which a wanted share of replies has a photo
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is drawn. The rate is that of replies drawn at temperature 1. The bias printed on stdout is
for the setting reply.share_bias and for --share-bias.

Example: shutterbug evaluate calibrate --model model --data pocket/validation.jsonl --rate 0.25")]
pub(crate) struct Arguments {
    #[command(flatten)]
    subject: SubjectOptions,

    /// Wanted share of replies with a photo, between 0 and 1
    #[arg(long, value_name = "R")]
    rate: f64,
}

pub(crate) fn run(arguments: &Arguments, settings: &Settings) -> anyhow::Result<Verdict> {
    let Arguments { subject, rate } = arguments;
    if !(*rate > 0.0 && *rate < 1.0) {
        return Err(UsageError("--rate must be between 0 and 1".to_owned()).into());
    }
    let mut template = subject.request(settings, 0.0)?;
    let dataset = read_dataset(&[&subject.data])?;
    let examples = &dataset.examples[..subject.count(dataset.examples.len())];
    let (mut system, adapter) = subject.prepare(settings)?.system(subject.system)?;
    template.adapter = adapter;
    let suite = Suite::new(examples, template, None);
    let probabilities = suite.share_probabilities(system.as_mut(), &mut progress("replies"));
    if probabilities.failed > 0 {
        tracing::warn!("{} replies failed; they are left out", probabilities.failed);
    }
    let known = &probabilities.known;
    let bias = share_bias(known, *rate).ok_or_else(|| {
        anyhow::anyhow!(
            "no bias gives a rate of {rate} over {} replies: choose another rate or more dialogues",
            known.len()
        )
    })?;
    println!(
        "{}",
        json!({
            "share_bias": bias,
            "rate": rate,
            "rate_without_bias": sharing_rate(known, 0.0),
            "replies": known.len(),
            "failed": probabilities.failed,
        })
    );
    Ok(Verdict::Fine)
}
