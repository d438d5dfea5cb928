//! Messages to be, and changes to them.

use serde_json::{Value, json};

use super::clock::Snowflake;
use super::mentions::AllowedMentions;
use super::model::{Attachment, Message, MessageKind};

/// A message to be.
#[derive(Clone, Debug)]
pub struct Draft {
    pub kind: MessageKind,
    pub channel: Snowflake,
    pub author: Snowflake,
    pub content: String,
    pub attachments: Vec<Attachment>,
    pub allowed_mentions: AllowedMentions,
    pub replies_to: Option<Snowflake>,
    pub nonce: Option<Value>,
    pub flags: u64,
    pub components: Value,
    pub embeds: Value,
    pub webhook: Option<Snowflake>,
    pub interaction: Option<Snowflake>,
}

impl Draft {
    /// A plain message of `author`.
    pub fn new(channel: Snowflake, author: Snowflake, content: String) -> Self {
        Self {
            kind: MessageKind::Default,
            channel,
            author,
            content,
            attachments: Vec::new(),
            allowed_mentions: AllowedMentions::all(),
            replies_to: None,
            nonce: None,
            flags: 0,
            components: json!([]),
            embeds: json!([]),
            webhook: None,
            interaction: None,
        }
    }
}

/// What an edit changes; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct Edit {
    pub content: Option<String>,
    pub allowed_mentions: Option<AllowedMentions>,
    pub attachments: Option<Vec<Attachment>>,
    pub components: Option<Value>,
    pub embeds: Option<Value>,
    pub flags: Option<u64>,
}

impl Edit {
    /// Whether nothing would be left to see.
    pub fn leaves_nothing_of(&self, message: &Message) -> bool {
        let none = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        self.content.as_ref().unwrap_or(&message.content).is_empty()
            && self.attachments.as_ref().unwrap_or(&message.attachments).is_empty()
            && none(self.components.as_ref().unwrap_or(&message.components))
            && none(self.embeds.as_ref().unwrap_or(&message.embeds))
    }
}
