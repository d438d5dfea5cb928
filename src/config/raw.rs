//! From texts to one table in which every known key has a value of its kind.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::ConfigError;

/// The documented files with every key and its default.
const DEFAULTS: [Source<'_>; 2] = [
    Source { origin: "config/shutterbug.toml", text: include_str!("../../config/shutterbug.toml") },
    Source { origin: "config/training.toml", text: include_str!("../../config/training.toml") },
];

/// Every key as it is written; units and meaning stand in `config/shutterbug.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    pub(super) model: RawModel,
    pub(super) reply: RawReply,
    pub(super) drawing: RawDrawing,
    pub(super) history: RawHistory,
    pub(super) attachments: RawAttachments,
    pub(super) discord: RawDiscord,
    pub(super) queue: RawQueue,
    pub(super) store: RawStore,
    pub(super) shutdown: RawShutdown,
    pub(super) log: RawLog,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawModel {
    pub(super) directory: String,
    pub(super) device: String,
    pub(super) precision: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawReply {
    pub(super) system_text: String,
    pub(super) photos: String,
    pub(super) share_bias: f64,
    pub(super) new_tokens_max: i64,
    pub(super) temperature: f64,
    pub(super) top_p: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDrawing {
    pub(super) steps: i64,
    pub(super) guidance: f64,
    pub(super) width: i64,
    pub(super) height: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the keys' names in the file")]
pub(super) struct RawHistory {
    pub(super) messages_max: i64,
    pub(super) age_hours_max: i64,
    pub(super) photos_max: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAttachments {
    pub(super) file_bytes_max: i64,
    pub(super) photo_pixels_max: i64,
    pub(super) download_seconds_max: f64,
    pub(super) stall_seconds_max: f64,
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawDiscord {
    pub(super) token_file: String,
    pub(super) api_url: String,
    pub(super) gateway_url: String,
    pub(super) privacy_policy_url: String,
    pub(super) direct_messages: String,
    pub(super) retries_max: i64,
    pub(super) late_answer_minutes_max: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawQueue {
    pub(super) waiting_max: i64,
    pub(super) waiting_per_person_max: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStore {
    pub(super) directory: String,
    pub(super) deleted_hours_max: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShutdown {
    pub(super) grace_seconds_max: f64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) format: String,
    pub(super) level: String,
}

/// A file's text and the name it goes by in errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) origin: &'a str,
    pub(super) text: &'a str,
}

/// What lies over the defaults, each over those before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layers<'a> {
    /// A preset, or the settings of the run that goes on.
    pub(super) preset: Option<Source<'a>>,
    pub(super) file: Option<Source<'a>>,
    pub(super) environment: &'a BTreeMap<String, String>,
    /// `section.key=value`, from the command line.
    pub(super) overrides: &'a [String],
}

/// Every section of both documented files, each key with its value.
pub(super) fn merge(layers: Layers<'_>) -> Result<Table, ConfigError> {
    let mut merged = Table::new();
    for defaults in DEFAULTS {
        merged.extend(parse(defaults)?);
    }
    for source in [layers.preset, layers.file].into_iter().flatten() {
        lay_over(&mut merged, parse(source)?, source.origin)?;
    }
    for (section, keys) in &mut merged {
        for (key, value) in keys.as_table_mut().into_iter().flatten() {
            let variable = format!("SHUTTERBUG_{section}_{key}").to_uppercase();
            if let Some(text) = layers.environment.get(&variable) {
                let given = from_text(text, value);
                *value = of_kind(given, value, &format!("{section}.{key}"), &variable)?;
            }
        }
    }
    for text in layers.overrides {
        lay_one_over(&mut merged, text)?;
    }
    Ok(merged)
}

/// The sections of one documented file, out of those of both.
pub(super) fn sections<T: DeserializeOwned>(
    mut merged: Table,
    document: Document,
) -> Result<(T, Table), ConfigError> {
    let defaults = DEFAULTS[document as usize];
    let known = parse(defaults)?;
    merged.retain(|section, _| known.contains_key(section));
    let origin = defaults.origin.to_owned();
    let raw = merged
        .clone()
        .try_into()
        .map_err(|source| ConfigError::Syntax { origin, source: Box::new(source) })?;
    Ok((raw, merged))
}

/// The documented files.
#[derive(Debug, Clone, Copy)]
pub(super) enum Document {
    /// `config/shutterbug.toml`.
    Service,
    /// `config/training.toml`.
    Training,
}

/// Lays `section.key=value` over what is there.
fn lay_one_over(known: &mut Table, text: &str) -> Result<(), ConfigError> {
    let malformed = || ConfigError::Malformed { text: text.to_owned() };
    let (name, value) = text.split_once('=').ok_or_else(malformed)?;
    let (section, key) = name.trim().split_once('.').ok_or_else(malformed)?;
    let example = known.get(section).and_then(|keys| keys.get(key));
    let value = example.map_or(Value::Boolean(true), |example| from_text(value.trim(), example));
    let given = Table::from_iter([(key.to_owned(), value)]);
    lay_over(known, Table::from_iter([(section.to_owned(), Value::Table(given))]), "--set")
}

fn parse(source: Source<'_>) -> Result<Table, ConfigError> {
    source.text.parse().map_err(|error| ConfigError::Syntax {
        origin: source.origin.to_owned(),
        source: Box::new(error),
    })
}

fn lay_over(known: &mut Table, given: Table, origin: &str) -> Result<(), ConfigError> {
    for (section, keys) in given {
        let nearest = nearest(&section, known.keys());
        let Some(Value::Table(known)) = known.get_mut(&section) else {
            return Err(ConfigError::UnknownSection {
                origin: origin.to_owned(),
                section,
                nearest,
            });
        };
        let Value::Table(keys) = keys else {
            return Err(ConfigError::WrongType {
                origin: origin.to_owned(),
                key: section,
                expected: "a section in brackets",
                found: kind(&keys),
            });
        };
        for (key, value) in keys {
            let nearest = self::nearest(&key, known.keys());
            let Some(slot) = known.get_mut(&key) else {
                return Err(ConfigError::UnknownKey {
                    origin: origin.to_owned(),
                    section,
                    key,
                    nearest,
                });
            };
            *slot = of_kind(value, slot, &format!("{section}.{key}"), origin)?;
        }
    }
    Ok(())
}

/// `given` if it is of the kind of `example`; whole numbers serve as decimal ones.
fn of_kind(given: Value, example: &Value, key: &str, origin: &str) -> Result<Value, ConfigError> {
    match (given, example) {
        (Value::Integer(whole), Value::Float(_)) => Ok(Value::Float(whole as f64)),
        (Value::Array(items), Value::Array(_)) if items.iter().all(Value::is_str) => {
            Ok(Value::Array(items))
        }
        (given, example) if given.same_type(example) && !given.is_array() => Ok(given),
        (given, example) => Err(ConfigError::WrongType {
            origin: origin.to_owned(),
            key: key.to_owned(),
            expected: kind(example),
            found: if given.is_array() { "a list of other things" } else { kind(&given) },
        }),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list of texts",
        Value::Table(_) => "a section",
    }
}

/// An environment variable's text as a value, read in the way of `example`; lists are separated by
/// commas.
fn from_text(text: &str, example: &Value) -> Value {
    let number = match example {
        Value::Integer(_) => text.parse().map(Value::Integer).ok(),
        Value::Float(_) => text.parse().map(Value::Float).ok(),
        Value::Array(_) => Some(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::String(item.to_owned()))
                .collect(),
        )),
        _ => None,
    };
    number.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> String {
    known
        .min_by_key(|candidate| strsim::damerau_levenshtein(name, candidate))
        .cloned()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(text: &str, environment: &[(&str, &str)]) -> Result<Raw, String> {
        let environment: BTreeMap<_, _> =
            environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let file = Some(Source { origin: "my.toml", text });
        let layers = Layers { preset: None, file, environment: &environment, overrides: &[] };
        let raw = merge(layers).and_then(|merged| sections(merged, Document::Service));
        raw.map(|(raw, _)| raw).map_err(|e| e.to_string())
    }

    #[test]
    fn a_file_needs_only_what_differs_and_the_environment_wins() {
        let raw = merged(
            "[history]\nmessages_max = 7\n[attachments]\nstall_seconds_max = 2\n",
            &[("SHUTTERBUG_HISTORY_PHOTOS_MAX", "3"), ("SHUTTERBUG_HISTORY_MESSAGES_MAX", "8")],
        )
        .unwrap();
        assert_eq!((raw.history.messages_max, raw.history.photos_max), (8, 3));
        assert!((raw.attachments.stall_seconds_max - 2.0).abs() < f64::EPSILON);
        assert_eq!(raw.history.age_hours_max, 48);
    }

    #[test]
    fn lists_come_from_the_environment_separated_by_commas() {
        let raw =
            merged("", &[("SHUTTERBUG_ATTACHMENTS_HOSTS", "a.example, b.example:81")]).unwrap();
        assert_eq!(raw.attachments.hosts, ["a.example", "b.example:81"]);
    }

    #[test]
    fn unknown_names_and_wrong_kinds_are_told_with_what_was_probably_meant() {
        let error =
            |text: &str, environment: &[(&str, &str)]| merged(text, environment).unwrap_err();
        insta::assert_snapshot!(
            error("[history]\nmax_messages = 7\nmesages_max = 3\n", &[]),
            @"my.toml: there is no key `max_messages` in [history]; did you mean `messages_max`?"
        );
        insta::assert_snapshot!(
            error("[histroy]\n", &[]),
            @"my.toml: there is no section [histroy]; did you mean [history]?"
        );
        insta::assert_snapshot!(
            error("[history]\nmessages_max = \"7\"\n", &[]),
            @"my.toml: `history.messages_max` must be a whole number, not a text in quotes"
        );
        insta::assert_snapshot!(
            error("", &[("SHUTTERBUG_QUEUE_WAITING_MAX", "many")]),
            @"SHUTTERBUG_QUEUE_WAITING_MAX: `queue.waiting_max` must be a whole number, not a text in quotes"
        );
        insta::assert_snapshot!(
            error("[attachments]\nhosts = [1]\n", &[]),
            @"my.toml: `attachments.hosts` must be a list of texts, not a list of other things"
        );
    }
}
