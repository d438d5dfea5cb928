//! Which message is worked on, by whom, and what happens to it meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::task::AbortHandle;

use super::answer::{Arrival, Question, answer};
use super::commands::Spot;
use super::deliver::MISSED_PAGES_MAX;
use super::event::{Ending, Event, Session};
use super::house::{House, now_ms};
use super::upkeep::Upkeep;
use crate::config::Switch;
use crate::discord::commands::Asked;
use crate::discord::{
    Address, AuthorKind, Message, RestError, Server, ServerChange, Servers, address, first_id_at,
    made_at_ms,
};
use crate::journal::{
    self, Acceptance, AuthorId, ChannelId, Explanation, GuildId, Journal, MessageId,
    Place as SeenIn, Reason, Request, State, Whose,
};

/// What was postponed is tried again after this long.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The channel under which the moment of the last start is kept; no real one has this id.
const STARTS: ChannelId = ChannelId(0);

/// A message that is worked on.
struct Running {
    request: Request,
    arrival: Arrival,
    task: AbortHandle,
    /// Set once the model works on it or something is being sent.
    begun: Arc<AtomicBool>,
}

/// Whether Discord has been told of the commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commands {
    Unknown,
    Registered,
}

pub(super) struct Steward {
    house: Arc<House>,
    upkeep: Upkeep,
    events: UnboundedSender<Event>,
    servers: Servers,
    running: HashMap<u64, Running>,
    /// Accepted by an earlier process, and waiting until their server is known.
    left_over: Vec<Request>,
    /// What is to be tried again, and when.
    postponed: BTreeMap<u64, (Instant, Request)>,
    /// Channels whose missed messages are being read: their last seen message stays where it is.
    catching_up: HashSet<u64>,
    commands: Commands,
    /// Where to read on in channels of which nothing has been seen yet.
    baseline: u64,
}

impl Steward {
    pub(super) async fn new(
        house: Arc<House>,
        events: UnboundedSender<Event>,
    ) -> journal::Result<Self> {
        let start = MessageId(first_id_at(now_ms()));
        let (seen, unfinished) = house
            .in_journal(move |journal| {
                let seen = journal.last_seen_everywhere()?;
                journal.seen(STARTS, start, SeenIn::Server)?;
                Ok((seen, journal.unfinished()?))
            })
            .await?;
        let newest = seen.into_iter().map(|(_, message, _)| message).max();
        let mut steward = Self {
            upkeep: Upkeep::new(Arc::clone(&house)),
            house,
            events,
            servers: Servers::default(),
            running: HashMap::new(),
            left_over: Vec::new(),
            postponed: BTreeMap::new(),
            catching_up: HashSet::new(),
            commands: Commands::Unknown,
            baseline: newest.unwrap_or(start).0,
        };
        for request in unfinished {
            if steward.is_too_old(request.trigger.0) {
                steward.give_up(request.trigger).await?;
            } else {
                steward.left_over.push(request);
            }
        }
        Ok(steward)
    }

    /// Acts on an event. An error means that the journal can't be trusted any more.
    pub(super) async fn handle(&mut self, event: Event) -> journal::Result<()> {
        match event {
            Event::Message(message) => {
                self.consider(&message, Arrival::Live).await?;
                if !self.catching_up.contains(&message.channel) {
                    self.has_seen(&message).await?;
                }
            }
            Event::Missed { channel, messages } => {
                for message in &messages {
                    self.consider(message, Arrival::Late).await?;
                }
                self.catching_up.remove(&channel);
                if let Some(last) = messages.last() {
                    self.has_seen(last).await?;
                }
            }
            Event::Edit { message } => self.begin_anew(message),
            Event::Delete { messages } => self.forget(messages).await?,
            Event::Server(change) => self.follow(change).await?,
            Event::Command(asked) => self.obey(*asked).await?,
            Event::Session(Session::New { application }) => {
                tracing::info!("a new session with the gateway");
                self.register_commands(application);
                self.catch_up_directly().await?;
                self.take_up_left_over(None);
            }
            Event::Session(Session::Resumed) => tracing::info!("the session is resumed"),
            Event::Finished { message, ending } => self.has_finished(message, ending),
            Event::Timer => {
                self.try_again().await?;
                self.upkeep.look().await?;
            }
            Event::Broken(error) => return Err(error),
            Event::Closed(_) | Event::Shutdown => {}
        }
        Ok(())
    }

    async fn follow(&mut self, change: ServerChange) -> journal::Result<()> {
        match &change {
            ServerChange::Known(server) => {
                let server = server.clone();
                self.servers.apply(change);
                self.catch_up(&server).await?;
                self.take_up_left_over(Some(server.id));
            }
            // With a channel go its threads, of which Discord says nothing more.
            ServerChange::NoPlace { guild, place } => {
                let mut gone = self.servers.threads_of(*guild, *place);
                gone.push(*place);
                self.servers.apply(change);
                self.forget_places(&gone).await?;
            }
            _ => self.servers.apply(change),
        }
        Ok(())
    }

    /// Takes a message up if it deserves an answer and has none.
    async fn consider(&mut self, message: &Message, arrival: Arrival) -> journal::Result<()> {
        if message.author.kind == AuthorKind::Myself {
            return self.notice_reply(message).await;
        }
        if address(message, &self.house.me) == Address::Elsewhere
            || self.running.contains_key(&message.id)
            || self.postponed.contains_key(&message.id)
            || self.left_over.iter().any(|request| request.trigger.0 == message.id)
            || (arrival == Arrival::Late && self.is_too_old(message.id))
        {
            return Ok(());
        }
        let request = Request {
            trigger: MessageId(message.id),
            channel: ChannelId(message.channel),
            guild: message.guild.map(GuildId),
            asker: AuthorId(message.author.id),
            accepted_ms: now_ms(),
        };
        match self.house.in_journal(move |journal| journal.accept(&request)).await? {
            Acceptance::New => self.start(request, arrival),
            Acceptance::Known(State::Accepted) => self.start(request, Arrival::Late),
            Acceptance::Known(State::Answered | State::Explained | State::Withdrawn) => {}
        }
        Ok(())
    }

    /// A reply is seen before its sending is confirmed: should its question be deleted in between,
    /// it is known what goes with it.
    async fn notice_reply(&self, mine: &Message) -> journal::Result<()> {
        let Some(target) = &mine.reply_to else { return Ok(()) };
        let (reply, question) = (MessageId(mine.id), MessageId(target.id));
        self.house.in_journal(move |journal| journal.sent(question, reply, now_ms())).await
    }

    /// Work that an earlier process left over begins once it is known what the bot may do there.
    fn take_up_left_over(&mut self, guild: Option<u64>) {
        let guild = guild.map(GuildId);
        let here: Vec<Request> =
            self.left_over.extract_if(.., |request| request.guild == guild).collect();
        for request in here {
            self.start(request, Arrival::Late);
        }
    }

    fn start(&mut self, request: Request, arrival: Arrival) {
        let guild = request.guild.map(|guild| guild.0);
        let begun = Arc::new(AtomicBool::new(false));
        let question = Question {
            request,
            arrival,
            permit: self.servers.permit(self.house.me.id, guild, request.channel.0),
            spot: self.spot(guild, request.channel.0),
            begun: Arc::clone(&begun),
        };
        let work = tokio::spawn(answer(Arc::clone(&self.house), question));
        let task = work.abort_handle();
        let events = self.events.clone();
        let message = request.trigger.0;
        tokio::spawn(async move {
            let event = match work.await {
                Ok(Ok(ending)) => Event::Finished { message, ending },
                Ok(Err(error)) => Event::Broken(error),
                // Whoever ended the task on purpose has seen to what follows.
                Err(ended) if ended.is_cancelled() => return,
                Err(_) => {
                    tracing::error!(message, "answering a message panicked");
                    Event::Finished { message, ending: Ending::Postponed }
                }
            };
            // Nobody listens once the daemon has stopped.
            let _ = events.send(event);
        });
        self.running.insert(message, Running { request, arrival, task, begun });
    }

    fn spot(&self, guild: Option<u64>, place: u64) -> Spot {
        let parent = guild.and_then(|guild| self.servers.parent_of(guild, place));
        Spot { guild, parent, place }
    }

    /// Carries a command out. What changes counts for all that the model has not begun with, too;
    /// for what it has, it counts when that is delivered.
    async fn obey(&mut self, asked: Asked) -> journal::Result<()> {
        let spot = self.spot(asked.guild, asked.channel);
        let done = self.house.carry_out(&asked, spot).await?;
        if let Some(realm) = done.changed {
            tracing::info!(?realm, by = asked.person, command = ?asked.command, "settings changed");
            let concerned: Vec<u64> = self
                .running
                .iter()
                .filter(|(_, running)| {
                    let request = &running.request;
                    let guild = request.guild.map(|guild| guild.0);
                    self.spot(guild, request.channel.0).is_in(realm)
                })
                .map(|(message, _)| *message)
                .collect();
            for message in concerned {
                self.begin_anew(message);
            }
        }
        let house = Arc::clone(&self.house);
        tokio::spawn(async move {
            if let Err(error) = house.rest.answer_privately(&asked, &done.answer).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(command = ?asked.command, error, "a command can't be answered");
            }
        });
        Ok(())
    }

    /// Makes the commands known, once in a process.
    fn register_commands(&mut self, application: u64) {
        if std::mem::replace(&mut self.commands, Commands::Registered) == Commands::Registered {
            return;
        }
        let house = Arc::clone(&self.house);
        tokio::spawn(async move {
            if let Err(error) = house.rest.register_commands(application).await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the commands can't be registered; restart to try again");
            }
        });
    }

    /// An edit counts as long as nothing has been made of the older text.
    fn begin_anew(&mut self, message: u64) {
        let untouched = |running: &Running| !running.begun.load(Ordering::Relaxed);
        if self.running.get(&message).is_some_and(untouched)
            && let Some(running) = self.running.remove(&message)
        {
            running.task.abort();
            self.start(running.request, running.arrival);
        }
    }

    /// Work for deleted messages stops, and nothing of them is kept.
    async fn forget(&mut self, messages: Vec<u64>) -> journal::Result<()> {
        for message in &messages {
            self.postponed.remove(message);
            self.left_over.retain(|request| request.trigger.0 != *message);
            if let Some(running) = self.running.remove(message) {
                tracing::info!(message, "the message answered was deleted; its work stops");
                running.task.abort();
            }
        }
        self.house
            .in_journal(move |journal| {
                for message in messages {
                    journal.forget(Whose::Message(MessageId(message)), now_ms())?;
                }
                Ok(())
            })
            .await
    }

    /// All messages of these channels and threads were deleted with them.
    async fn forget_places(&mut self, places: &[u64]) -> journal::Result<()> {
        let is_there = |request: &Request| places.contains(&request.channel.0);
        self.left_over.retain(|request| !is_there(request));
        self.postponed.retain(|_, (_, request)| !is_there(request));
        for (_, running) in self.running.extract_if(|_, running| is_there(&running.request)) {
            running.task.abort();
        }
        let places = places.to_vec();
        self.house
            .in_journal(move |journal| {
                for place in places {
                    journal.forget(Whose::Channel(ChannelId(place)), now_ms())?;
                }
                Ok(())
            })
            .await
    }

    fn has_finished(&mut self, message: u64, ending: Ending) {
        let Some(running) = self.running.remove(&message) else { return };
        if ending == Ending::Postponed {
            self.postponed.insert(message, (Instant::now() + TRY_AGAIN_AFTER, running.request));
        }
    }

    async fn try_again(&mut self) -> journal::Result<()> {
        let now = Instant::now();
        let is_due = |entry: &&(Instant, Request)| entry.0 <= now;
        let due: Vec<Request> =
            self.postponed.values().filter(is_due).map(|(_, request)| *request).collect();
        self.postponed.retain(|_, (when, _)| *when > now);
        for request in due {
            if self.is_too_old(request.trigger.0) {
                self.give_up(request.trigger).await?;
            } else {
                self.start(request, Arrival::Late);
            }
        }
        Ok(())
    }

    fn is_too_old(&self, message: u64) -> bool {
        let age_ms = now_ms().saturating_sub(made_at_ms(message));
        age_ms > self.house.settings.discord.late_answer_max.as_millis() as u64
    }

    /// Nothing more is tried for a message that nobody waits for any longer.
    async fn give_up(&self, message: MessageId) -> journal::Result<()> {
        tracing::warn!(message = message.0, "a message is too old to be answered now");
        let explanation =
            Explanation { reason: Reason::Cancelled, sent: Vec::new(), finished_ms: now_ms() };
        self.house.in_journal(move |journal| journal.explained(message, &explanation)).await?;
        Ok(())
    }

    async fn has_seen(&self, message: &Message) -> journal::Result<()> {
        let place = if message.guild.is_some() { SeenIn::Server } else { SeenIn::Direct };
        let (channel, message) = (ChannelId(message.channel), MessageId(message.id));
        self.house.in_journal(move |journal| journal.seen(channel, message, place)).await
    }

    /// Has the messages read that came to a server while the bot was away.
    async fn catch_up(&mut self, server: &Server) -> journal::Result<()> {
        let late_ms = self.house.settings.discord.late_answer_max.as_millis() as u64;
        let oldest = first_id_at(now_ms().saturating_sub(late_ms));
        let places: Vec<(u64, u64)> = server
            .places
            .iter()
            .filter_map(|(id, place)| Some((*id, place.last_message?)))
            .collect();
        let baseline = self.baseline;
        let behind = self
            .house
            .in_journal(move |journal| {
                let mut behind = Vec::new();
                for (place, last) in places {
                    let seen = journal.last_seen(ChannelId(place))?.map_or(baseline, |id| id.0);
                    let from = seen.max(oldest);
                    if last > from {
                        behind.push((place, from));
                    }
                }
                Ok(behind)
            })
            .await?;
        for (place, from) in behind {
            self.read_on(Some(server.id), place, from);
        }
        Ok(())
    }

    /// Has the private messages read that came while the bot was away. Discord doesn't tell in which
    /// channels there are any.
    async fn catch_up_directly(&mut self) -> journal::Result<()> {
        if self.house.settings.discord.direct_messages == Switch::Off {
            return Ok(());
        }
        let late_ms = self.house.settings.discord.late_answer_max.as_millis() as u64;
        let oldest = first_id_at(now_ms().saturating_sub(late_ms));
        for (channel, seen, place) in self.house.in_journal(Journal::last_seen_everywhere).await? {
            if place == SeenIn::Direct {
                self.read_on(None, channel.0, seen.0.max(oldest));
            }
        }
        Ok(())
    }

    /// Has the messages of a place read from message `from` on.
    fn read_on(&mut self, guild: Option<u64>, place: u64, from: u64) {
        if self.catching_up.insert(place) {
            let (house, events) = (Arc::clone(&self.house), self.events.clone());
            tokio::spawn(read_missed(house, events, guild, place, from));
        }
    }

    /// Lets work that has begun finish within `grace_max`; the rest is taken up at the next start.
    pub(super) async fn finish(
        &mut self,
        inbox: &mut UnboundedReceiver<Event>,
        grace_max: Duration,
    ) -> journal::Result<()> {
        self.running.retain(|_, running| {
            let begun = running.begun.load(Ordering::Relaxed);
            if !begun {
                running.task.abort();
            }
            begun
        });
        let deadline = tokio::time::Instant::now() + grace_max;
        while !self.running.is_empty() {
            match tokio::time::timeout_at(deadline, inbox.recv()).await {
                Ok(Some(Event::Finished { message, .. })) => {
                    self.running.remove(&message);
                }
                Ok(Some(Event::Delete { messages })) => self.forget(messages).await?,
                Ok(Some(Event::Broken(error))) => return Err(error),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        for (message, running) in self.running.drain() {
            tracing::warn!(
                message,
                "a reply was not finished in time; it is taken up at the next start"
            );
            running.task.abort();
        }
        Ok(())
    }
}

impl Drop for Steward {
    /// No work outlives the loop that would hear of its end.
    fn drop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
    }
}

/// Reads what was written after message `from` in a place.
async fn read_missed(
    house: Arc<House>,
    events: UnboundedSender<Event>,
    guild: Option<u64>,
    place: u64,
    from: u64,
) {
    let mut messages: Vec<Message> = Vec::new();
    let mut after = from;
    let mut pages = 0;
    while pages < MISSED_PAGES_MAX {
        match house.rest.messages_after(place, after, &house.me).await {
            Ok(page) => {
                // The REST API doesn't say in which server a message is.
                let known = page.messages.into_iter().map(|m| Message { guild, ..m });
                messages.extend(known);
                pages += 1;
                match page.next {
                    Some(next) => after = next,
                    None => break,
                }
            }
            // What is given up here would never be read: the last seen message moves on.
            Err(RestError::Unreachable { .. }) => tokio::select! {
                () = tokio::time::sleep(TRY_AGAIN_AFTER) => {}
                () = events.closed() => return,
            },
            Err(error) => {
                log_missed(place, &error);
                break;
            }
        }
    }
    // Nobody listens once the daemon has stopped.
    let _ = events.send(Event::Missed { channel: place, messages });
}

fn log_missed(channel: u64, error: &RestError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(channel, error, "missed messages can't be read");
}
