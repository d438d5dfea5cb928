//! Entries that say where records are: a tag byte, then ids of 8 bytes, big endian, so that a
//! prefix finds all of one owner, oldest first. Tags are part of the format.

use migrations_free_store::{BlobId, Order, Record};
use serde::{Deserialize, Serialize};

use super::nouns::{AuthorId, ChannelId, GuildId, MessageId};
use super::{Error, Journal, Result};

/// All that matters is its key.
#[derive(Serialize, Deserialize)]
pub(super) struct IndexRecord {}

impl Record for IndexRecord {
    const KIND: &'static str = "index";
    const REVISION: u16 = 1;
}

/// Whose messages or exchanges, or which ones: the front part of a key.
#[derive(Clone, Copy)]
pub(super) enum Index {
    /// → messages said by.
    MessagesOfAuthor(AuthorId),
    /// → messages said in.
    MessagesOfChannel(ChannelId),
    /// → messages said in.
    MessagesOfGuild(GuildId),
    /// → triggers of exchanges begun by.
    ExchangesOfAsker(AuthorId),
    /// → triggers of exchanges in.
    ExchangesOfChannel(ChannelId),
    /// → triggers of exchanges in.
    ExchangesOfGuild(GuildId),
    /// → trigger of the exchange that this message is the reply of.
    ExchangeOfReply(MessageId),
    /// → triggers of exchanges that are accepted and not finished.
    Unfinished,
    /// → messages that refer to a blob.
    BlobInMessages(BlobId),
    /// → triggers of exchanges whose reply refers to a blob.
    BlobInExchanges(BlobId),
    /// → ids of messages that were deleted.
    DeletedMessages,
}

impl Index {
    fn prefix(self) -> Vec<u8> {
        let (tag, owner) = match self {
            Self::MessagesOfAuthor(AuthorId(id)) => (1, id),
            Self::MessagesOfChannel(ChannelId(id)) => (2, id),
            Self::MessagesOfGuild(GuildId(id)) => (3, id),
            Self::ExchangesOfAsker(AuthorId(id)) => (4, id),
            Self::ExchangesOfChannel(ChannelId(id)) => (5, id),
            Self::ExchangesOfGuild(GuildId(id)) => (6, id),
            Self::ExchangeOfReply(MessageId(id)) => (7, id),
            Self::Unfinished => return vec![8],
            Self::DeletedMessages => return vec![9],
            Self::BlobInMessages(blob) => return [&[10], &blob.as_bytes()[..]].concat(),
            Self::BlobInExchanges(blob) => return [&[11], &blob.as_bytes()[..]].concat(),
        };
        [&[tag], &owner.to_be_bytes()[..]].concat()
    }

    /// The key of one entry.
    pub(super) fn entry(self, message: MessageId) -> Vec<u8> {
        [self.prefix(), message.0.to_be_bytes().to_vec()].concat()
    }
}

impl Journal {
    /// What an index lists, in `order`, beginning behind `beyond` where one is given.
    pub(super) fn listed(
        &self,
        index: Index,
        order: Order,
        beyond: Option<MessageId>,
    ) -> impl Iterator<Item = Result<MessageId>> + '_ {
        let mut scan = self.store.scan::<IndexRecord>(&index.prefix(), order);
        if let Some(beyond) = beyond {
            scan = scan.beyond(&index.entry(beyond));
        }
        scan.map(|entry| message_of(&entry?.0))
    }

    /// Whether an index lists anything.
    pub(super) fn lists_any(&self, index: Index) -> Result<bool> {
        Ok(self.listed(index, Order::Ascending, None).next().transpose()?.is_some())
    }

    /// Every blob that a record refers to; some come twice.
    pub(super) fn referenced_blobs(&self) -> impl Iterator<Item = Result<BlobId>> + '_ {
        [10, 11].into_iter().flat_map(|tag| {
            self.store.scan::<IndexRecord>(&[tag], Order::Ascending).map(|entry| {
                let key = entry?.0;
                let blob = key.get(1..).and_then(|rest| rest.first_chunk::<32>());
                blob.map(|&hash| hash.into()).ok_or(Error::Index { bytes: key.len() })
            })
        })
    }
}

/// The id that an index key ends in.
fn message_of(key: &[u8]) -> Result<MessageId> {
    let id = key.last_chunk().ok_or(Error::Index { bytes: key.len() })?;
    Ok(MessageId(u64::from_be_bytes(*id)))
}
