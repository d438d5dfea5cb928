//! What people and the bot said.

use std::collections::BTreeSet;

use migrations_free_store::{Batch, BlobId, Order};

use super::index::{Index, IndexRecord};
use super::nouns::{AuthorId, ChannelId, GuildId, Heard, Message, MessageId, Piece, Place};
use super::records::{LastSeenRecord, MessageRecord, PieceRecord, store_pieces};
use super::{Journal, Result};

impl Journal {
    /// Keeps a message, or what an edit made of it; photos are given as their encoded bytes.
    /// Durable with the next [`flush`](Journal::flush), [`accept`](Journal::accept) or
    /// [`answered`](Journal::answered).
    pub fn hear<P: AsRef<[u8]>>(&self, message: &Message<P>, now_ms: u64) -> Result<Heard> {
        let _writer = self.writer();
        if self.store.contains::<IndexRecord>(&Index::DeletedMessages.entry(message.id))? {
            return Ok(Heard::Deleted);
        }
        let pieces = self.keep_photos(&message.pieces)?;
        let known = self.message_record(message.id)?;
        let mut batch = self.store.batch();
        let (record, heard) = match &known {
            None => (MessageRecord::new(message, pieces, 0), Heard::New),
            Some(known) if known.pieces == pieces => return Ok(Heard::Same),
            Some(known) => {
                drop_message_from_index(&mut batch, message.id, known);
                self.mark_stale(&mut batch, now_ms)?;
                (MessageRecord::new(message, pieces, known.edits + 1), Heard::Edited)
            }
        };
        for entry in index_of_message(message.id, &record) {
            batch.put(&entry, &IndexRecord {})?;
        }
        batch.put(&id_of(message.id), &record)?;
        batch.apply()?;
        if let Some(known) = known {
            let photos = photos_of(&known.pieces);
            if !photos.is_empty() {
                self.store.flush()?;
                self.remove_unreferenced(photos)?;
            }
        }
        Ok(heard)
    }

    /// A message as it stands now.
    pub fn message(&self, id: MessageId) -> Result<Option<Message<BlobId>>> {
        Ok(self.message_record(id)?.map(|record| record.into_message(id)))
    }

    /// The newest messages of a channel, at most `limit`, newest first; those before `before`
    /// where one is given.
    pub fn messages(
        &self,
        channel: ChannelId,
        before: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<Message<BlobId>>> {
        let listed = self.listed(Index::MessagesOfChannel(channel), Order::Descending, before);
        let found = listed.map(|id| self.message(id?)).filter_map(Result::transpose);
        found.take(limit).collect()
    }

    /// Notes that a channel was read up to `message`; never goes back. Durable like
    /// [`hear`](Journal::hear).
    pub fn seen(&self, channel: ChannelId, message: MessageId, place: Place) -> Result<()> {
        let _writer = self.writer();
        if self.last_seen(channel)?.is_none_or(|last| last < message) {
            let direct = place == Place::Direct;
            let record = LastSeenRecord { message: message.0, direct };
            self.store.put(&channel.0.to_be_bytes(), &record)?;
        }
        Ok(())
    }

    /// The newest message that was seen in a channel.
    pub fn last_seen(&self, channel: ChannelId) -> Result<Option<MessageId>> {
        let record = self.store.get::<LastSeenRecord>(&channel.0.to_be_bytes())?;
        Ok(record.map(|record| MessageId(record.message)))
    }

    /// The newest message that was seen, of every channel.
    pub fn last_seen_everywhere(&self) -> Result<Vec<(ChannelId, MessageId, Place)>> {
        let channels = self.store.scan::<LastSeenRecord>(&[], Order::Ascending);
        let read = |entry: migrations_free_store::Result<(Vec<u8>, LastSeenRecord)>| {
            let (id, record) = entry?;
            let id = id.last_chunk().ok_or(super::Error::Index { bytes: id.len() })?;
            let place = if record.direct { Place::Direct } else { Place::Server };
            Ok((ChannelId(u64::from_be_bytes(*id)), MessageId(record.message), place))
        };
        channels.map(read).collect()
    }

    pub(super) fn message_record(&self, id: MessageId) -> Result<Option<MessageRecord>> {
        Ok(self.store.get::<MessageRecord>(&id_of(id))?)
    }

    /// Writes the photos of `pieces` durably. The writer must be held: a photo that nothing
    /// refers to yet is fair game for [`remove_unreferenced`](Journal::remove_unreferenced).
    pub(super) fn keep_photos<P: AsRef<[u8]>>(
        &self,
        pieces: &[Piece<P>],
    ) -> Result<Vec<PieceRecord>> {
        let keep = |piece: &Piece<P>| {
            Ok(match piece {
                Piece::Text(text) => Piece::Text(text.clone()),
                Piece::Photo { photo, caption } => {
                    let photo = self.store.blobs().put(photo.as_ref())?;
                    Piece::Photo { photo, caption: caption.clone() }
                }
            })
        };
        Ok(store_pieces(pieces.iter().map(keep).collect::<Result<_>>()?))
    }

    /// Removes those of `photos` that no record refers to any more; says how many there were.
    /// The removal of the references must be durable.
    pub(super) fn remove_unreferenced(&self, photos: BTreeSet<BlobId>) -> Result<u64> {
        let mut removed = 0;
        for blob in photos {
            let referenced = self.lists_any(Index::BlobInMessages(blob))?
                || self.lists_any(Index::BlobInExchanges(blob))?;
            if !referenced {
                self.store.blobs().delete(blob)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

/// The key of a message or of the exchange that it began.
pub(super) fn id_of(id: MessageId) -> [u8; 8] {
    id.0.to_be_bytes()
}

pub(super) fn photos_of(pieces: &[PieceRecord]) -> BTreeSet<BlobId> {
    pieces.iter().filter_map(PieceRecord::blob).collect()
}

fn index_of_message(id: MessageId, record: &MessageRecord) -> Vec<Vec<u8>> {
    let mut entries = vec![
        Index::MessagesOfAuthor(AuthorId(record.author)).entry(id),
        Index::MessagesOfChannel(ChannelId(record.channel)).entry(id),
    ];
    entries.extend(record.guild.map(|guild| Index::MessagesOfGuild(GuildId(guild)).entry(id)));
    let photos = photos_of(&record.pieces).into_iter();
    entries.extend(photos.map(|blob| Index::BlobInMessages(blob).entry(id)));
    entries
}

/// Removes what leads to a message.
pub(super) fn drop_message_from_index(batch: &mut Batch, id: MessageId, record: &MessageRecord) {
    for entry in index_of_message(id, record) {
        batch.delete::<IndexRecord>(&entry);
    }
}
