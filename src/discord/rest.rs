//! What the bot asks of Discord's REST API, tried again where that makes sense.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use serenity::all::{BotGateway, CurrentUser, MessageId};
use serenity::http::{Http, HttpBuilder};
use serenity::model::channel as theirs;

use super::commands::{self, Asked};
use super::message::{Me, Message};
use super::translate;
use super::transport::{Ask, Transport};
use crate::config::{self, Secret};

const MESSAGES: &str = "/channels/{channel_id}/messages";
/// Wait before the second try; doubled for each further one.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longest wait between two tries.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// Longest that a typing indicator may take: after that it is of no use.
const TYPING_TIME_MAX: Duration = Duration::from_secs(5);
/// The flag of a message that only one person sees.
const EPHEMERAL: u64 = 64;
/// Most messages that Discord gives at once.
pub const MESSAGES_MAX: u8 = 100;

/// Why Discord didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RestError {
    /// The bot token is not accepted.
    #[error(
        "Discord refuses the bot token; make a new one in the developer portal (application, Bot, \
         Reset Token) and set it"
    )]
    TokenRefused,
    /// The bot may not do that there.
    #[error(
        "Discord forbids it (code {code}); look at the bot's permissions in that channel, and \
         whether the thread is locked or the server shuts the bot out"
    )]
    Forbidden {
        /// Discord's JSON error code.
        code: i64,
    },
    /// The channel or message is not there any more.
    #[error("it is not there any more (code {code})")]
    Gone {
        /// Discord's JSON error code.
        code: i64,
    },
    /// The upload is larger than Discord takes there.
    #[error("the upload is too large; make photos smaller with drawing.width and drawing.height")]
    TooLarge,
    /// Discord doesn't understand the request.
    #[error(
        "Discord refuses the request (status {status}, code {code}); if that happens again, this \
         version of the bot may be too old for Discord's API"
    )]
    Refused {
        /// HTTP status.
        status: u16,
        /// Discord's JSON error code.
        code: i64,
    },
    /// No answer, or none but "later", however often it was asked.
    #[error(
        "Discord can't be reached or doesn't answer (status {}); look at this machine's network \
         and at https://discordstatus.com",
        status.map_or("none".to_owned(), |status| status.to_string())
    )]
    Unreachable {
        /// HTTP status, if there was an answer.
        status: Option<u16>,
    },
    /// Discord's answer is not what its API's description says.
    #[error("Discord's answer can't be read; this version of the bot may be too old for its API")]
    Unreadable,
    /// No HTTP client could be made.
    #[error("no HTTP client can be made; are the system's certificates in order?")]
    Client(#[source] reqwest::Error),
}

impl RestError {
    /// Whether the same request would fail again.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Forbidden { .. }
            | Self::Gone { .. }
            | Self::TooLarge
            | Self::Refused { .. }
            | Self::Unreadable => true,
            Self::TokenRefused | Self::Unreachable { .. } | Self::Client(_) => false,
        }
    }

    /// What a refusal with this status and Discord's JSON code means.
    pub(super) fn of_answer(status: u16, code: i64) -> Self {
        match (status, code) {
            (401, _) => Self::TokenRefused,
            (403, _) => Self::Forbidden { code },
            (404, _) => Self::Gone { code },
            // "Request entity too large" comes as 400 too.
            (413, _) | (400, 40005) => Self::TooLarge,
            (408 | 429 | 500.., _) => Self::Unreachable { status: Some(status) },
            _ => Self::Refused { status, code },
        }
    }
}

/// A message to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct Draft {
    /// Text; may be empty where there are files.
    pub content: String,
    /// Files with their alt texts.
    pub files: Vec<File>,
    /// The message that it answers, if it may be a reply.
    pub replies_to: Option<u64>,
    /// The only person whom it may ping.
    pub ping: Option<u64>,
    /// Discord makes no second message with this nonce for some minutes.
    pub nonce: String,
}

/// A file to be sent.
#[derive(Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its content.
    pub bytes: Arc<[u8]>,
    /// Alt text.
    pub description: String,
}

/// Discord's REST API, as this bot. Clones share the connection.
#[derive(Clone)]
pub struct Rest {
    transport: Transport,
    retries_max: u32,
}

/// All that matters of a message that was just made.
#[derive(Deserialize)]
struct Made {
    id: MessageId,
}

impl Rest {
    /// Makes a client; nothing is sent yet.
    pub fn new(settings: &config::Discord, token: &Secret) -> Result<Self, RestError> {
        Ok(Self { transport: Transport::new(settings, token)?, retries_max: settings.retries_max })
    }

    /// The bot's own account.
    pub async fn me(&self) -> Result<Me, RestError> {
        let ask = Ask::get("/users/@me");
        let user: CurrentUser = self.try_again(|| self.transport.ask(&ask)).await?;
        Ok(Me { id: user.id.get(), name: user.display_name().to_owned() })
    }

    /// The gateway's address, and into how many connections Discord wants the servers divided.
    pub(super) async fn gateway(&self) -> Result<(String, u32), RestError> {
        let ask = Ask::get("/gateway/bot");
        let gateway: BotGateway = self.try_again(|| self.transport.ask(&ask)).await?;
        Ok((gateway.url, gateway.shards))
    }

    /// Up to `limit` messages before message `id`, newest first; `next` leads to older ones.
    pub async fn messages_before(
        &self,
        channel: u64,
        id: u64,
        limit: u8,
        me: &Me,
    ) -> Result<Page, RestError> {
        self.messages(channel, (Side::Before, id), limit, me).await
    }

    /// Up to a hundred messages after message `id`, oldest first; `next` leads to newer ones.
    pub async fn messages_after(&self, channel: u64, id: u64, me: &Me) -> Result<Page, RestError> {
        let mut page = self.messages(channel, (Side::After, id), MESSAGES_MAX, me).await?;
        page.messages.sort_by_key(|message| message.id);
        Ok(page)
    }

    async fn messages(
        &self,
        channel: u64,
        (side, id): (Side, u64),
        limit: u8,
        me: &Me,
    ) -> Result<Page, RestError> {
        let limit = limit.min(MESSAGES_MAX);
        let parameter = match side {
            Side::Before => "before",
            Side::After => "after",
        };
        let query = vec![(parameter, id.to_string()), ("limit", limit.to_string())];
        let ask = Ask { ids: in_channel(channel), query, ..Ask::get(MESSAGES) };
        let given: Vec<Value> = self.try_again(|| self.transport.ask(&ask)).await?;
        let ids = given.iter().filter_map(|message| message["id"].as_str()?.parse().ok());
        let last = match side {
            Side::Before => ids.min(),
            Side::After => ids.max(),
        };
        let next = last.filter(|_| given.len() >= usize::from(limit));
        // A kind of message that came up after this program is left out, not the whole channel.
        let messages = given.into_iter().filter_map(|message| {
            let message: theirs::Message = serde_json::from_value(message).ok()?;
            Some(translate::message(&message, me.id))
        });
        Ok(Page { messages: messages.collect(), next })
    }

    /// Shows the typing indicator for ten seconds. Never tried again: it is a courtesy.
    pub async fn typing(&self, channel: u64) {
        let route = "/channels/{channel_id}/typing";
        let ask = Ask { method: Method::POST, ids: in_channel(channel), ..Ask::get(route) };
        let shown = self.transport.perform(&ask);
        if !matches!(tokio::time::timeout(TYPING_TIME_MAX, shown).await, Ok(Ok(_))) {
            tracing::debug!(channel, "the typing indicator was not shown");
        }
    }

    /// Sends a message and gives its id.
    pub async fn send(&self, channel: u64, draft: &Draft) -> Result<u64, RestError> {
        let ask = Ask {
            method: Method::POST,
            ids: in_channel(channel),
            body: Some(body(draft)),
            files: &draft.files,
            ..Ask::get(MESSAGES)
        };
        let made: Made = self.try_again(|| self.transport.ask(&ask)).await?;
        Ok(made.id.get())
    }

    /// Makes the bot's commands known, in place of those that were.
    pub async fn register_commands(&self, application: u64) -> Result<(), RestError> {
        let ask = Ask {
            method: Method::PUT,
            ids: vec![("application_id", application.to_string())],
            body: Some(commands::definitions()),
            ..Ask::get("/applications/{application_id}/commands")
        };
        self.try_again(|| self.transport.perform(&ask)).await.map(drop)
    }

    /// Answers a command with a text that only the person who used it sees. Not tried again: Discord
    /// waits for three seconds only.
    pub async fn answer_privately(&self, asked: &Asked, content: &str) -> Result<(), RestError> {
        let data = json!({
            "content": content,
            "flags": EPHEMERAL,
            "allowed_mentions": { "parse": [] },
        });
        let ask = Ask {
            method: Method::POST,
            ids: vec![
                ("interaction_id", asked.id.to_string()),
                ("interaction_token", asked.token.clone()),
            ],
            // 4 is a message that answers at once.
            body: Some(json!({ "type": 4, "data": data })),
            ..Ask::get("/interactions/{interaction_id}/{interaction_token}/callback")
        };
        self.transport.perform(&ask).await.map(drop)
    }

    async fn try_again<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, RestError>
    where
        F: Future<Output = Result<T, RestError>>,
    {
        let mut delay = RETRY_DELAY;
        for _ in 0..self.retries_max {
            match ask().await {
                // The next try waits for as long as Discord says.
                Err(RestError::Unreachable { status: Some(429) }) => continue,
                Err(RestError::Unreachable { status }) => {
                    tracing::debug!(?status, "a request to Discord is tried again");
                }
                done => return done,
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
        ask().await
    }
}

fn in_channel(channel: u64) -> Vec<(&'static str, String)> {
    vec![("channel_id", channel.to_string())]
}

/// On which side of a message to read.
#[derive(Clone, Copy)]
enum Side {
    Before,
    After,
}

/// Some of a channel's messages.
pub struct Page {
    /// Those of a kind that the bot knows.
    pub messages: Vec<Message>,
    /// The message from which to read on, where there may be more.
    pub next: Option<u64>,
}

/// The client that serenity's gateway asks for its address, and nothing more.
pub(super) fn http(settings: &config::Discord, token: &Secret) -> Http {
    let builder = HttpBuilder::new(token.expose()).ratelimiter_disabled(true);
    match &settings.api_url {
        Some(url) => builder.proxy(url.as_str()).build(),
        None => builder.build(),
    }
}

/// A message as Discord takes it (resources/Message, Create Message).
fn body(draft: &Draft) -> Value {
    let users: Vec<String> = draft.ping.iter().map(u64::to_string).collect();
    let mut body = json!({
        "content": draft.content,
        // Set always: left out, everything that the text names would be pinged.
        "allowed_mentions": { "parse": [], "users": users, "replied_user": draft.ping.is_some() },
        "nonce": draft.nonce,
        "enforce_nonce": true,
    });
    if let Some(id) = draft.replies_to {
        // The message may vanish while it is answered.
        body["message_reference"] =
            json!({ "type": 0, "message_id": id.to_string(), "fail_if_not_exists": false });
    }
    if !draft.files.is_empty() {
        let describe = |(at, file): (usize, &File)| json!({ "id": at, "filename": file.name, "description": file.description });
        body["attachments"] = draft.files.iter().enumerate().map(describe).collect();
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> Draft {
        Draft {
            content: "hi @everyone".to_owned(),
            files: Vec::new(),
            replies_to: Some(7),
            ping: Some(100),
            nonce: "7".to_owned(),
        }
    }

    #[test]
    fn a_message_pings_nobody_but_the_person_answered_and_is_made_once() {
        let json = body(&draft());
        assert_eq!(
            json["allowed_mentions"],
            json!({ "parse": [], "users": ["100"], "replied_user": true })
        );
        assert_eq!(json["nonce"], "7");
        assert_eq!(json["enforce_nonce"], true);
        assert_eq!(json["message_reference"]["message_id"], "7");
        assert_eq!(json["message_reference"]["fail_if_not_exists"], false);

        let quiet = Draft { ping: None, replies_to: None, ..draft() };
        let json = body(&quiet);
        assert_eq!(
            json["allowed_mentions"],
            json!({ "parse": [], "users": [], "replied_user": false })
        );
        assert!(json.get("message_reference").is_none() && json.get("attachments").is_none());
    }

    #[test]
    fn every_error_says_what_to_do() {
        let errors = [401, 403, 404, 413, 400, 503].map(|status| RestError::of_answer(status, 7));
        let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(told.join("\n"), @"
        Discord refuses the bot token; make a new one in the developer portal (application, Bot, Reset Token) and set it
        Discord forbids it (code 7); look at the bot's permissions in that channel, and whether the thread is locked or the server shuts the bot out
        it is not there any more (code 7)
        the upload is too large; make photos smaller with drawing.width and drawing.height
        Discord refuses the request (status 400, code 7); if that happens again, this version of the bot may be too old for Discord's API
        Discord can't be reached or doesn't answer (status 503); look at this machine's network and at https://discordstatus.com
        ");
    }
}
