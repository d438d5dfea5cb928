//! Logs. Only this project's own lines pass: libraries log what they carry, and what they carry
//! here is what people write.

use std::{io, panic, thread};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::config::LogFormat;

/// Sends log lines to stderr from now on. Calls after the first change nothing.
pub fn start(format: LogFormat, level: LevelFilter) {
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Pretty => Box::new(lines.with_target(false)),
        LogFormat::Json => Box::new(lines.json().flatten_event(true)),
    };
    let started = tracing_subscriber::registry().with(lines.with_filter(own_lines(level)));
    // What a panic says can quote what people typed; where it happened can't.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, thread = thread::current().name(), "a thread panicked");
    }));
    // Failing means that a subscriber is there already, as in tests that run several commands.
    drop(started.try_init());
}

/// Lines of this project up to `level`, and of nothing else. serenity, for one, logs whole gateway
/// messages as warnings when it can't read them, and request bodies in its spans.
fn own_lines(level: LevelFilter) -> Targets {
    Targets::new()
        .with_target("shutterbug", level)
        .with_target("migrations_free_store", level)
        .with_target(ANNOUNCEMENT, level.max(LevelFilter::INFO))
}

/// Where announcements come from.
const ANNOUNCEMENT: &str = "shutterbug::announcement";

/// Tells what every operator must be able to see, as a log line whatever the level.
pub fn announce(sentence: &str) {
    tracing::info!(target: ANNOUNCEMENT, "{sentence}");
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn announcements_pass_at_every_level() {
        let filter = own_lines(LevelFilter::ERROR);
        assert!(filter.would_enable(ANNOUNCEMENT, &Level::INFO));
        assert!(!filter.would_enable("shutterbug::cli", &Level::INFO));
    }

    #[test]
    fn no_line_of_a_library_passes_at_any_level() {
        let filter = own_lines(LevelFilter::TRACE);
        assert!(filter.would_enable("shutterbug::discord::delivery", &Level::TRACE));
        for library in ["serenity::gateway::ws", "reqwest", "hyper_util::client", "tungstenite"] {
            assert!(!filter.would_enable(library, &Level::ERROR), "{library}");
        }
    }
}
