//! The checked settings; the keys' meaning and units stand in `config/shutterbug.toml`.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use url::{Host, Url};

use super::raw::{
    self, Document, Layers, Raw, RawAttachments, RawDiscord, RawDrawing, RawLog, RawReply,
    RawStore, Source,
};
use super::{ConfigError, Secret, TokenSource};

/// Everything an operator can set.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Section `[model]`.
    pub model: Model,
    /// Section `[reply]`.
    pub reply: Reply,
    /// Section `[drawing]`.
    pub drawing: Drawing,
    /// Section `[history]`.
    pub history: History,
    /// Section `[attachments]`.
    pub attachments: Attachments,
    /// Section `[discord]`.
    pub discord: Discord,
    /// Section `[queue]`.
    pub queue: Queue,
    /// Section `[store]`.
    pub store: Store,
    /// Section `[shutdown]`.
    pub shutdown: Shutdown,
    /// Section `[log]`.
    pub log: Log,
}

/// Which model runs, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Folder of the model.
    pub directory: PathBuf,
    /// Name of the device, as `torch::DeviceChoice` reads it.
    pub device: String,
    /// Name of the floating-point format, as `torch::Precision` reads it.
    pub precision: String,
}

/// Something that an operator turns on or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    /// `"on"`.
    On,
    /// `"off"`.
    Off,
}

/// How replies are written.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The system's text, if any.
    pub system_text: Option<String>,
    /// Whether photos are shared.
    pub photos: Switch,
    /// Added to the logit of a photo; finite.
    pub share_bias: f64,
    /// Most tokens of a reply; at least 1.
    pub new_tokens_max: usize,
    /// At least 0, which is greedy.
    pub temperature: f64,
    /// In (0, 1].
    pub top_p: f64,
}

/// How photos are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Diffusion steps; at least 1.
    pub steps: usize,
    /// Classifier-free guidance; at least 1.
    pub guidance: f64,
    /// Width and height in pixels; `None` is the model's own.
    pub size: Option<(u32, u32)>,
}

/// How far back the bot reads.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// 1 to 100.
    pub messages_max: u8,
    /// Oldest message, counted from the one answered.
    pub age_max: Duration,
    /// Photos looked at.
    pub photos_max: usize,
}

/// Limits of what is downloaded and decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachments {
    /// Of one file.
    pub file_bytes_max: u64,
    /// Width times height of one photo.
    pub photo_pixels_max: u64,
    /// Of one whole download.
    pub download_time_max: Duration,
    /// Between two pieces of a download.
    pub stall_time_max: Duration,
    /// Hosts besides Discord's own, as `host` or `host:port`.
    pub hosts: Vec<String>,
}

/// How Discord is reached.
#[derive(Debug, Clone, PartialEq)]
pub struct Discord {
    /// Where the bot token comes from.
    pub token: TokenSource,
    /// Instead of `https://discord.com`.
    pub api_url: Option<Url>,
    /// Instead of the gateway that the REST API names.
    pub gateway_url: Option<Url>,
    /// Where the operator's privacy policy can be read.
    pub privacy_policy_url: Option<String>,
    /// Whether private messages are answered.
    pub direct_messages: Switch,
    /// Further tries after 429, 5xx and lost connections.
    pub retries_max: u32,
    /// Oldest message that is still answered after an absence.
    pub late_answer_max: Duration,
}

/// How much may wait for the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Of everybody.
    pub waiting_max: usize,
    /// Of one person in one channel.
    pub waiting_per_person_max: usize,
}

/// Where the journal is.
#[derive(Debug, Clone, PartialEq)]
pub struct Store {
    /// Its folder.
    pub directory: PathBuf,
    /// Longest that deleted texts stay in its files.
    pub deleted_max: Duration,
}

/// How the bot stops.
#[derive(Debug, Clone, PartialEq)]
pub struct Shutdown {
    /// For replies under way.
    pub grace_max: Duration,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Pretty,
    /// One JSON object a line.
    Json,
}

/// How it tells what it does.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Looks.
    pub format: LogFormat,
    /// Lowest level told.
    pub level: LevelFilter,
}

impl Settings {
    /// Reads `file`, else the one that `SHUTTERBUG_CONFIG` names, else the defaults; the
    /// environment wins over all of them.
    pub fn load(file: Option<&Path>) -> Result<Self, ConfigError> {
        let environment = environment();
        let file = read_file(file, &environment)?;
        from_layers(file.as_ref().map(OwnedSource::borrowed), &environment)
    }

    /// The settings that a file with this text and an empty environment give.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        from_layers(Some(Source { origin: "settings", text }), &BTreeMap::new())
    }
}

/// The environment, as far as it is text.
pub(super) fn environment() -> BTreeMap<String, String> {
    env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// A file's text with its path.
pub(super) struct OwnedSource {
    origin: String,
    text: String,
}

impl OwnedSource {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Ok(Self { origin: path.display().to_string(), text })
    }

    pub(super) fn borrowed(&self) -> Source<'_> {
        Source { origin: &self.origin, text: &self.text }
    }
}

/// `file`, else the one that `SHUTTERBUG_CONFIG` names, if there is any.
pub(super) fn read_file(
    file: Option<&Path>,
    environment: &BTreeMap<String, String>,
) -> Result<Option<OwnedSource>, ConfigError> {
    let named = environment.get("SHUTTERBUG_CONFIG").map(Path::new);
    file.or(named).map(OwnedSource::read).transpose()
}

fn from_layers(
    file: Option<Source<'_>>,
    environment: &BTreeMap<String, String>,
) -> Result<Settings, ConfigError> {
    let layers = Layers { preset: None, file, environment, overrides: &[] };
    let (raw, _) = raw::sections(raw::merge(layers)?, Document::Service)?;
    resolve(raw, environment)
}

fn resolve(raw: Raw, environment: &BTreeMap<String, String>) -> Result<Settings, ConfigError> {
    Ok(Settings {
        model: Model {
            directory: raw.model.directory.into(),
            device: raw.model.device,
            precision: raw.model.precision,
        },
        reply: reply(raw.reply)?,
        drawing: drawing(&raw.drawing)?,
        history: History {
            messages_max: within("history.messages_max", raw.history.messages_max, 1, 100)?,
            age_max: Duration::from_secs(
                3600 * within::<u64>(
                    "history.age_hours_max",
                    raw.history.age_hours_max,
                    1,
                    87_600,
                )?,
            ),
            photos_max: within("history.photos_max", raw.history.photos_max, 0, 100)?,
        },
        attachments: attachments(raw.attachments)?,
        discord: discord(raw.discord, environment)?,
        queue: Queue {
            waiting_max: within("queue.waiting_max", raw.queue.waiting_max, 1, 100_000)?,
            waiting_per_person_max: within(
                "queue.waiting_per_person_max",
                raw.queue.waiting_per_person_max,
                1,
                100_000,
            )?,
        },
        store: store(raw.store)?,
        shutdown: Shutdown {
            grace_max: seconds("shutdown.grace_seconds_max", raw.shutdown.grace_seconds_max)?,
        },
        log: log(&raw.log)?,
    })
}

fn store(raw: RawStore) -> Result<Store, ConfigError> {
    let hours = raw.deleted_hours_max;
    if !(0.0..=24.0).contains(&hours) {
        return Err(ConfigError::OutOfRange {
            key: "store.deleted_hours_max",
            reason: "must be at least 0 and at most 24",
        });
    }
    let deleted_max = Duration::from_secs_f64(3600.0 * hours);
    Ok(Store { directory: raw.directory.into(), deleted_max })
}

fn reply(raw: RawReply) -> Result<Reply, ConfigError> {
    let photos = switch("reply.photos", &raw.photos)?;
    if !(0.0..=10.0).contains(&raw.temperature) {
        return Err(out_of_range("reply.temperature", "must be from 0 to 10"));
    }
    if !(raw.top_p > 0.0 && raw.top_p <= 1.0) {
        return Err(out_of_range("reply.top_p", "must be above 0 and at most 1"));
    }
    if !raw.share_bias.is_finite() {
        return Err(out_of_range("reply.share_bias", "must be a finite number"));
    }
    Ok(Reply {
        system_text: non_empty(raw.system_text),
        photos,
        share_bias: raw.share_bias,
        new_tokens_max: within("reply.new_tokens_max", raw.new_tokens_max, 1, 100_000)?,
        temperature: raw.temperature,
        top_p: raw.top_p,
    })
}

pub(super) fn switch(key: &'static str, text: &str) -> Result<Switch, ConfigError> {
    match text {
        "on" => Ok(Switch::On),
        "off" => Ok(Switch::Off),
        _ => Err(out_of_range(key, "must be \"on\" or \"off\"")),
    }
}

fn drawing(raw: &RawDrawing) -> Result<Drawing, ConfigError> {
    if !(1.0..=100.0).contains(&raw.guidance) {
        return Err(out_of_range("drawing.guidance", "must be from 1 to 100"));
    }
    let width: u32 = within("drawing.width", raw.width, 0, 16_384)?;
    let height: u32 = within("drawing.height", raw.height, 0, 16_384)?;
    let size = match (width, height) {
        (0, 0) => None,
        (0, _) => return Err(out_of_range("drawing.width", "is 0 while the height is not")),
        (_, 0) => return Err(out_of_range("drawing.height", "is 0 while the width is not")),
        size => Some(size),
    };
    let steps = within("drawing.steps", raw.steps, 1, 10_000)?;
    Ok(Drawing { steps, guidance: raw.guidance, size })
}

fn attachments(raw: RawAttachments) -> Result<Attachments, ConfigError> {
    Ok(Attachments {
        file_bytes_max: within("attachments.file_bytes_max", raw.file_bytes_max, 1, i64::MAX)?,
        photo_pixels_max: within(
            "attachments.photo_pixels_max",
            raw.photo_pixels_max,
            1,
            i64::MAX,
        )?,
        download_time_max: seconds("attachments.download_seconds_max", raw.download_seconds_max)?,
        stall_time_max: seconds("attachments.stall_seconds_max", raw.stall_seconds_max)?,
        hosts: raw.hosts,
    })
}

fn discord(
    raw: RawDiscord,
    environment: &BTreeMap<String, String>,
) -> Result<Discord, ConfigError> {
    let credential = environment
        .get("CREDENTIALS_DIRECTORY")
        .map(|directory| Path::new(directory).join("discord-token"))
        .filter(|path| path.exists());
    let token = match environment.get("SHUTTERBUG_DISCORD_TOKEN") {
        Some(token) => TokenSource::Environment(Secret::new(token)),
        None => non_empty(raw.token_file)
            .map(PathBuf::from)
            .or(credential)
            .map_or(TokenSource::Missing, TokenSource::File),
    };
    let minutes: u64 =
        within("discord.late_answer_minutes_max", raw.late_answer_minutes_max, 0, 525_600)?;
    Ok(Discord {
        token,
        api_url: address("discord.api_url", &raw.api_url, "http", "https")?,
        gateway_url: address("discord.gateway_url", &raw.gateway_url, "ws", "wss")?,
        privacy_policy_url: non_empty(raw.privacy_policy_url),
        direct_messages: switch("discord.direct_messages", &raw.direct_messages)?,
        retries_max: within("discord.retries_max", raw.retries_max, 0, 100)?,
        late_answer_max: Duration::from_secs(60 * minutes),
    })
}

/// Whether an address is one of this machine: what goes there does not leave it.
pub fn is_this_machine(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// A server's address; without encryption the token may go to this machine only.
fn address(
    key: &'static str,
    text: &str,
    plain: &str,
    encrypted: &str,
) -> Result<Option<Url>, ConfigError> {
    if text.is_empty() {
        return Ok(None);
    }
    let url = Url::parse(text).map_err(|_| out_of_range(key, "is no address"))?;
    if url.host().is_none() {
        return Err(out_of_range(key, "names no host"));
    }
    if url.scheme() == encrypted || (url.scheme() == plain && is_this_machine(&url)) {
        return Ok(Some(url));
    }
    Err(out_of_range(key, "must be encrypted (https or wss): the bot token is sent there"))
}

fn log(raw: &RawLog) -> Result<Log, ConfigError> {
    let format = match raw.format.as_str() {
        "pretty" => LogFormat::Pretty,
        "json" => LogFormat::Json,
        _ => return Err(out_of_range("log.format", "must be \"pretty\" or \"json\"")),
    };
    let level = match raw.level.as_str() {
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(out_of_range("log.level", "must be error, warn, info, debug or trace")),
    };
    Ok(Log { format, level })
}

pub(super) fn within<T: TryFrom<i64>>(
    key: &'static str,
    value: i64,
    least: i64,
    most: i64,
) -> Result<T, ConfigError> {
    let reason = match value {
        _ if value < least && least == 0 => "must not be negative",
        _ if value < least => "must be at least 1",
        _ if value > most => "is too large",
        _ => "does not fit",
    };
    let fits = (least..=most).contains(&value).then(|| T::try_from(value).ok()).flatten();
    fits.ok_or_else(|| out_of_range(key, reason))
}

fn seconds(key: &'static str, value: f64) -> Result<Duration, ConfigError> {
    if value > 0.0 && value <= 86_400.0 {
        Ok(Duration::from_secs_f64(value))
    } else {
        Err(out_of_range(key, "must be above 0 and at most a day"))
    }
}

pub(super) fn out_of_range(key: &'static str, reason: &'static str) -> ConfigError {
    ConfigError::OutOfRange { key, reason }
}

pub(super) fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Settings::from_toml(text).unwrap_err().to_string()
    }

    #[test]
    fn the_documented_file_is_complete_and_valid() {
        let settings = Settings::from_toml("").unwrap();
        assert_eq!(settings.model.device, "auto");
        assert_eq!(settings.reply.system_text, None);
        assert_eq!(settings.drawing.size, None);
        assert_eq!(settings.history.age_max, Duration::from_secs(48 * 3600));
        assert_eq!(settings.discord.token, TokenSource::Missing);
        assert_eq!(settings.discord.api_url, None);
    }

    #[test]
    fn the_token_would_go_unencrypted_to_this_machine_only() {
        for address in ["http://127.0.0.1:8080", "http://[::1]:1", "http://localhost:1"] {
            let text = format!("[discord]\napi_url = \"{address}\"");
            assert!(Settings::from_toml(&text).unwrap().discord.api_url.is_some(), "{address}");
        }
        let reason = "must be encrypted (https or wss): the bot token is sent there";
        assert_eq!(
            error("[discord]\napi_url = \"http://10.0.0.1\""),
            format!("setting `discord.api_url` {reason}")
        );
        assert_eq!(
            error("[discord]\ngateway_url = \"ws://gateway.example\""),
            format!("setting `discord.gateway_url` {reason}")
        );
    }

    #[test]
    fn values_that_can_not_be_are_refused_with_their_key() {
        for (text, sentence) in [
            ("[history]\nmessages_max = 0", "setting `history.messages_max` must be at least 1"),
            ("[history]\nmessages_max = 101", "setting `history.messages_max` is too large"),
            ("[history]\nphotos_max = -1", "setting `history.photos_max` must not be negative"),
            ("[reply]\ntop_p = 0", "setting `reply.top_p` must be above 0 and at most 1"),
            ("[reply]\ntemperature = nan", "setting `reply.temperature` must be from 0 to 10"),
            ("[drawing]\nwidth = 64", "setting `drawing.height` is 0 while the width is not"),
            (
                "[log]\nlevel = \"loud\"",
                "setting `log.level` must be error, warn, info, debug or trace",
            ),
        ] {
            assert_eq!(error(text), sentence);
        }
    }

    #[test]
    fn the_token_comes_from_the_environment_then_a_file_then_a_credential() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("discord-token"), "c").unwrap();
        let credentials = folder.path().display().to_string();
        let token = |text: &str, variables: &[(&str, &str)]| {
            let environment: BTreeMap<_, _> =
                variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            from_layers(Some(Source { origin: "f", text }), &environment).unwrap().discord.token
        };
        let (given, directory) =
            (("SHUTTERBUG_DISCORD_TOKEN", "e"), ("CREDENTIALS_DIRECTORY", credentials.as_str()));
        let file = "[discord]\ntoken_file = \"t\"";
        assert_eq!(token(file, &[given, directory]), TokenSource::Environment(Secret::new("e")));
        assert_eq!(token(file, &[directory]), TokenSource::File("t".into()));
        assert_eq!(token("", &[directory]), TokenSource::File(folder.path().join("discord-token")));
        assert_eq!(token("", &[]), TokenSource::Missing);
    }
}
