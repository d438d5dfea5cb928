//! What was accepted, answered and explained.

use std::collections::BTreeSet;

use migrations_free_store::{Batch, BlobId, Order};

use super::index::{Index, IndexRecord};
use super::messages::{id_of, photos_of};
use super::nouns::{
    Acceptance, Answer, AuthorId, ChannelId, Exchange, Explanation, GuildId, MessageId, Recorded,
    Request, Seen, State, Whose,
};
use super::records::{ContextRecord, ExchangeRecord, PieceRecord, StateRecord};
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

    /// Keeps a reply that is about to be delivered, so that after a kill it is [found] and delivered
    /// as it is; its `sent` and `finished_ms` don't matter yet. Durable when it returns.
    ///
    /// [found]: Journal::prepared
    pub fn prepare<P: AsRef<[u8]>>(
        &self,
        trigger: MessageId,
        answer: &Answer<P>,
        now_ms: u64,
    ) -> Result<Recorded> {
        self.change(trigger, now_ms, |record| {
            let (context, pieces) = self.keep_answer(answer)?;
            record.prepare(answer, context, pieces);
            Ok(())
        })
    }

    /// The reply that was about to be delivered, if the exchange is not finished.
    pub fn prepared(&self, trigger: MessageId) -> Result<Option<Answer<BlobId>>> {
        Ok(self.exchange_record(trigger)?.and_then(ExchangeRecord::into_prepared))
    }

    /// Notes that the bot's message `reply` answers `trigger`, as soon as that is seen: if the one is
    /// deleted before the exchange is recorded, nothing of the other is kept.
    pub fn sent(&self, trigger: MessageId, reply: MessageId, now_ms: u64) -> Result<()> {
        if self.state(trigger)? == Some(State::Withdrawn) {
            return self.forget(Whose::Message(reply), now_ms).map(drop);
        }
        self.change(trigger, now_ms, |record| {
            if !record.sent.contains(&reply.0) {
                record.sent.push(reply.0);
            }
            Ok(())
        })
        .map(drop)
    }

    /// Keeps a delivered reply; photos are given as their encoded bytes. Durable when it returns.
    pub fn answered<P: AsRef<[u8]>>(
        &self,
        trigger: MessageId,
        answer: &Answer<P>,
    ) -> Result<Recorded> {
        self.change(trigger, answer.finished_ms, |record| {
            let (context, pieces) = self.keep_answer(answer)?;
            record.answer(answer, context, pieces);
            Ok(())
        })
    }

    /// Keeps why there is no reply; one that was prepared is dropped. Durable when it returns.
    pub fn explained(&self, trigger: MessageId, explanation: &Explanation) -> Result<Recorded> {
        self.change(trigger, explanation.finished_ms, |record| {
            record.explain(explanation);
            Ok(())
        })
    }

    fn keep_answer<P: AsRef<[u8]>>(
        &self,
        answer: &Answer<P>,
    ) -> Result<(Vec<ContextRecord>, Vec<PieceRecord>)> {
        let pieces = self.keep_photos(&answer.pieces)?;
        let context = answer.context.iter().map(|&message| {
            let edits = self.message_record(message)?.map_or(0, |record| record.edits);
            Ok(ContextRecord { message: message.0, edits })
        });
        Ok((context.collect::<Result<_>>()?, pieces))
    }

    /// Changes an exchange that is not finished.
    fn change(
        &self,
        trigger: MessageId,
        now_ms: u64,
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
        let before = photos_of_exchange(&record);
        let had_words = record.answer.is_some();
        change(&mut record)?;
        let after = photos_of_exchange(&record);
        let mut batch = self.store.batch();
        batch.put(&id_of(trigger), &record)?;
        if record.state != StateRecord::Accepted {
            batch.delete::<IndexRecord>(&Index::Unfinished.entry(trigger));
        }
        for &message in &record.sent {
            let entry = Index::ExchangeOfReply(MessageId(message)).entry(trigger);
            batch.put(&entry, &IndexRecord {})?;
        }
        for &blob in &after {
            batch.put(&Index::BlobInExchanges(blob).entry(trigger), &IndexRecord {})?;
        }
        let dropped: BTreeSet<BlobId> = before.difference(&after).copied().collect();
        for &blob in &dropped {
            batch.delete::<IndexRecord>(&Index::BlobInExchanges(blob).entry(trigger));
        }
        if had_words && record.answer.is_none() {
            self.mark_stale(&mut batch, now_ms)?;
        }
        batch.apply()?;
        if dropped.is_empty() {
            drop(writer); // so that concurrent callers share a sync
            self.store.flush()?;
        } else {
            self.store.flush()?;
            self.remove_unreferenced(dropped)?;
        }
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

pub(super) fn photos_of_exchange(record: &ExchangeRecord) -> BTreeSet<BlobId> {
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
