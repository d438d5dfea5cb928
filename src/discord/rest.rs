//! What the bot asks of Discord's REST API, tried again where that makes sense.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use serenity::all::{
    ChannelId, CreateAllowedMentions, CreateAttachment, CreateMessage, HttpError, MessageId,
    MessagePagination, MessageReference, MessageReferenceKind, Nonce, StatusCode, UserId,
};
use serenity::builder::Builder as _;
use serenity::http::{Http, HttpBuilder};

use super::message::{Me, Message};
use super::translate;
use crate::config::{self, Secret};

/// Wait before the second try; doubled for each further one.
const RETRY_DELAY: Duration = Duration::from_millis(500);
/// Longest wait between two tries.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(30);
/// Longest that one request may take, uploads included.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(60);
/// Longest that a typing indicator may take: after that it is of no use.
const TYPING_TIME_MAX: Duration = Duration::from_secs(5);
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
    #[error("Discord forbids it (code {code})")]
    Forbidden {
        /// Discord's JSON error code.
        code: isize,
    },
    /// The channel or message is not there any more.
    #[error("it is not there any more (code {code})")]
    Gone {
        /// Discord's JSON error code.
        code: isize,
    },
    /// The upload is larger than Discord takes there.
    #[error("the upload is too large")]
    TooLarge,
    /// Discord doesn't understand the request.
    #[error("Discord refuses the request (status {status}, code {code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Discord's JSON error code.
        code: isize,
    },
    /// No answer, or none but "later", however often it was asked.
    #[error("Discord can't be reached or doesn't answer (status {status:?})")]
    Unreachable {
        /// HTTP status, if there was an answer.
        status: Option<u16>,
    },
    /// No HTTP client could be made.
    #[error("no HTTP client can be made")]
    Client(#[source] reqwest::Error),
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
    http: Arc<Http>,
    retries_max: u32,
}

impl Rest {
    /// Makes a client; nothing is sent yet.
    pub fn new(settings: &config::Discord, token: &Secret) -> Result<Self, RestError> {
        Ok(Self { http: Arc::new(http(settings, token)?), retries_max: settings.retries_max })
    }

    /// The bot's own account.
    pub async fn me(&self) -> Result<Me, RestError> {
        let user = self.try_again(|| self.http.get_current_user()).await?;
        Ok(Me { id: user.id.get(), name: user.display_name().to_owned() })
    }

    /// The gateway's address, and into how many connections Discord wants the servers divided.
    pub(super) async fn gateway(&self) -> Result<(String, u32), RestError> {
        let gateway = self.try_again(|| self.http.get_bot_gateway()).await?;
        Ok((gateway.url, gateway.shards))
    }

    /// Up to `limit` messages before message `id`, newest first.
    pub async fn messages_before(
        &self,
        channel: u64,
        id: u64,
        limit: u8,
        me: &Me,
    ) -> Result<Vec<Message>, RestError> {
        self.messages(channel, MessagePagination::Before(MessageId::new(id)), limit, me).await
    }

    /// Up to `limit` messages after message `id`, oldest first.
    pub async fn messages_after(
        &self,
        channel: u64,
        id: u64,
        limit: u8,
        me: &Me,
    ) -> Result<Vec<Message>, RestError> {
        let after = MessagePagination::After(MessageId::new(id));
        let mut messages = self.messages(channel, after, limit, me).await?;
        messages.sort_by_key(|message| message.id);
        Ok(messages)
    }

    async fn messages(
        &self,
        channel: u64,
        place: MessagePagination,
        limit: u8,
        me: &Me,
    ) -> Result<Vec<Message>, RestError> {
        let limit = Some(limit.min(MESSAGES_MAX));
        let messages = self
            .try_again(|| self.http.get_messages(ChannelId::new(channel), Some(place), limit))
            .await?;
        Ok(messages.iter().map(|message| translate::message(message, me.id)).collect())
    }

    /// Shows the typing indicator for ten seconds. Never tried again: it is a courtesy.
    pub async fn typing(&self, channel: u64) {
        let shown = self.http.broadcast_typing(ChannelId::new(channel));
        if !matches!(tokio::time::timeout(TYPING_TIME_MAX, shown).await, Ok(Ok(()))) {
            tracing::debug!(channel, "the typing indicator was not shown");
        }
    }

    /// Sends a message and gives its id.
    pub async fn send(&self, channel: u64, draft: &Draft) -> Result<u64, RestError> {
        let channel = ChannelId::new(channel);
        let sent =
            self.try_again(|| request(channel, draft).execute(&self.http, (channel, None))).await?;
        Ok(sent.id.get())
    }

    async fn try_again<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, RestError>
    where
        F: Future<Output = serenity::Result<T>>,
    {
        let mut delay = RETRY_DELAY;
        for _ in 0..self.retries_max {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) => match sort(&error) {
                    RestError::Unreachable { status } => {
                        tracing::debug!(?status, "a request to Discord is tried again");
                    }
                    final_error => return Err(final_error),
                },
            }
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_DELAY_MAX);
        }
        ask().await.map_err(|error| sort(&error))
    }
}

/// A client of the library's.
pub(super) fn http(settings: &config::Discord, token: &Secret) -> Result<Http, RestError> {
    let client = reqwest::Client::builder()
        .timeout(REQUEST_TIME_MAX)
        .connect_timeout(Duration::from_secs(10))
        // A redirect would carry the token elsewhere.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(RestError::Client)?;
    let mut builder = HttpBuilder::new(token.expose()).client(client);
    if let Some(url) = &settings.api_url {
        // serenity's rate limiter would ask Discord itself; `try_again` waits instead.
        builder = builder.proxy(url.as_str()).ratelimiter_disabled(true);
    }
    Ok(builder.build())
}

/// What an error of the client means. Its text is not kept: it can hold addresses with signatures.
fn sort(error: &serenity::Error) -> RestError {
    let serenity::Error::Http(HttpError::UnsuccessfulRequest(answer)) = error else {
        return RestError::Unreachable { status: None };
    };
    let code = answer.error.code;
    match answer.status_code {
        StatusCode::UNAUTHORIZED => RestError::TokenRefused,
        StatusCode::FORBIDDEN => RestError::Forbidden { code },
        StatusCode::NOT_FOUND => RestError::Gone { code },
        StatusCode::PAYLOAD_TOO_LARGE => RestError::TooLarge,
        // "Request entity too large" and "invalid form body: file too large" come as 400 too.
        StatusCode::BAD_REQUEST if code == 40005 => RestError::TooLarge,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
            RestError::Unreachable { status: Some(answer.status_code.as_u16()) }
        }
        status if status.is_server_error() => {
            RestError::Unreachable { status: Some(status.as_u16()) }
        }
        status => RestError::Refused { status: status.as_u16(), code },
    }
}

fn request(channel: ChannelId, draft: &Draft) -> CreateMessage {
    let files = draft.files.iter().map(|file| {
        CreateAttachment::bytes(file.bytes.to_vec(), file.name.clone())
            .description(file.description.clone())
    });
    // Set always: left out, everything that the text names would be pinged.
    let mentions = CreateAllowedMentions::new()
        .users(draft.ping.map(UserId::new))
        .replied_user(draft.ping.is_some());
    let mut message = CreateMessage::new()
        .content(draft.content.clone())
        .add_files(files)
        .allowed_mentions(mentions)
        .nonce(Nonce::String(draft.nonce.clone()))
        .enforce_nonce(true);
    if let Some(id) = draft.replies_to {
        let reference = MessageReference::new(MessageReferenceKind::Default, channel)
            .message_id(MessageId::new(id))
            // The message may vanish while it is answered.
            .fail_if_not_exists(false);
        message = message.reference_message(reference);
    }
    message
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
        let json = serde_json::to_value(request(ChannelId::new(10), &draft())).unwrap();
        assert_eq!(
            json["allowed_mentions"],
            serde_json::json!({ "parse": [], "users": ["100"], "roles": [], "replied_user": true })
        );
        assert_eq!(json["nonce"], "7");
        assert_eq!(json["enforce_nonce"], true);
        assert_eq!(json["message_reference"]["message_id"], "7");
        assert_eq!(json["message_reference"]["fail_if_not_exists"], false);

        let quiet = Draft { ping: None, replies_to: None, ..draft() };
        let json = serde_json::to_value(request(ChannelId::new(10), &quiet)).unwrap();
        assert_eq!(
            json["allowed_mentions"],
            serde_json::json!({ "parse": [], "users": [], "roles": [], "replied_user": false })
        );
        assert!(json.get("message_reference").is_none());
    }
}
