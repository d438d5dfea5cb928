//! One message, from its acceptance to its reply and the record of both.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::event::Ending;
use super::house::{House, now_ms};
use super::record;
use crate::dialogue::Reply;
use crate::discord::{
    Addressee, AuthorKind, Draft, Looked, MESSAGES_MAX, Message, Need, Permit, PhotoFault,
    RestError, Typing, assemble, compose, note, photos_wanted, window, without_files, wording,
};
use crate::engine::{self, Job, Origin, Outcome, Refusal, Work};
use crate::journal::{self, Explanation, MessageId, Reason, Recorded, Request, Whose};
use crate::systems::PhotoSharing;

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
        Err(Halt::Discord(error)) => errand.blocked(&error).await,
    }
}

/// Why an errand ends early.
enum Halt {
    Discord(RestError),
    Journal(journal::Error),
}

impl From<RestError> for Halt {
    fn from(error: RestError) -> Self {
        Self::Discord(error)
    }
}

impl From<journal::Error> for Halt {
    fn from(error: journal::Error) -> Self {
        Self::Journal(error)
    }
}

struct Errand {
    house: Arc<House>,
    question: Question,
}

impl Errand {
    fn id(&self) -> u64 {
        self.question.request.trigger.0
    }

    fn channel(&self) -> u64 {
        self.question.request.channel.0
    }

    fn addressee(&self) -> Addressee {
        Addressee { message: self.id(), person: self.question.request.asker.0 }
    }

    async fn run(&self) -> Result<Ending, Halt> {
        let photos = match self.question.permit {
            Permit::Everything => PhotoSharing::On,
            Permit::TextOnly => PhotoSharing::Off,
            Permit::Explain(need) => return self.explain_permission(need).await,
            Permit::Silence(need) => {
                tracing::warn!(
                    channel = self.channel(),
                    missing = wording::permission_name(need),
                    "a message can't be answered: the bot lacks a permission there"
                );
                return Ok(self.record_explanation(Reason::NotPermitted, Vec::new()).await?);
            }
        };
        let sent_before = match self.question.arrival {
            Arrival::Live => Vec::new(),
            Arrival::Late => self.sent_before().await?,
        };
        if sent_before.iter().any(is_note) {
            let sent = sent_before.iter().map(|message| MessageId(message.id)).collect();
            return Ok(self.record_explanation(Reason::Other, sent).await?);
        }
        let typing = Typing::start(&self.house.rest, self.channel());
        let Some(context) = self.context().await? else {
            return Ok(self.withdraw().await?);
        };
        let worked = self.work(&context, photos).await;
        self.question.begun.store(true, Ordering::Relaxed);
        typing.stop().await;
        match worked {
            Worked::Reply(reply) => self.deliver(context, reply, &sent_before).await,
            Worked::Instead(reason, sentence) => self.explain(reason, sentence).await,
            Worked::Stopped => Ok(Ending::Postponed),
        }
    }

    /// What the bot has sent in answer to this message already, oldest first.
    async fn sent_before(&self) -> Result<Vec<Message>, RestError> {
        let house = &self.house;
        let after =
            house.rest.messages_after(self.channel(), self.id(), MESSAGES_MAX, &house.me).await?;
        let answers_it = |message: &Message| {
            message.author.kind == AuthorKind::Myself
                && message.reply_to.as_ref().is_some_and(|target| target.id == self.id())
        };
        Ok(after.into_iter().filter(answers_it).collect())
    }

    /// The dialogue so far, as it stands now; `None` if the message is not there any more.
    async fn context(&self) -> Result<Option<Context>, RestError> {
        let (house, history) = (&self.house, &self.house.settings.history);
        // One more for the message itself, so that its newest text counts.
        let limit = history.messages_max.saturating_add(1).min(MESSAGES_MAX);
        let mut earlier =
            house.rest.messages_before(self.channel(), self.id() + 1, limit, &house.me).await?;
        let Some(at) = earlier.iter().position(|message| message.id == self.id()) else {
            return Ok(None);
        };
        let answered = earlier.swap_remove(at);
        let messages = window(earlier, &answered, history.age_max);
        let wanted = photos_wanted(&messages, history.photos_max);
        let mut photos = HashMap::new();
        let mut notes = Vec::new();
        for (id, looked) in house.photos.look_at(&wanted).await {
            match looked {
                Ok(looked) => drop(photos.insert(id, looked)),
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

    /// Has the engine write the reply.
    async fn work(&self, context: &Context, photos: PhotoSharing) -> Worked {
        let house = &self.house;
        let pictures =
            context.photos.iter().map(|(id, looked)| (*id, Arc::clone(&looked.pixels))).collect();
        let dialogue = assemble(&context.messages, &house.me, &pictures);
        let request = &self.question.request;
        let origin = Origin {
            guild: request.guild.map(|guild| guild.0),
            channel: request.channel.0,
            person: request.asker.0,
        };
        let work = Work::Reply(house.request(dialogue, self.id(), photos));
        match house.engine.submit(origin, work) {
            Ok(job) => self.follow(job).await,
            Err(Refusal::QueueFull { waiting }) => {
                Worked::Instead(Reason::Overloaded, wording::queue_full(waiting))
            }
            Err(Refusal::PersonLimit { waiting }) => {
                Worked::Instead(Reason::Overloaded, wording::person_limit(waiting))
            }
            Err(Refusal::Stopping) => Worked::Stopped,
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

    /// Sends what has not been sent yet and records the exchange.
    async fn deliver(
        &self,
        context: Context,
        reply: Reply,
        sent_before: &[Message],
    ) -> Result<Ending, Halt> {
        let drafts = compose(self.addressee(), &reply.elements, &context.notes);
        let mut sent: Vec<MessageId> =
            sent_before.iter().map(|message| MessageId(message.id)).collect();
        // The same request and seed write the same reply, so the rest of one that was broken off
        // can follow; should the dialogue have changed since, what was sent stands.
        let same = sent_before.iter().zip(&drafts).all(|(old, new)| old.text == new.content.trim());
        if !same {
            return Ok(self.record_explanation(Reason::Other, sent).await?);
        }
        for draft in drafts.iter().skip(sent.len()) {
            sent.push(MessageId(self.send(draft).await?));
        }
        let request = &self.question.request;
        let mut heard = record::context(request, &context.messages, &context.photos);
        heard.extend(record::delivered(&self.house.me, request, &drafts, &sent));
        let answer = record::answer(&context.messages, reply, sent, now_ms());
        let trigger = self.question.request.trigger;
        let recorded = self
            .house
            .in_journal(move |journal| {
                for message in &heard {
                    journal.hear(message, now_ms())?;
                }
                journal.answered(trigger, &answer)
            })
            .await?;
        match recorded {
            Recorded::Kept => tracing::info!(message = self.id(), "answered"),
            Recorded::Already => tracing::warn!(message = self.id(), "answered before"),
            Recorded::Withdrawn => tracing::info!(message = self.id(), "withdrawn meanwhile"),
        }
        Ok(Ending::Settled)
    }

    /// Sends a message, without its photos where Discord doesn't take them after all.
    async fn send(&self, draft: &Draft) -> Result<u64, RestError> {
        let sent = self.house.rest.send(self.channel(), draft).await;
        match sent {
            Err(RestError::Forbidden { .. } | RestError::TooLarge) if !draft.files.is_empty() => {
                tracing::warn!(channel = self.channel(), "Discord doesn't take a photo there");
                self.house.rest.send(self.channel(), &without_files(draft)).await
            }
            sent => sent,
        }
    }

    /// Tells the person why there is no reply, and records that.
    async fn explain(&self, reason: Reason, sentence: String) -> Result<Ending, Halt> {
        let sent = self.house.rest.send(self.channel(), &note(self.addressee(), sentence)).await?;
        Ok(self.record_explanation(reason, vec![MessageId(sent)]).await?)
    }

    async fn explain_permission(&self, need: Need) -> Result<Ending, Halt> {
        // Without the right to read the history a reply is refused; a plain message is not.
        let plain = Draft {
            replies_to: None,
            ..note(self.addressee(), wording::not_allowed(need, self.question.request.asker.0))
        };
        let sent = self.house.rest.send(self.channel(), &plain).await?;
        Ok(self.record_explanation(Reason::NotPermitted, vec![MessageId(sent)]).await?)
    }

    async fn record_explanation(
        &self,
        reason: Reason,
        sent: Vec<MessageId>,
    ) -> journal::Result<Ending> {
        let trigger = self.question.request.trigger;
        let explanation = Explanation { reason, sent, finished_ms: now_ms() };
        self.house.in_journal(move |journal| journal.explained(trigger, &explanation)).await?;
        Ok(Ending::Settled)
    }

    /// The message is gone: nothing of it stays.
    async fn withdraw(&self) -> journal::Result<Ending> {
        let whose = Whose::Message(self.question.request.trigger);
        self.house.in_journal(move |journal| journal.forget(whose, now_ms())).await?;
        tracing::info!(message = self.id(), "the message was deleted before it was answered");
        Ok(Ending::Settled)
    }

    /// Discord didn't let the errand go on.
    async fn blocked(&self, error: &RestError) -> journal::Result<Ending> {
        log_obstacle(self.id(), error);
        let reason = match error {
            RestError::Unreachable { .. } | RestError::TokenRefused | RestError::Client(_) => {
                return Ok(Ending::Postponed);
            }
            RestError::Forbidden { .. } => Reason::NotPermitted,
            RestError::Gone { .. } => Reason::Cancelled,
            RestError::TooLarge | RestError::Refused { .. } => Reason::Failed,
        };
        self.record_explanation(reason, Vec::new()).await
    }
}

/// Whether a message of the bot's own says nothing but why there is no reply.
fn is_note(message: &Message) -> bool {
    message.attachments.is_empty() && wording::without_notes(&message.text).is_empty()
}

fn log_obstacle(message: u64, error: &RestError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(message, error, "a message can't be answered");
}

fn log_fault(message: u64, fault: &PhotoFault) {
    let fault: &dyn std::error::Error = fault;
    tracing::info!(message, fault, "a photo can't be looked at");
}
