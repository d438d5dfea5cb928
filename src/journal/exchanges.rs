//! What was accepted, answered and explained.

use migrations_free_store::{Batch, BlobId, Order};

use super::index::{Index, IndexRecord};
use super::messages::{id_of, photos_of};
use super::nouns::{
    Acceptance, Answer, AuthorId, ChannelId, Exchange, Explanation, GuildId, MessageId, Recorded,
    Request, Seen, State,
};
use super::records::{ContextRecord, ExchangeRecord, StateRecord};
use super::{Error, Journal, Result};

impl Journal {
    /// Notes that a message deserves an answer, unless that was noted before. Durable when it
    /// returns; of several callers exactly one is told [`Acceptance::New`].
    pub fn accept(&self, request: &Request) -> Result<Acceptance> {
        let acceptance = self.note_acceptance(request)?;
        self.store.flush()?; // outside the lock, so that concurrent callers share a sync
        Ok(acceptance)
    }

    fn note_acceptance(&self, request: &Request) -> Result<Acceptance> {
        let _writer = self.writer();
        let trigger = request.trigger;
        if let Some(known) = self.exchange_record(trigger)? {
            return Ok(Acceptance::Known(known.state.into()));
        }
        if self.store.contains::<IndexRecord>(&Index::DeletedMessages.entry(trigger))? {
            return Ok(Acceptance::Known(State::Withdrawn));
        }
        let record = ExchangeRecord::accepted(request);
        let mut batch = self.store.batch();
        batch.put(&id_of(trigger), &record)?;
        batch.put(&Index::Unfinished.entry(trigger), &IndexRecord {})?;
        for entry in owners_of_exchange(trigger, &record) {
            batch.put(&entry, &IndexRecord {})?;
        }
        batch.apply()?;
        Ok(Acceptance::New)
    }

    /// Keeps a delivered reply; photos are given as their encoded bytes. Durable when it returns.
    pub fn answered(&self, trigger: MessageId, answer: &Answer<Vec<u8>>) -> Result<Recorded> {
        self.finish(trigger, &answer.sent, |record| {
            let pieces = self.keep_photos(&answer.pieces)?;
            let context = answer.context.iter().map(|&message| {
                let edits = self.message_record(message)?.map_or(0, |record| record.edits);
                Ok(ContextRecord { message: message.0, edits })
            });
            record.answer(answer, context.collect::<Result<_>>()?, pieces);
            Ok(())
        })
    }

    /// Keeps why there is no reply. Durable when it returns.
    pub fn explained(&self, trigger: MessageId, explanation: &Explanation) -> Result<Recorded> {
        self.finish(trigger, &explanation.sent, |record| {
            record.explain(explanation);
            Ok(())
        })
    }

    fn finish(
        &self,
        trigger: MessageId,
        sent: &[MessageId],
        change: impl FnOnce(&mut ExchangeRecord) -> Result<()>,
    ) -> Result<Recorded> {
        let writer = self.writer();
        let Some(mut record) = self.exchange_record(trigger)? else {
            return Ok(Recorded::Withdrawn);
        };
        match record.state {
            StateRecord::Accepted => {}
            StateRecord::Answered | StateRecord::Explained => return Ok(Recorded::Already),
            StateRecord::Withdrawn => return Ok(Recorded::Withdrawn),
        }
        change(&mut record)?;
        let mut batch = self.store.batch();
        batch.put(&id_of(trigger), &record)?;
        batch.delete::<IndexRecord>(&Index::Unfinished.entry(trigger));
        for &message in sent {
            batch.put(&Index::ExchangeOfReply(message).entry(trigger), &IndexRecord {})?;
        }
        for blob in photos_of_exchange(&record) {
            batch.put(&Index::BlobInExchanges(blob).entry(trigger), &IndexRecord {})?;
        }
        batch.apply()?;
        drop(writer);
        self.store.flush()?;
        Ok(Recorded::Kept)
    }

    /// How far the exchange of a message has come; `None` where it was never accepted.
    pub fn state(&self, trigger: MessageId) -> Result<Option<State>> {
        Ok(self.exchange_record(trigger)?.map(|record| record.state.into()))
    }

    /// What was accepted and neither answered, explained nor withdrawn, oldest first.
    pub fn unfinished(&self) -> Result<Vec<Request>> {
        let read = |trigger: Result<MessageId>| {
            let trigger = trigger?;
            let record = self.exchange_record(trigger)?.ok_or(Error::Exchange(trigger))?;
            Ok(record.request(trigger))
        };
        self.listed(Index::Unfinished, Order::Ascending, None).map(read).collect()
    }

    /// The exchange that a message began.
    pub fn exchange(&self, trigger: MessageId) -> Result<Option<Exchange>> {
        let Some(record) = self.exchange_record(trigger)? else { return Ok(None) };
        let context = record.context().iter().map(|seen| self.seen_now(*seen));
        let context = context.collect::<Result<_>>()?;
        Ok(Some(record.into_exchange(trigger, context)))
    }

    /// The exchange that a message of the bot answers or explains.
    pub fn exchange_by_reply(&self, reply: MessageId) -> Result<Option<Exchange>> {
        let trigger = self.listed(Index::ExchangeOfReply(reply), Order::Ascending, None).next();
        trigger.transpose()?.map_or(Ok(None), |trigger| self.exchange(trigger))
    }

    fn seen_now(&self, seen: ContextRecord) -> Result<Seen> {
        let id = MessageId(seen.message);
        Ok(match self.message_record(id)? {
            None => Seen::Gone(id),
            Some(record) if record.edits == seen.edits => Seen::Unchanged(id),
            Some(_) => Seen::Edited(id),
        })
    }

    pub(super) fn exchange_record(&self, trigger: MessageId) -> Result<Option<ExchangeRecord>> {
        Ok(self.store.get::<ExchangeRecord>(&id_of(trigger))?)
    }
}

fn owners_of_exchange(trigger: MessageId, record: &ExchangeRecord) -> Vec<Vec<u8>> {
    let mut entries = vec![
        Index::ExchangesOfAsker(AuthorId(record.asker)).entry(trigger),
        Index::ExchangesOfChannel(ChannelId(record.channel)).entry(trigger),
    ];
    let guild = record.guild.map(|guild| Index::ExchangesOfGuild(GuildId(guild)).entry(trigger));
    entries.extend(guild);
    entries
}

pub(super) fn photos_of_exchange(
    record: &ExchangeRecord,
) -> impl IntoIterator<Item = BlobId> + use<> {
    record.answer.as_ref().map(|answer| photos_of(&answer.pieces)).unwrap_or_default()
}

/// Removes what leads to an exchange's contents; its owners and its reply still lead to it.
pub(super) fn drop_contents_from_index(
    batch: &mut Batch,
    trigger: MessageId,
    record: &ExchangeRecord,
) {
    batch.delete::<IndexRecord>(&Index::Unfinished.entry(trigger));
    for blob in photos_of_exchange(record) {
        batch.delete::<IndexRecord>(&Index::BlobInExchanges(blob).entry(trigger));
    }
}

/// Removes all that leads to an exchange.
pub(super) fn drop_exchange_from_index(
    batch: &mut Batch,
    trigger: MessageId,
    record: &ExchangeRecord,
) {
    drop_contents_from_index(batch, trigger, record);
    for &message in &record.sent {
        batch.delete::<IndexRecord>(&Index::ExchangeOfReply(MessageId(message)).entry(trigger));
    }
    for entry in owners_of_exchange(trigger, record) {
        batch.delete::<IndexRecord>(&entry);
    }
}
