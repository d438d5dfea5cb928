//! One request to Discord's REST API and its answer, within Discord's limits.
//!
//! serenity's own rate limiter lets other requests through while Discord limits the whole bot, and
//! can't be pointed at another server; so the bot's few requests go this way. Nothing of a request
//! or an answer is logged.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::limits::{Key, Left, Limits, Scope, Told};
use super::rest::{File, RestError};
use crate::config::{self, Secret};

const DISCORD: &str = "https://discord.com";
/// Discord asks for a name of this form.
const NAME: &str = concat!("DiscordBot (shutterbug, ", env!("CARGO_PKG_VERSION"), ")");
/// Longest that one request may take, uploads included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest that a request waits for its turn; what would take longer is put off by the caller.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// From this many refused requests on, within ten minutes, the log warns of each further hundred.
const REFUSED_WARNING: usize = 200;

/// What is asked for.
pub(super) struct Ask<'a> {
    pub(super) method: Method,
    /// As in Discord's documentation, from `/users` or `/channels` on, without the ids.
    pub(super) route: &'static str,
    /// What stands in the route, by the names in braces there.
    pub(super) ids: Vec<(&'static str, String)>,
    /// Pairs of the query.
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    pub(super) files: &'a [File],
}

impl Ask<'_> {
    pub(super) fn get(route: &'static str) -> Self {
        Self {
            method: Method::GET,
            route,
            ids: Vec::new(),
            query: Vec::new(),
            body: None,
            files: &[],
        }
    }

    fn path(&self) -> String {
        self.ids.iter().fold(self.route.to_owned(), |path, (name, value)| {
            path.replace(&format!("{{{name}}}"), value)
        })
    }

    fn key(&self) -> Key {
        let method = if self.method == Method::GET { "GET" } else { "POST" };
        let channel = self.ids.iter().find(|(name, _)| *name == "channel_id");
        (method, self.route, channel.and_then(|(_, id)| id.parse().ok()).unwrap_or(0))
    }

    /// Answers to interactions have a token of their own and are not limited with the rest.
    fn is_limited(&self) -> bool {
        !self.route.starts_with("/interactions/")
    }
}

/// The connection and what is known of the limits. Clones share both.
#[derive(Clone)]
pub(super) struct Transport {
    client: Client,
    address: Arc<str>,
    limits: Arc<Mutex<Limits>>,
}

impl Transport {
    pub(super) fn new(settings: &config::Discord, token: &Secret) -> Result<Self, RestError> {
        let address = settings.api_url.as_ref().map_or(DISCORD, url::Url::as_str);
        Ok(Self {
            client: client(token)?,
            address: format!("{}/api/v10", address.trim_end_matches('/')).into(),
            limits: Arc::default(),
        })
    }

    /// Asks once, when the limits let it through, and reads the answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, ask: &Ask<'_>) -> Result<T, RestError> {
        let body = self.perform(ask).await?;
        // What can't be read is not told on: it holds what people wrote.
        serde_json::from_slice(&body).map_err(|_| RestError::Unreadable)
    }

    /// Asks once, when the limits let it through.
    pub(super) async fn perform(&self, ask: &Ask<'_>) -> Result<Vec<u8>, RestError> {
        let key = ask.key();
        if ask.is_limited() {
            self.wait_for_turn(key).await?;
        }
        // The errors of the client lose their text: it can hold addresses with signatures.
        let lost = |_| RestError::Unreachable { status: None };
        let answer = self.request(ask).send().await.map_err(lost)?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = answer.bytes().await.map_err(lost)?.to_vec();
        let said: Value = if status < 400 {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap_or_default()
        };
        if ask.is_limited() {
            self.learn(key, &told(status, &headers, &said));
        }
        if status < 400 {
            return Ok(body);
        }
        Err(RestError::of_answer(status, said["code"].as_i64().unwrap_or_default()))
    }

    fn request(&self, ask: &Ask<'_>) -> reqwest::RequestBuilder {
        let url = format!("{}{}", self.address, ask.path());
        let request = self.client.request(ask.method.clone(), url).query(&ask.query);
        match &ask.body {
            Some(body) if ask.files.is_empty() => request.json(body),
            Some(body) => request.multipart(form(body, ask.files)),
            None => request,
        }
    }

    async fn wait_for_turn(&self, key: Key) -> Result<(), RestError> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let now = Instant::now();
            let taken = self.limits().take(key, now);
            match taken {
                Ok(()) => return Ok(()),
                Err(wait) if now + wait > deadline => {
                    return Err(RestError::Unreachable { status: Some(429) });
                }
                Err(wait) => {
                    tracing::debug!(route = key.1, channel = key.2, ?wait, "waits for its turn");
                    tokio::time::sleep(wait).await;
                }
            }
        }
    }

    fn learn(&self, key: Key, told: &Told) {
        let now = Instant::now();
        let mut limits = self.limits();
        let before = limits.refused(now);
        limits.learn(key, told, now);
        let refused = limits.refused(now);
        drop(limits);
        if refused > before && refused.is_multiple_of(100) && refused >= REFUSED_WARNING {
            tracing::warn!(
                refused,
                "Discord has refused many requests within ten minutes; at 10,000 it shuts the \
                 address out. Check the bot's permissions"
            );
        }
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client(token: &Secret) -> Result<Client, RestError> {
    let mut headers = HeaderMap::new();
    let token = format!("Bot {}", token.expose());
    // A token that is no header's text can't be one of Discord's.
    let mut token = HeaderValue::from_str(&token).map_err(|_| RestError::TokenRefused)?;
    token.set_sensitive(true);
    headers.insert(AUTHORIZATION, token);
    headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
    Client::builder()
        .default_headers(headers)
        .timeout(REQUEST_TIME_MAX)
        .connect_timeout(Duration::from_secs(10))
        // A redirect would carry the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(RestError::Client)
}

fn form(body: &Value, files: &[File]) -> Form {
    let mut form = Form::new().text("payload_json", body.to_string());
    for (at, file) in files.iter().enumerate() {
        let part = Part::bytes(file.bytes.to_vec())
            .file_name(file.name.clone())
            .mime_str("image/png")
            .expect("a content type");
        form = form.part(format!("files[{at}]"), part);
    }
    form
}

/// What an answer says about limits; `said` is its body where it refuses.
fn told(status: u16, headers: &HeaderMap, said: &Value) -> Told {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let seconds = |name: &str| duration(text(name)?.parse().ok()?);
    let left = || {
        Some(Left {
            limit: text("x-ratelimit-limit")?.parse().ok()?,
            remaining: text("x-ratelimit-remaining")?.parse().ok()?,
            reset_after: seconds("x-ratelimit-reset-after")?,
        })
    };
    let retry = (status == 429).then(|| {
        // The body is exact, the header in whole seconds; without either, as from a proxy in
        // between, a while.
        let after = said["retry_after"].as_f64().and_then(duration);
        let after = after.or_else(|| seconds("retry-after")).unwrap_or(Duration::from_secs(5));
        let everywhere = said["global"] == true || text("x-ratelimit-global").is_some();
        let scope = match text("x-ratelimit-scope") {
            _ if everywhere => Scope::Everywhere,
            Some("global") => Scope::Everywhere,
            Some("shared") => Scope::Shared,
            _ => Scope::Route,
        };
        (scope, after)
    });
    Told { status, left: left(), retry }
}

/// Seconds as Discord gives them, at most a day.
fn duration(seconds: f64) -> Option<Duration> {
    (0.0..=86_400.0).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn an_answer_tells_of_its_bucket() {
        let given = headers(&[
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset-after", "1.25"),
        ]);
        let left = Left { limit: 5, remaining: 0, reset_after: Duration::from_millis(1250) };
        let expected = Told { status: 200, left: Some(left), retry: None };
        assert_eq!(told(200, &given, &Value::Null), expected);
        assert_eq!(told(200, &headers(&[]), &Value::Null).left, None);
    }

    #[test]
    fn a_refusal_tells_whom_it_concerns_and_for_how_long() {
        let retry = |pairs: &[_], said| told(429, &headers(pairs), &said).retry.unwrap();
        let ms = Duration::from_millis;
        for (pairs, said, expected) in [
            (
                &[("x-ratelimit-scope", "user")][..],
                json!({ "retry_after": 0.3 }),
                (Scope::Route, ms(300)),
            ),
            (
                &[("x-ratelimit-scope", "shared")],
                json!({ "retry_after": 2 }),
                (Scope::Shared, ms(2000)),
            ),
            (
                &[("x-ratelimit-global", "true")],
                json!({ "retry_after": 1 }),
                (Scope::Everywhere, ms(1000)),
            ),
            (&[], json!({ "retry_after": 1, "global": true }), (Scope::Everywhere, ms(1000))),
            (&[("retry-after", "7")], Value::Null, (Scope::Route, ms(7000))),
            (&[], json!({ "retry_after": -1 }), (Scope::Route, ms(5000))),
        ] {
            assert_eq!(retry(pairs, said), expected, "{pairs:?}");
        }
    }
}
