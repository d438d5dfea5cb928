//! The nouns of the fake world. Everything a test may look at is here; how it looks on the wire is
//! said in `wire`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use serenity::model::Permissions;

use super::clock::{Moment, Snowflake};

/// A person or a bot.
#[derive(Clone, Debug)]
pub struct User {
    pub id: Snowflake,
    pub name: String,
    pub kind: UserKind,
    /// Whether a bot may write to this person privately.
    pub direct_messages: DirectMessages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserKind {
    Person,
    Bot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectMessages {
    Open,
    Closed,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Guild {
    pub id: Snowflake,
    pub name: String,
    pub owner: Snowflake,
    /// By id; the role with the guild's own id is `@everyone`.
    pub roles: BTreeMap<Snowflake, Role>,
    pub members: BTreeMap<Snowflake, Member>,
    /// Commands whose default permissions an administrator has lifted for everyone.
    pub lifted_commands: BTreeSet<String>,
}

#[derive(Clone, Debug)]
pub struct Role {
    pub id: Snowflake,
    pub name: String,
    pub permissions: Permissions,
    pub mentionable: bool,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub roles: Vec<Snowflake>,
    pub nick: Option<String>,
    pub joined: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    Text,
    Direct,
    PublicThread,
    PrivateThread,
    Forum,
}

impl ChannelKind {
    /// Discord's number for this kind of channel.
    pub fn code(self) -> u8 {
        match self {
            Self::Text => 0,
            Self::Direct => 1,
            Self::PublicThread => 11,
            Self::PrivateThread => 12,
            Self::Forum => 15,
        }
    }

    pub fn is_thread(self) -> bool {
        matches!(self, Self::PublicThread | Self::PrivateThread)
    }
}

/// A channel of any kind. A forum post is a public thread whose parent is a forum.
#[derive(Clone, Debug)]
pub struct Channel {
    pub id: Snowflake,
    pub kind: ChannelKind,
    pub guild: Option<Snowflake>,
    pub name: String,
    pub age_restricted: bool,
    pub overwrites: Vec<Overwrite>,
    /// Of a thread: the channel that it hangs on.
    pub parent: Option<Snowflake>,
    /// Of a direct channel: the two of it. Of a thread: who has joined.
    pub people: Vec<Snowflake>,
    pub archived: bool,
    pub locked: bool,
    pub last_message: Option<Snowflake>,
}

/// What a channel gives or takes from one role or one member.
#[derive(Clone, Debug)]
pub struct Overwrite {
    pub target: OverwriteTarget,
    pub allow: Permissions,
    pub deny: Permissions,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverwriteTarget {
    Role(Snowflake),
    Member(Snowflake),
}

/// A file with its bytes, as it lies on the content delivery network.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub id: Snowflake,
    pub filename: String,
    pub content_type: String,
    /// The alt text.
    pub description: Option<String>,
    pub bytes: Arc<Vec<u8>>,
    /// Width and height in pixels, when the bytes are a picture.
    pub size: Option<(u32, u32)>,
    pub host: FileHost,
}

/// Where an attachment's address points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileHost {
    /// The network's own host.
    Discord,
    /// A host that is not Discord's. It answers too, so that a test can see who asks there.
    Elsewhere,
}

/// Whom a message pings, after permissions and `allowed_mentions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pings {
    pub users: BTreeSet<Snowflake>,
    pub roles: BTreeSet<Snowflake>,
    pub everyone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Default,
    Reply,
    ChatInputCommand,
    ContextMenuCommand,
}

impl MessageKind {
    /// Discord's number for this kind of message.
    pub fn code(self) -> u8 {
        match self {
            Self::Default => 0,
            Self::Reply => 19,
            Self::ChatInputCommand => 20,
            Self::ContextMenuCommand => 23,
        }
    }
}

/// Discord's flag of a message that only the person asked for sees.
pub const EPHEMERAL: u64 = 1 << 6;
/// Discord's flag of a message whose deferred answer is still being made.
pub const LOADING: u64 = 1 << 7;

#[derive(Clone, Debug)]
pub struct Message {
    pub id: Snowflake,
    pub kind: MessageKind,
    pub channel: Snowflake,
    pub author: Snowflake,
    pub content: String,
    pub attachments: Vec<Attachment>,
    pub pings: Pings,
    /// The message that this one replies to; it may be gone.
    pub replies_to: Option<Snowflake>,
    pub edited: Option<Moment>,
    pub reactions: Vec<Reaction>,
    pub nonce: Option<Value>,
    pub flags: u64,
    pub components: Value,
    pub embeds: Value,
    /// Set when a webhook wrote it; the application's id for an interaction's answer.
    pub webhook: Option<Snowflake>,
    /// The interaction that it answers.
    pub interaction: Option<Snowflake>,
}

impl Message {
    /// Whether only the person who asked sees it.
    pub fn is_ephemeral(&self) -> bool {
        self.flags & EPHEMERAL != 0
    }
}

#[derive(Clone, Debug)]
pub struct Reaction {
    pub emoji: String,
    pub users: Vec<Snowflake>,
}

/// A registered application command, as the bot sent it, with the id given to it.
#[derive(Clone, Debug)]
pub struct Command {
    pub id: Snowflake,
    pub version: Snowflake,
    /// The guild it is registered in, or everywhere.
    pub guild: Option<Snowflake>,
    pub definition: Value,
}

impl Command {
    pub fn name(&self) -> &str {
        self.definition["name"].as_str().unwrap_or_default()
    }

    /// 1 for a slash command, 2 and 3 for those on users and messages.
    pub fn kind(&self) -> u64 {
        self.definition["type"].as_u64().unwrap_or(1)
    }
}

/// One use of a command or a component, and how the bot answered.
#[derive(Clone, Debug)]
pub struct Interaction {
    pub id: Snowflake,
    pub token: String,
    /// 2 a command, 3 a component, 4 an autocompletion, 5 a submitted form.
    pub kind: u64,
    pub user: Snowflake,
    pub channel: Snowflake,
    pub asked: Moment,
    pub command: Option<String>,
    /// The message whose component or menu was used.
    pub source: Option<Snowflake>,
    /// Of a submitted form: the interaction that it answered.
    pub form_of: Option<Snowflake>,
    pub response: Option<Response>,
    pub followups: Vec<Snowflake>,
}

/// The first response to an interaction.
#[derive(Clone, Debug)]
pub struct Response {
    /// Discord's number of the callback type.
    pub kind: u64,
    /// When it came.
    pub at: Moment,
    /// `@original`, once there is one.
    pub message: Option<Snowflake>,
    /// What came with a form or with autocompletion choices.
    pub data: Value,
}

/// Somebody's typing indicator, which lasts ten seconds.
#[derive(Clone, Copy, Debug)]
pub struct Typing {
    pub user: Snowflake,
    pub channel: Snowflake,
    pub at: Moment,
}
