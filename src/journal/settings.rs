//! What moderators set for their channels and servers.

use migrations_free_store::Record;
use serde::{Deserialize, Serialize};

use super::nouns::{AuthorId, ChannelId, GuildId, PhotoRule};
use super::{Journal, Result};

/// Where a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Realm {
    /// A channel or thread.
    Channel(ChannelId),
    /// A server.
    Guild(GuildId),
}

impl Realm {
    /// A tag, as a server and its first channel can have the same id, and the id.
    pub(super) fn key(self) -> Vec<u8> {
        let (tag, id) = match self {
            Self::Channel(ChannelId(id)) => (1, id),
            Self::Guild(GuildId(id)) => (2, id),
        };
        [&[tag], &id.to_be_bytes()[..]].concat()
    }
}

/// A realm's settings; what is not set follows the next larger one.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct SettingsRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) photos: Option<PhotoRuleRecord>,
    /// Who changed it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) changed_by: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) changed_ms: Option<u64>,
}

impl Record for SettingsRecord {
    const KIND: &'static str = "settings";
    const REVISION: u16 = 1;
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PhotoRuleRecord {
    On,
    Off,
}

impl From<PhotoRule> for PhotoRuleRecord {
    fn from(rule: PhotoRule) -> Self {
        match rule {
            PhotoRule::On => Self::On,
            PhotoRule::Off => Self::Off,
        }
    }
}

impl From<PhotoRuleRecord> for PhotoRule {
    fn from(rule: PhotoRuleRecord) -> Self {
        match rule {
            PhotoRuleRecord::On => Self::On,
            PhotoRuleRecord::Off => Self::Off,
        }
    }
}

impl Journal {
    /// Sets whether photos are shared somewhere. Durable when it returns.
    pub fn set_photo_rule(
        &self,
        realm: Realm,
        rule: PhotoRule,
        by: AuthorId,
        now_ms: u64,
    ) -> Result<()> {
        let writer = self.writer();
        let mut record = self.store.get::<SettingsRecord>(&realm.key())?.unwrap_or_default();
        record.photos = Some(rule.into());
        record.changed_by = Some(by.0);
        record.changed_ms = Some(now_ms);
        self.store.put(&realm.key(), &record)?;
        drop(writer);
        self.flush()
    }

    /// Whether photos are shared somewhere, where that is set.
    pub fn photo_rule(&self, realm: Realm) -> Result<Option<PhotoRule>> {
        let record = self.store.get::<SettingsRecord>(&realm.key())?;
        Ok(record.and_then(|record| record.photos).map(PhotoRule::from))
    }
}
