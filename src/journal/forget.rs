//! Forgetting messages, people, channels and servers, with their photos.

use std::collections::BTreeSet;

use migrations_free_store::{Batch, BlobId, Order};

use super::exchanges::{drop_contents_from_index, drop_exchange_from_index, photos_of_exchange};
use super::index::{Index, IndexRecord};
use super::messages::{drop_message_from_index, id_of, photos_of};
use super::nouns::{AuthorId, ChannelId, Forgotten, GuildId, MessageId, Whose};
use super::records::{ExchangeRecord, LastSeenRecord, MessageRecord, StateRecord};
use super::settings::{Realm, SettingsRecord};
use super::{Journal, Result};

/// What goes, gathered before any of it does.
#[derive(Default)]
struct Doomed {
    messages: BTreeSet<MessageId>,
    /// Removed whole.
    exchanges: BTreeSet<MessageId>,
    /// Kept as ids and a state.
    withdrawn: BTreeSet<MessageId>,
    /// Of which nothing is kept when they are read once more: Discord still shows most of them.
    never_again: BTreeSet<MessageId>,
    channels: BTreeSet<ChannelId>,
}

impl Journal {
    /// Removes texts, photos and names, at once for every reader and durably when it returns. In
    /// the store's own files the bytes stay until [`compact`](Journal::compact), which is due
    /// within a day of [`stale_since`](Journal::stale_since); photo files are gone at once.
    pub fn forget(&self, whose: Whose, now_ms: u64) -> Result<Forgotten> {
        let _writer = self.writer();
        let doomed = match whose {
            Whose::Message(id) => self.doomed_by_message(id)?,
            Whose::Author(author) => self.doomed_by_author(author)?,
            Whose::Channel(channel) => self.doomed_by_channel(channel)?,
            Whose::Guild(guild) => self.doomed_by_guild(guild)?,
        };
        let mut forgotten = Forgotten::default();
        let mut photos = BTreeSet::new();
        let mut batch = self.store.batch();
        for &id in &doomed.never_again {
            batch.put(&Index::DeletedMessages.entry(id), &IndexRecord {})?;
        }
        self.forget_messages(&doomed, &mut batch, &mut photos, &mut forgotten)?;
        self.forget_exchanges(&doomed, &mut batch, &mut photos, &mut forgotten)?;
        for &channel in &doomed.channels {
            batch.delete::<LastSeenRecord>(&channel.0.to_be_bytes());
            batch.delete::<SettingsRecord>(&Realm::Channel(channel).key());
        }
        if let Whose::Guild(guild) = whose {
            batch.delete::<SettingsRecord>(&Realm::Guild(guild).key());
        }
        self.mark_stale(&mut batch, now_ms)?;
        batch.apply()?;
        self.store.flush()?;
        forgotten.photos = self.remove_unreferenced(photos)?;
        Ok(forgotten)
    }

    fn forget_messages(
        &self,
        doomed: &Doomed,
        batch: &mut Batch,
        photos: &mut BTreeSet<BlobId>,
        forgotten: &mut Forgotten,
    ) -> Result<()> {
        for &id in &doomed.messages {
            let Some(record) = self.message_record(id)? else { continue };
            drop_message_from_index(batch, id, &record);
            batch.delete::<MessageRecord>(&id_of(id));
            photos.extend(photos_of(&record.pieces));
            forgotten.messages += 1;
        }
        Ok(())
    }

    fn forget_exchanges(
        &self,
        doomed: &Doomed,
        batch: &mut Batch,
        photos: &mut BTreeSet<BlobId>,
        forgotten: &mut Forgotten,
    ) -> Result<()> {
        for &trigger in doomed.exchanges.union(&doomed.withdrawn) {
            let Some(mut record) = self.exchange_record(trigger)? else { continue };
            let removed = doomed.exchanges.contains(&trigger);
            if !removed && record.state == StateRecord::Withdrawn {
                continue;
            }
            photos.extend(photos_of_exchange(&record));
            forgotten.exchanges += 1;
            if removed {
                drop_exchange_from_index(batch, trigger, &record);
                batch.delete::<ExchangeRecord>(&id_of(trigger));
            } else {
                drop_contents_from_index(batch, trigger, &record);
                record.withdraw();
                batch.put(&id_of(trigger), &record)?;
            }
        }
        Ok(())
    }

    /// The reply to a message may quote it and shows a photo that was drawn for it, so it goes
    /// too. On Discord it stays: others may have read and answered it, and whoever wants it gone
    /// there can remove it.
    fn doomed_by_message(&self, id: MessageId) -> Result<Doomed> {
        let mut messages = self.replies_of(id)?;
        messages.insert(id);
        let mut withdrawn = self.all(Index::ExchangeOfReply(id))?;
        withdrawn.insert(id);
        let never_again = messages.clone();
        Ok(Doomed { messages, withdrawn, never_again, ..Doomed::default() })
    }

    /// The replies to a person may quote them, so they go too.
    fn doomed_by_author(&self, author: AuthorId) -> Result<Doomed> {
        let mut messages = self.all(Index::MessagesOfAuthor(author))?;
        let exchanges = self.all(Index::ExchangesOfAsker(author))?;
        for &trigger in &exchanges {
            messages.extend(self.replies_of(trigger)?);
        }
        let never_again = messages.clone();
        Ok(Doomed { messages, exchanges, never_again, ..Doomed::default() })
    }

    /// The messages in which an exchange was answered or explained.
    fn replies_of(&self, trigger: MessageId) -> Result<BTreeSet<MessageId>> {
        let record = self.exchange_record(trigger)?;
        let sent = record.map(|record| record.sent).unwrap_or_default();
        Ok(sent.into_iter().map(MessageId).collect())
    }

    fn doomed_by_channel(&self, channel: ChannelId) -> Result<Doomed> {
        Ok(Doomed {
            messages: self.all(Index::MessagesOfChannel(channel))?,
            exchanges: self.all(Index::ExchangesOfChannel(channel))?,
            channels: BTreeSet::from([channel]),
            ..Doomed::default()
        })
    }

    fn doomed_by_guild(&self, guild: GuildId) -> Result<Doomed> {
        let mut doomed = Doomed {
            messages: self.all(Index::MessagesOfGuild(guild))?,
            exchanges: self.all(Index::ExchangesOfGuild(guild))?,
            ..Doomed::default()
        };
        for &id in &doomed.messages {
            doomed.channels.extend(self.message_record(id)?.map(|known| ChannelId(known.channel)));
        }
        for &id in &doomed.exchanges {
            doomed.channels.extend(self.exchange_record(id)?.map(|known| ChannelId(known.channel)));
        }
        Ok(doomed)
    }

    fn all(&self, index: Index) -> Result<BTreeSet<MessageId>> {
        self.listed(index, Order::Ascending, None).collect()
    }
}
