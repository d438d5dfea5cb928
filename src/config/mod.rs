//! Settings: raw TOML and environment in, checked values out. The only reader of the environment.
//!
//! `config/shutterbug.toml` and `config/training.toml` are compiled in: they document every key and
//! hold its default, so a key that is not documented does not exist.

mod raw;
mod secret;
mod settings;
mod training;

use std::path::PathBuf;

pub use secret::{Secret, TokenSource};
pub use settings::{
    Attachments, Discord, Drawing, History, Log, LogFormat, Model, Queue, Reply, Settings,
    Shutdown, Store, Switch, is_this_machine,
};
pub use training::{
    Accumulation, Beginning, Bridge, BridgeMode, CheckpointPolicy, DiffusionLoss, EncodersLoss,
    GumbelNoise, Lora, OptimizerSettings, Pooling, Preset, RateSchedule, Scored, ScoredSpeakers,
    Stage, StaticMatch, TextEncoders, TextLoss, TokenRows, Trained, Training, VaeLoss,
    WrittenPrecision,
};

/// What is wrong with the settings, in a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{origin} is no valid TOML")]
    Syntax {
        /// File.
        origin: String,
        /// Why, with line and column.
        source: Box<toml::de::Error>,
    },
    /// A section that doesn't exist.
    #[error("{origin}: there is no section [{section}]; did you mean [{nearest}]?")]
    UnknownSection {
        /// File.
        origin: String,
        /// As written.
        section: String,
        /// The known one that looks most like it.
        nearest: String,
    },
    /// A key that doesn't exist.
    #[error("{origin}: there is no key `{key}` in [{section}]; did you mean `{nearest}`?")]
    UnknownKey {
        /// File.
        origin: String,
        /// Its section.
        section: String,
        /// As written.
        key: String,
        /// The known one that looks most like it.
        nearest: String,
    },
    /// A value of the wrong kind.
    #[error("{origin}: `{key}` must be {expected}, not {found}")]
    WrongType {
        /// File or environment variable.
        origin: String,
        /// Section and key.
        key: String,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A setting on the command line without a name or a value.
    #[error("`--set {text}` sets nothing: write SECTION.KEY=VALUE, such as training.seed=7")]
    Malformed {
        /// As written.
        text: String,
    },
    /// A value that can't be.
    #[error("setting `{key}` {reason}")]
    OutOfRange {
        /// Section and key.
        key: &'static str,
        /// What is wrong, as the end of a sentence.
        reason: &'static str,
    },
    /// No bot token anywhere.
    #[error(
        "there is no bot token: set SHUTTERBUG_DISCORD_TOKEN, name a file in `discord.token_file`, \
         or give the systemd credential `discord-token`"
    )]
    NoToken,
    /// The token is not one.
    #[error(
        "the bot token from {origin} is empty or holds spaces or line breaks; copy it again from \
         the developer portal"
    )]
    BadToken {
        /// Where it came from.
        origin: String,
    },
}
