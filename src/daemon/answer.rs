//! One message, from its acceptance to its reply and the record of both.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::commands::Spot;
use super::deliver::SentBefore;
use super::event::Ending;
use super::house::{House, now_ms};
use super::record::{self, Bytes};
use crate::dialogue::Reply;
use crate::discord::{
    Addressee, Draft, Looked, MESSAGES_MAX, Message, Need, Page, Permit, PhotoFault, RestError,
    Typing, assemble, note, photos_left_out, photos_wanted, window, wording,
};
use crate::engine::{self, Job, Origin, Outcome, Refusal, Work};
use crate::journal::{
    self, Answer, Explanation, Journal, MessageId, PhotoRule, Piece, Reason, Recorded, Request,
    Whose,
};
use crate::systems::PhotoSharing;

/// Messages of the journal that are read at once to hold them against what Discord shows.
const KNOWN_AT_ONCE: usize = 50;

/// Whether something may have been sent already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It has just been accepted.
    Live,
    /// An earlier try, perhaps of an earlier process, may have come as far as sending.
    Late,
}

/// A message to answer.
pub(super) struct Question {
    pub(super) request: Request,
    pub(super) arrival: Arrival,
    pub(super) permit: Permit,
    /// Where moderators' settings hold.
    pub(super) spot: Spot,
    /// To be set once the model works on it or something is being sent.
    pub(super) begun: Arc<AtomicBool>,
}

/// What the model sees.
struct Context {
    /// Oldest first, the message answered last.
    messages: Vec<Message>,
    /// Photos that were looked at, by attachment.
    photos: HashMap<u64, Looked>,
    /// What the person is told beside the reply.
    notes: Vec<String>,
}

/// How the engine's work ended.
enum Worked {
    Reply(Reply),
    /// The person is told why there is none.
    Instead(Reason, String),
    /// The engine stopped before it was done.
    Stopped,
}

/// Answers a message: nothing is sent twice, and what was sent is recorded.
pub(super) async fn answer(house: Arc<House>, question: Question) -> journal::Result<Ending> {
    let errand = Errand { house, question };
    match errand.run().await {
        Ok(ending) => Ok(ending),
        Err(Halt::Journal(error)) => Err(error),
        Err(Halt::Unread(error)) => errand.unread(&error).await,
        Err(Halt::Unsent(error)) => errand.unsent(&error).await,
    }
}

/// Why an errand ends early.
pub(super) enum Halt {
    /// Discord doesn't let the channel be read.
    Unread(RestError),
    /// Discord doesn't take the reply.
    Unsent(RestError),
    Journal(journal::Error),
}

impl From<journal::Error> for Halt {
    fn from(error: journal::Error) -> Self {
        Self::Journal(error)
    }
}

pub(super) struct Errand {
    pub(super) house: Arc<House>,
    pub(super) question: Question,
}

impl Errand {
    pub(super) fn id(&self) -> u64 {
        self.question.request.trigger.0
    }

    pub(super) fn channel(&self) -> u64 {
        self.question.request.channel.0
    }

    pub(super) fn addressee(&self) -> Addressee {
        Addressee { message: self.id(), person: self.question.request.asker.0 }
    }

    async fn run(&self) -> Result<Ending, Halt> {
        let photos = match self.question.permit {
            Permit::Everything => PhotoSharing::On,
            Permit::TextOnly => PhotoSharing::Off,
            Permit::Explain(need) => return Ok(self.explain_permission(need).await?),
            Permit::Silence(need) => {
                tracing::warn!(
                    channel = self.channel(),
                    missing = wording::permission_name(need),
                    "a message can't be answered: the bot lacks a permission there"
                );
                return Ok(self.record_explanation(Reason::NotPermitted, Vec::new()).await?);
            }
        };
        if self.question.arrival == Arrival::Late
            && let Some(ending) = self.take_up().await?
        {
            return Ok(ending);
        }
        // Before anything is read or downloaded for it.
        if let Err(refusal) = self.house.engine.room(self.origin()) {
            return match turned_away(refusal) {
                Worked::Instead(reason, sentence) => self.explain(reason, sentence).await,
                _ => Ok(Ending::Postponed),
            };
        }
        let typing = Typing::start(&self.house.rest, self.channel());
        let Some(context) = self.context().await? else {
            return Ok(self.withdraw().await?);
        };
        let photos = match self.house.photo_rule(self.question.spot).await? {
            PhotoRule::On => photos,
            PhotoRule::Off => PhotoSharing::Off,
        };
        let worked = self.work(&context, photos).await;
        self.question.begun.store(true, Ordering::Relaxed);
        typing.stop().await;
        match worked {
            Worked::Reply(reply) => match self.prepare(context, reply).await? {
                Some(answer) => self.deliver(answer, &[]).await,
                None => Ok(Ending::Settled),
            },
            Worked::Instead(reason, sentence) => self.explain(reason, sentence).await,
            Worked::Stopped => Ok(Ending::Postponed),
        }
    }

    /// Goes on where an earlier try ended, if it came as far as sending.
    async fn take_up(&self) -> Result<Option<Ending>, Halt> {
        let trigger = self.question.request.trigger;
        let prepared = self.house.in_journal(move |journal| prepared(journal, trigger)).await?;
        if let Some(answer) = prepared {
            self.question.begun.store(true, Ordering::Relaxed);
            return self.resume(answer).await.map(Some);
        }
        // What was sent without being prepared is a note that tells why there is no reply.
        match self.sent_before().await.map_err(Halt::Unread)? {
            SentBefore::These(notes) if notes.is_empty() => Ok(None),
            SentBefore::These(notes) => {
                let sent = notes.iter().map(|message| MessageId(message.id)).collect();
                Ok(Some(self.record_explanation(Reason::Other, sent).await?))
            }
            SentBefore::Unknown => Ok(Some(self.give_up().await?)),
        }
    }

    /// The dialogue so far, as it stands now; `None` if the message is not there any more.
    async fn context(&self) -> Result<Option<Context>, Halt> {
        let (house, history) = (&self.house, &self.house.settings.history);
        // One more for the message itself, so that its newest text counts.
        let limit = history.messages_max.saturating_add(1).min(MESSAGES_MAX);
        let before = self.id() + 1;
        let read = house.rest.messages_before(self.channel(), before, limit, &house.me).await;
        let page = read.map_err(Halt::Unread)?;
        let Some(at) = page.messages.iter().position(|message| message.id == self.id()) else {
            return Ok(None);
        };
        self.forget_what_is_gone(&page).await?;
        let mut earlier = page.messages;
        let answered = earlier.swap_remove(at);
        let messages = window(earlier, &answered, history.age_max);
        let wanted = photos_wanted(&messages, history.photos_max);
        let mut photos = HashMap::new();
        let left_out = photos_left_out(&answered, history.photos_max);
        let mut notes: Vec<String> = left_out
            .map(|(looked_at, sent)| wording::photos_left_out(looked_at, sent))
            .into_iter()
            .collect();
        for (id, looked) in house.photos.look_at(&wanted).await {
            match looked {
                Ok(looked) => {
                    photos.insert(id, looked);
                }
                Err(fault) => {
                    log_fault(self.id(), &fault);
                    if answered.attachments.iter().any(|attachment| attachment.id == id) {
                        notes.push(wording::photo_not_seen(&fault));
                    }
                }
            }
        }
        Ok(Some(Context { messages, photos, notes }))
    }

    /// Messages may be deleted while the bot is away. What the journal has of the stretch of the
    /// channel that was just read, and Discord doesn't show any more, goes.
    async fn forget_what_is_gone(&self, page: &Page) -> journal::Result<()> {
        let there: HashSet<MessageId> =
            page.messages.iter().map(|message| MessageId(message.id)).collect();
        let from = page.next.map(MessageId);
        let request = self.question.request;
        let before = MessageId(request.trigger.0 + 1);
        self.house
            .in_journal(move |journal| {
                let mut before = before;
                loop {
                    let known = journal.messages(request.channel, Some(before), KNOWN_AT_ONCE)?;
                    for message in &known {
                        if from.is_some_and(|from| message.id < from) {
                            return Ok(());
                        }
                        if !there.contains(&message.id) {
                            journal.forget(Whose::Message(message.id), now_ms())?;
                        }
                    }
                    match known.last() {
                        Some(last) if known.len() == KNOWN_AT_ONCE => before = last.id,
                        _ => return Ok(()),
                    }
                }
            })
            .await
    }

    /// Has the engine write the reply.
    async fn work(&self, context: &Context, photos: PhotoSharing) -> Worked {
        let house = &self.house;
        let pictures =
            context.photos.iter().map(|(id, looked)| (*id, Arc::clone(&looked.pixels))).collect();
        let dialogue = assemble(&context.messages, &house.me, &pictures);
        let work = Work::Reply(house.request(dialogue, self.id(), photos));
        match house.engine.submit(self.origin(), work) {
            Ok(job) => self.follow(job).await,
            Err(refusal) => turned_away(refusal),
        }
    }

    fn origin(&self) -> Origin {
        let request = &self.question.request;
        Origin {
            guild: request.guild.map(|guild| guild.0),
            channel: request.channel.0,
            person: request.asker.0,
        }
    }

    async fn follow(&self, mut job: Job) -> Worked {
        while let Some(event) = job.events.recv().await {
            match event {
                engine::Event::Accepted { ahead } => {
                    tracing::debug!(message = self.id(), ahead, "a reply waits for the model");
                }
                engine::Event::Progress(_) => self.question.begun.store(true, Ordering::Relaxed),
                engine::Event::Done(outcome) => {
                    return match *outcome {
                        Outcome::Reply(reply) => Worked::Reply(reply),
                        Outcome::Picture(_) => {
                            tracing::error!("the engine gave a picture for a dialogue");
                            Worked::Instead(Reason::Failed, wording::failed())
                        }
                    };
                }
                engine::Event::Refused(sentence) => {
                    return Worked::Instead(Reason::Unreadable, wording::refused(&sentence));
                }
                engine::Event::Failed => {
                    return Worked::Instead(Reason::Failed, wording::failed());
                }
                engine::Event::Cancelled => return Worked::Stopped,
            }
        }
        Worked::Stopped
    }

    /// Keeps the reply and what it was made from, before anything of it is sent; nothing where the
    /// message was withdrawn meanwhile.
    async fn prepare(
        &self,
        context: Context,
        reply: Reply,
    ) -> journal::Result<Option<Answer<Bytes>>> {
        let request = self.question.request;
        self.house
            .in_journal(move |journal| {
                let Context { messages, photos, notes } = context;
                let seen: Vec<MessageId> = messages.iter().map(|seen| MessageId(seen.id)).collect();
                let answer = record::answer(&seen, reply, notes);
                for message in &record::context(&request, &messages, &photos) {
                    journal.hear(message, now_ms())?;
                }
                let recorded = journal.prepare(request.trigger, &answer, now_ms())?;
                Ok((recorded == Recorded::Kept).then_some(answer))
            })
            .await
    }

    /// Tells the person why there is no reply, and records that.
    async fn explain(&self, reason: Reason, sentence: String) -> Result<Ending, Halt> {
        self.question.begun.store(true, Ordering::Relaxed);
        let note = note(self.addressee(), sentence);
        let sent = self.house.rest.send(self.channel(), &note).await.map_err(Halt::Unsent)?;
        Ok(self.record_explanation(reason, vec![MessageId(sent)]).await?)
    }

    /// Says which permission is missing. Nobody can look later whether that was said, for that
    /// takes the permission: so it is recorded before, and said once at most.
    async fn explain_permission(&self, need: Need) -> journal::Result<Ending> {
        self.question.begun.store(true, Ordering::Relaxed);
        if self.explained(Reason::NotPermitted, Vec::new()).await? == Recorded::Kept {
            // Without the right to read the history a reply is refused; a plain message is not.
            let plain = Draft {
                replies_to: None,
                ..note(self.addressee(), wording::not_allowed(need, self.question.request.asker.0))
            };
            if let Err(error) = self.house.rest.send(self.channel(), &plain).await {
                log_obstacle(self.id(), &error);
            }
        }
        Ok(Ending::Settled)
    }

    pub(super) async fn record_explanation(
        &self,
        reason: Reason,
        sent: Vec<MessageId>,
    ) -> journal::Result<Ending> {
        self.explained(reason, sent).await?;
        Ok(Ending::Settled)
    }

    async fn explained(&self, reason: Reason, sent: Vec<MessageId>) -> journal::Result<Recorded> {
        let trigger = self.question.request.trigger;
        let explanation = Explanation { reason, sent, finished_ms: now_ms() };
        self.house.in_journal(move |journal| journal.explained(trigger, &explanation)).await
    }

    /// The message is gone: nothing of it stays.
    pub(super) async fn withdraw(&self) -> journal::Result<Ending> {
        let whose = Whose::Message(self.question.request.trigger);
        self.house.in_journal(move |journal| journal.forget(whose, now_ms())).await?;
        tracing::info!(message = self.id(), "the message was deleted before it was answered");
        Ok(Ending::Settled)
    }

    /// Discord doesn't let the channel be read, so there is nothing to answer from.
    async fn unread(&self, error: &RestError) -> journal::Result<Ending> {
        log_obstacle(self.id(), error);
        match error {
            RestError::Forbidden { .. } => self.explain_permission(Need::ReadHistory).await,
            RestError::Gone { .. } => self.record_explanation(Reason::Cancelled, Vec::new()).await,
            error if error.is_final() => self.apologise(wording::failed()).await,
            _ => Ok(Ending::Postponed),
        }
    }

    /// Discord doesn't take what was to be said.
    async fn unsent(&self, error: &RestError) -> journal::Result<Ending> {
        log_obstacle(self.id(), error);
        match error {
            // Nothing else would be taken either.
            RestError::Forbidden { .. } => {
                self.record_explanation(Reason::NotPermitted, Vec::new()).await
            }
            RestError::Gone { .. } => self.record_explanation(Reason::Cancelled, Vec::new()).await,
            error if error.is_final() => self.apologise(wording::reply_not_taken()).await,
            _ => Ok(Ending::Postponed),
        }
    }

    /// Says so where something failed on our side; if that can't be said, it is at least recorded.
    async fn apologise(&self, sentence: String) -> journal::Result<Ending> {
        let note = note(self.addressee(), sentence);
        match self.house.rest.send(self.channel(), &note).await {
            Ok(sent) => self.record_explanation(Reason::Failed, vec![MessageId(sent)]).await,
            Err(error) if error.is_final() => {
                log_obstacle(self.id(), &error);
                self.record_explanation(Reason::Failed, Vec::new()).await
            }
            Err(_) => Ok(Ending::Postponed),
        }
    }
}

/// What follows from the engine's refusal.
fn turned_away(refusal: Refusal) -> Worked {
    match refusal {
        Refusal::QueueFull { waiting } => {
            Worked::Instead(Reason::Overloaded, wording::queue_full(waiting))
        }
        Refusal::PersonLimit { waiting } => {
            Worked::Instead(Reason::Overloaded, wording::person_limit(waiting))
        }
        Refusal::Stopping => Worked::Stopped,
    }
}

/// The reply that an earlier try was about to send.
fn prepared(journal: &Journal, trigger: MessageId) -> journal::Result<Option<Answer<Bytes>>> {
    let Some(answer) = journal.prepared(trigger)? else { return Ok(None) };
    let load = |piece| {
        Ok(match piece {
            Piece::Text(text) => Piece::Text(text),
            Piece::Photo { photo, caption } => {
                Piece::Photo { photo: journal.photo(photo)?.into(), caption }
            }
        })
    };
    let pieces = answer.pieces.into_iter().map(load).collect::<journal::Result<_>>()?;
    Ok(Some(Answer {
        pieces,
        context: answer.context,
        notes: answer.notes,
        sent: answer.sent,
        seed: answer.seed,
        share_probability: answer.share_probability,
        model: answer.model,
        adapter: answer.adapter,
        timings: answer.timings,
        finished_ms: answer.finished_ms,
    }))
}

pub(super) fn log_obstacle(message: u64, error: &RestError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(message, error, "a message can't be answered");
}

fn log_fault(message: u64, fault: &PhotoFault) {
    let fault: &dyn std::error::Error = fault;
    tracing::info!(message, fault, "a photo can't be looked at");
}
