//! The stored forms. What shipped stays readable for ever: see
//! [`migrations_free_store::Record`] for how a field is added or changed, and the golden bytes
//! below.

use migrations_free_store::{BlobId, Record};
use serde::{Deserialize, Serialize};

use super::nouns::{
    Answer, AuthorId, ChannelId, Exchange, Explanation, GuildId, Message, MessageId, Outcome,
    Piece, Reason, Request, Seen, State,
};
use crate::dialogue::Timings;

/// A message as it stands now, by its id (8 bytes, big endian).
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct MessageRecord {
    pub(super) channel: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) guild: Option<u64>,
    pub(super) author: u64,
    pub(super) author_name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replies_to: Option<u64>,
    said_ms: u64,
    /// How often it has changed since it was first heard.
    #[serde(default)]
    pub(super) edits: u32,
    pub(super) pieces: Vec<PieceRecord>,
}

impl Record for MessageRecord {
    const KIND: &'static str = "message";
    const REVISION: u16 = 1;

    fn blobs(&self) -> Vec<BlobId> {
        blobs(&self.pieces)
    }
}

/// One of its fields is there; a piece of a sort that a newer program wrote has neither.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PieceRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    photo: Option<PhotoRecord>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct PhotoRecord {
    blob: BlobId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
}

/// An exchange, by the id of the message that began it (8 bytes, big endian).
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct ExchangeRecord {
    pub(super) channel: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) guild: Option<u64>,
    pub(super) asker: u64,
    accepted_ms: u64,
    pub(super) state: StateRecord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    finished_ms: Option<u64>,
    /// The messages that it was answered or explained in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) sent: Vec<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<ReasonRecord>,
    /// Of an accepted exchange: what is about to be delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<AnswerRecord>,
}

impl Record for ExchangeRecord {
    const KIND: &'static str = "exchange";
    const REVISION: u16 = 1;

    fn blobs(&self) -> Vec<BlobId> {
        self.answer.as_ref().map_or_else(Vec::new, |answer| blobs(&answer.pieces))
    }
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StateRecord {
    Accepted,
    Answered,
    Explained,
    Withdrawn,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ReasonRecord {
    Overloaded,
    Unreadable,
    NotPermitted,
    Cancelled,
    Failed,
    #[serde(other)]
    Other,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct AnswerRecord {
    context: Vec<ContextRecord>,
    pub(super) pieces: Vec<PieceRecord>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    share_probability: Option<f64>,
    model: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    adapter: Option<String>,
    timings_ms: TimingsRecord,
}

/// A message of the context, and which of its editions the model saw.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) struct ContextRecord {
    pub(super) message: u64,
    pub(super) edits: u32,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(default)]
struct TimingsRecord {
    perceive: f64,
    prefill: f64,
    decode: f64,
    draw: f64,
}

/// The newest message that was seen in a channel, by the channel's id.
#[derive(Serialize, Deserialize)]
pub(super) struct LastSeenRecord {
    pub(super) message: u64,
    /// Whether the channel is a private one, of which nobody else tells.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) direct: bool,
}

impl Record for LastSeenRecord {
    const KIND: &'static str = "last_seen";
    const REVISION: u16 = 1;
}

/// Since when deleted bytes lie in the store's files; gone after a compaction. Under the empty id.
#[derive(Serialize, Deserialize)]
pub(super) struct StaleRecord {
    pub(super) since_ms: u64,
}

impl Record for StaleRecord {
    const KIND: &'static str = "stale";
    const REVISION: u16 = 1;
}

impl PieceRecord {
    pub(super) fn blob(&self) -> Option<BlobId> {
        Some(self.photo.as_ref()?.blob)
    }
}

fn blobs(pieces: &[PieceRecord]) -> Vec<BlobId> {
    pieces.iter().filter_map(PieceRecord::blob).collect()
}

/// Stores pieces whose photos are blobs already.
pub(super) fn store_pieces(pieces: Vec<Piece<BlobId>>) -> Vec<PieceRecord> {
    let store = |piece| match piece {
        Piece::Text(text) => PieceRecord { text: Some(text), photo: None },
        Piece::Photo { photo, caption } => {
            PieceRecord { text: None, photo: Some(PhotoRecord { blob: photo, caption }) }
        }
    };
    pieces.into_iter().map(store).collect()
}

fn load_pieces(pieces: Vec<PieceRecord>) -> Vec<Piece<BlobId>> {
    let load = |piece: PieceRecord| match piece {
        PieceRecord { photo: Some(PhotoRecord { blob, caption }), .. } => {
            Some(Piece::Photo { photo: blob, caption })
        }
        PieceRecord { text: Some(text), .. } => Some(Piece::Text(text)),
        PieceRecord { text: None, photo: None } => None,
    };
    pieces.into_iter().filter_map(load).collect()
}

impl MessageRecord {
    pub(super) fn new<P>(message: &Message<P>, pieces: Vec<PieceRecord>, edits: u32) -> Self {
        Self {
            channel: message.channel.0,
            guild: message.guild.map(|guild| guild.0),
            author: message.author.0,
            author_name: message.author_name.clone(),
            replies_to: message.replies_to.map(|id| id.0),
            said_ms: message.said_ms,
            edits,
            pieces,
        }
    }

    pub(super) fn into_message(self, id: MessageId) -> Message<BlobId> {
        Message {
            id,
            channel: ChannelId(self.channel),
            guild: self.guild.map(GuildId),
            author: AuthorId(self.author),
            author_name: self.author_name,
            replies_to: self.replies_to.map(MessageId),
            said_ms: self.said_ms,
            pieces: load_pieces(self.pieces),
        }
    }
}

impl ExchangeRecord {
    pub(super) fn accepted(request: &Request) -> Self {
        Self {
            channel: request.channel.0,
            guild: request.guild.map(|guild| guild.0),
            asker: request.asker.0,
            accepted_ms: request.accepted_ms,
            state: StateRecord::Accepted,
            finished_ms: None,
            sent: Vec::new(),
            reason: None,
            answer: None,
        }
    }

    /// Keeps what is about to be delivered.
    pub(super) fn prepare<P>(
        &mut self,
        answer: &Answer<P>,
        context: Vec<ContextRecord>,
        pieces: Vec<PieceRecord>,
    ) {
        self.answer = Some(AnswerRecord {
            context,
            pieces,
            notes: answer.notes.clone(),
            seed: answer.seed,
            share_probability: answer.share_probability,
            model: answer.model.clone(),
            adapter: answer.adapter.clone(),
            timings_ms: answer.timings.into(),
        });
    }

    pub(super) fn answer<P>(
        &mut self,
        answer: &Answer<P>,
        context: Vec<ContextRecord>,
        pieces: Vec<PieceRecord>,
    ) {
        self.prepare(answer, context, pieces);
        self.state = StateRecord::Answered;
        self.finished_ms = Some(answer.finished_ms);
        self.sent = answer.sent.iter().map(|id| id.0).collect();
    }

    /// What was prepared and not delivered is dropped.
    pub(super) fn explain(&mut self, explanation: &Explanation) {
        self.state = StateRecord::Explained;
        self.finished_ms = Some(explanation.finished_ms);
        self.sent = explanation.sent.iter().map(|id| id.0).collect();
        self.reason = Some(explanation.reason.into());
        self.answer = None;
    }

    /// Keeps ids and state only.
    pub(super) fn withdraw(&mut self) {
        self.state = StateRecord::Withdrawn;
        self.answer = None;
        self.reason = None;
    }

    pub(super) fn request(&self, trigger: MessageId) -> Request {
        Request {
            trigger,
            channel: ChannelId(self.channel),
            guild: self.guild.map(GuildId),
            asker: AuthorId(self.asker),
            accepted_ms: self.accepted_ms,
        }
    }

    /// The context with each message's place in it; empty unless there is an answer.
    pub(super) fn context(&self) -> &[ContextRecord] {
        self.answer.as_ref().map_or(&[], |answer| &answer.context)
    }

    /// The reply that is about to be delivered.
    pub(super) fn into_prepared(self) -> Option<Answer<BlobId>> {
        let accepted = self.state == StateRecord::Accepted;
        self.answer.filter(|_| accepted).map(|answer| answer.into_answer(Vec::new(), 0))
    }

    pub(super) fn into_exchange(self, trigger: MessageId, context: Vec<Seen>) -> Exchange {
        let request = self.request(trigger);
        let sent = self.sent.into_iter().map(MessageId).collect();
        let finished_ms = self.finished_ms.unwrap_or(self.accepted_ms);
        let outcome = match (self.state, self.answer) {
            (StateRecord::Accepted, _) => Outcome::Pending,
            (StateRecord::Answered, Some(answer)) => {
                Outcome::Answer(answer.into_answer(sent, finished_ms))
            }
            (StateRecord::Answered, None) | (StateRecord::Withdrawn, _) => Outcome::Withdrawn,
            (StateRecord::Explained, _) => {
                let reason = self.reason.map_or(Reason::Other, Reason::from);
                Outcome::Explanation(Explanation { reason, sent, finished_ms })
            }
        };
        Exchange { request, context, outcome }
    }
}

impl AnswerRecord {
    fn into_answer(self, sent: Vec<MessageId>, finished_ms: u64) -> Answer<BlobId> {
        Answer {
            context: self.context.iter().map(|seen| MessageId(seen.message)).collect(),
            pieces: load_pieces(self.pieces),
            notes: self.notes,
            sent,
            seed: self.seed,
            share_probability: self.share_probability,
            model: self.model,
            adapter: self.adapter,
            timings: self.timings_ms.into(),
            finished_ms,
        }
    }
}

impl From<StateRecord> for State {
    fn from(state: StateRecord) -> Self {
        match state {
            StateRecord::Accepted => Self::Accepted,
            StateRecord::Answered => Self::Answered,
            StateRecord::Explained => Self::Explained,
            StateRecord::Withdrawn => Self::Withdrawn,
        }
    }
}

impl From<Reason> for ReasonRecord {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Overloaded => Self::Overloaded,
            Reason::Unreadable => Self::Unreadable,
            Reason::NotPermitted => Self::NotPermitted,
            Reason::Cancelled => Self::Cancelled,
            Reason::Failed => Self::Failed,
            Reason::Other => Self::Other,
        }
    }
}

impl From<ReasonRecord> for Reason {
    fn from(reason: ReasonRecord) -> Self {
        match reason {
            ReasonRecord::Overloaded => Self::Overloaded,
            ReasonRecord::Unreadable => Self::Unreadable,
            ReasonRecord::NotPermitted => Self::NotPermitted,
            ReasonRecord::Cancelled => Self::Cancelled,
            ReasonRecord::Failed => Self::Failed,
            ReasonRecord::Other => Self::Other,
        }
    }
}

impl From<Timings> for TimingsRecord {
    fn from(timings: Timings) -> Self {
        Self {
            perceive: timings.perceive_ms,
            prefill: timings.prefill_ms,
            decode: timings.decode_ms,
            draw: timings.draw_ms,
        }
    }
}

impl From<TimingsRecord> for Timings {
    fn from(timings: TimingsRecord) -> Self {
        Self {
            perceive_ms: timings.perceive,
            prefill_ms: timings.prefill,
            decode_ms: timings.decode,
            draw_ms: timings.draw,
        }
    }
}
