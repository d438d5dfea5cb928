//! What goes into the journal and comes out of it. These are not the stored forms.

use std::fmt;

use migrations_free_store::BlobId;

use crate::dialogue::Timings;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

ids! {
    /// A message, or an interaction that takes its place; snowflakes grow with time.
    MessageId;
    /// A channel, thread or conversation.
    ChannelId;
    /// A server.
    GuildId;
    /// A person or a bot.
    AuthorId;
}

/// One piece of what was said, in its order. `P` is the photo: its encoded bytes on the way in,
/// its [`BlobId`] on the way out.
#[derive(Clone, PartialEq, Eq)]
pub enum Piece<P> {
    /// Text.
    Text(String),
    /// A photo.
    Photo {
        /// Bytes or id.
        photo: P,
        /// The caption that it was drawn from, or an alt text.
        caption: Option<String>,
    },
}

impl<P> fmt::Debug for Piece<P> {
    /// Only the sort: what a person typed never reaches a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text(…)",
            Self::Photo { .. } => "Photo(…)",
        })
    }
}

/// A message as it stands in the channel, the bot's own ones too.
#[derive(Clone, PartialEq, Eq)]
pub struct Message<P> {
    /// Its id.
    pub id: MessageId,
    /// Where it was said.
    pub channel: ChannelId,
    /// The server, unless it was said in private.
    pub guild: Option<GuildId>,
    /// Who said it.
    pub author: AuthorId,
    /// What they were called there when it was first heard.
    pub author_name: String,
    /// The message that it answers.
    pub replies_to: Option<MessageId>,
    /// When it was said.
    pub said_ms: u64,
    /// What was said.
    pub pieces: Vec<Piece<P>>,
}

impl<P> fmt::Debug for Message<P> {
    /// Ids and sorts: no text, no name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("channel", &self.channel)
            .field("author", &self.author)
            .field("pieces", &self.pieces)
            .finish_non_exhaustive()
    }
}

/// What kind of channel something was seen in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A server's.
    Server,
    /// A private one between one person and the bot.
    Direct,
}

/// Whether photos are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhotoRule {
    /// When the model chooses to.
    On,
    /// Never.
    Off,
}

/// What [`Journal::hear`](super::Journal::hear) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The message is new.
    New,
    /// It was known and hasn't changed.
    Same,
    /// It was known; the new text and photos took the place of the old.
    Edited,
    /// It was deleted before; nothing was kept.
    Deleted,
}

/// A message that deserves an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The message to answer; the exchange goes by its id.
    pub trigger: MessageId,
    /// Where.
    pub channel: ChannelId,
    /// In which server, if in one.
    pub guild: Option<GuildId>,
    /// Who asks.
    pub asker: AuthorId,
    /// When it was accepted.
    pub accepted_ms: u64,
}

/// How far an exchange has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Work may have begun; nothing is known to be delivered.
    Accepted,
    /// A reply was delivered.
    Answered,
    /// The person was told why there is none.
    Explained,
    /// The message or its reply was deleted; nothing more is to be done.
    Withdrawn,
}

/// What [`Journal::accept`](super::Journal::accept) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// The message is accepted now and the work is the caller's.
    New,
    /// It was accepted before and is in this state.
    Known(State),
}

/// What [`Journal::answered`](super::Journal::answered) and
/// [`explained`](super::Journal::explained) found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It is in the journal now.
    Kept,
    /// The exchange was finished before; the first record stands.
    Already,
    /// The exchange was withdrawn or forgotten in the meantime; nothing was kept.
    Withdrawn,
}

/// A delivered reply and what it was made with.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<P> {
    /// The messages that the model saw, oldest first, the answered one among them.
    pub context: Vec<MessageId>,
    /// The reply in its order; a photo's caption is the one that it was drawn from.
    pub pieces: Vec<Piece<P>>,
    /// What the bot says of itself below it, in sentences.
    pub notes: Vec<String>,
    /// The messages that it was delivered in.
    pub sent: Vec<MessageId>,
    /// Seed of every random draw.
    pub seed: u64,
    /// Largest unbiased `P([IMG])` where a photo was allowed.
    pub share_probability: Option<f64>,
    /// Revision of the model.
    pub model: String,
    /// Revision of the adapter, if one was used.
    pub adapter: Option<String>,
    /// Where the time went.
    pub timings: Timings,
    /// When delivery was complete.
    pub finished_ms: u64,
}

/// What was said instead of a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// Why.
    pub reason: Reason,
    /// The messages that say so; empty where nothing could be sent.
    pub sent: Vec<MessageId>,
    /// When that was done.
    pub finished_ms: u64,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The queue was full or the person's share used up.
    Overloaded,
    /// What was sent can't be read: a broken photo, nothing to answer.
    Unreadable,
    /// The bot may not answer there.
    NotPermitted,
    /// The work was cancelled.
    Cancelled,
    /// Something failed on our side.
    Failed,
    /// A reason that a newer program knows.
    Other,
}

/// A message of an exchange's context, as it stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It still is what the model saw.
    Unchanged(MessageId),
    /// It was edited since; the journal has the newer text only.
    Edited(MessageId),
    /// It was deleted, forgotten or never heard.
    Gone(MessageId),
}

/// What became of an exchange.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// A reply. Its `context` repeats the messages of [`Exchange::context`].
    Answer(Answer<BlobId>),
    /// An explanation.
    Explanation(Explanation),
    /// Withdrawn: text, photos and provenance are gone.
    Withdrawn,
}

/// A message and what was answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Exchange {
    /// The message that was answered.
    pub request: Request,
    /// What the model saw; empty unless there is an answer.
    pub context: Vec<Seen>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What to forget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// One message, and what the bot replied to it. An exchange that it began or that it is the
    /// reply of is withdrawn; a later [`hear`](super::Journal::hear) of any of them keeps nothing.
    Message(MessageId),
    /// A person: their messages, and the exchanges that they began with the replies; none of them
    /// is kept when it is heard again.
    Author(AuthorId),
    /// A channel with everything in it.
    Channel(ChannelId),
    /// A server with everything in it.
    Guild(GuildId),
}

/// The receipt of [`Journal::forget`](super::Journal::forget).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Messages removed, the bot's own among them.
    pub messages: u64,
    /// Exchanges removed or withdrawn.
    pub exchanges: u64,
    /// Photos removed; one that others refer to as well stays for them.
    pub photos: u64,
}
