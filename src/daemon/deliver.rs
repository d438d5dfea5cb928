//! A reply that is kept already, on its way out.
//!
//! What is about to be sent is in the journal before the first of it is, so that a reply is written
//! once however often its delivery is broken off, and what follows of it is what was meant to.

use crate::discord::{
    AuthorKind, Draft, Message, RestError, compose, note, without_files, wording,
};
use crate::journal::{self, Answer, MessageId, PhotoRule, Piece, Reason, Recorded, Whose};

use super::answer::{Errand, Halt, log_obstacle};
use super::event::Ending;
use super::house::now_ms;
use super::record::{self, Bytes};

/// Most pages of messages that are read of one channel after an absence.
pub(super) const MISSED_PAGES_MAX: usize = 200;

/// What is known of the bot's earlier messages in answer to one.
pub(super) enum SentBefore {
    /// These, oldest first.
    These(Vec<Message>),
    /// More was said in the channel since than is read.
    Unknown,
}

impl Errand {
    /// What the bot has sent in answer to this message already.
    pub(super) async fn sent_before(&self) -> Result<SentBefore, RestError> {
        let house = &self.house;
        let answers_it = |message: &Message| {
            message.author.kind == AuthorKind::Myself
                && message.reply_to.as_ref().is_some_and(|target| target.id == self.id())
        };
        let mut sent = Vec::new();
        let mut after = self.id();
        for _ in 0..MISSED_PAGES_MAX {
            let page = house.rest.messages_after(self.channel(), after, &house.me).await?;
            sent.extend(page.messages.into_iter().filter(answers_it));
            match page.next {
                Some(next) => after = next,
                None => return Ok(SentBefore::These(sent)),
            }
        }
        Ok(SentBefore::Unknown)
    }

    /// Whether the message answered is there.
    pub(super) async fn is_there(&self) -> Result<bool, RestError> {
        let (house, id) = (&self.house, self.id());
        let newest = house.rest.messages_before(self.channel(), id + 1, 1, &house.me).await?;
        Ok(newest.messages.iter().any(|message| message.id == id))
    }

    /// Sends what has not been sent yet and records the exchange.
    pub(super) async fn deliver(
        &self,
        mut answer: Answer<Bytes>,
        sent_before: &[Message],
    ) -> Result<Ending, Halt> {
        if self.house.photo_rule(self.question.spot).await? == PhotoRule::Off {
            hold_photos_back(&mut answer);
        }
        let drafts = compose(self.addressee(), &record::said(&answer), &answer.notes);
        let mut sent: Vec<(MessageId, Draft)> = sent_before
            .iter()
            .zip(&drafts)
            .map(|(old, draft)| (MessageId(old.id), as_sent(draft, old)))
            .collect();
        for draft in drafts.iter().skip(sent.len()) {
            match self.send(draft).await {
                Ok(done) => sent.push(done),
                // What was sent stands, and the person is told that something is missing.
                Err(error) if !sent.is_empty() && error.is_final() => {
                    log_obstacle(self.id(), &error);
                    sent.extend(self.say_rest_not_taken(drafts.len()).await);
                    break;
                }
                Err(error) => return Err(Halt::Unsent(error)),
            }
        }
        answer.sent = sent.iter().map(|(id, _)| *id).collect();
        answer.finished_ms = now_ms();
        self.record(answer, sent).await
    }

    async fn record(
        &self,
        answer: Answer<Bytes>,
        sent: Vec<(MessageId, Draft)>,
    ) -> Result<Ending, Halt> {
        let request = self.question.request;
        let delivered: Vec<_> = sent
            .iter()
            .map(|(id, draft)| record::delivered(&self.house.me, &request, draft, *id))
            .collect();
        let recorded = self
            .house
            .in_journal(move |journal| {
                let recorded = journal.answered(request.trigger, &answer)?;
                for message in &delivered {
                    // After the exchange, through which a deletion reaches them.
                    match recorded {
                        Recorded::Kept => drop(journal.hear(message, now_ms())?),
                        Recorded::Already => {}
                        Recorded::Withdrawn => {
                            journal.forget(Whose::Message(message.id), now_ms())?;
                        }
                    }
                }
                journal.flush()?;
                Ok(recorded)
            })
            .await?;
        match recorded {
            Recorded::Kept => tracing::info!(message = self.id(), "answered"),
            Recorded::Already => tracing::warn!(message = self.id(), "answered before"),
            Recorded::Withdrawn => tracing::info!(message = self.id(), "withdrawn meanwhile"),
        }
        Ok(Ending::Settled)
    }

    /// Sends a message, without its photos where Discord doesn't take them after all; gives what
    /// was sent.
    async fn send(&self, draft: &Draft) -> Result<(MessageId, Draft), RestError> {
        let rest = &self.house.rest;
        match rest.send(self.channel(), draft).await {
            Err(error) if !draft.files.is_empty() && error.is_final() => {
                log_obstacle(self.id(), &error);
                let text = without_files(draft);
                let id = rest.send(self.channel(), &text).await?;
                Ok((MessageId(id), text))
            }
            sent => Ok((MessageId(sent?), draft.clone())),
        }
    }

    /// Says that part of the reply is missing; what can't be said is logged.
    async fn say_rest_not_taken(&self, part: usize) -> Option<(MessageId, Draft)> {
        let plain = note(self.addressee(), wording::rest_not_taken());
        let draft = Draft { ping: None, nonce: format!("{}-{part}", self.id()), ..plain };
        match self.house.rest.send(self.channel(), &draft).await {
            Ok(id) => Some((MessageId(id), draft)),
            Err(error) => {
                log_obstacle(self.id(), &error);
                None
            }
        }
    }

    /// Delivers what an earlier try prepared, if the message is still there.
    pub(super) async fn resume(&self, answer: Answer<Bytes>) -> Result<Ending, Halt> {
        if !self.is_there().await.map_err(Halt::Unread)? {
            return Ok(self.withdraw().await?);
        }
        match self.sent_before().await.map_err(Halt::Unread)? {
            SentBefore::These(sent) => self.deliver(answer, &sent).await,
            SentBefore::Unknown => Ok(self.give_up().await?),
        }
    }

    /// Whether it was answered can't be told any more, and nobody waits for it.
    pub(super) async fn give_up(&self) -> journal::Result<Ending> {
        tracing::warn!(message = self.id(), "too much was said since for a late answer");
        self.record_explanation(Reason::Cancelled, Vec::new()).await
    }
}

/// Leaves out photos that were drawn before they were turned off.
fn hold_photos_back(answer: &mut Answer<Bytes>) {
    let pieces = answer.pieces.len();
    answer.pieces.retain(|piece| matches!(piece, Piece::Text(_)));
    if answer.pieces.len() < pieces {
        answer.notes.push(wording::photo_held_back());
    }
}

/// A draft, as the message that was made of it shows that it was sent.
fn as_sent(draft: &Draft, message: &Message) -> Draft {
    if message.attachments.is_empty() && !draft.files.is_empty() {
        without_files(draft)
    } else {
        draft.clone()
    }
}
