//! What people do in the world, and what they wait for.

use std::time::Duration;

use serde_json::json;
use serenity::model::Permissions;

use super::World;
use super::clock::Snowflake;
use super::draft::{Draft, Edit};
use super::mentions::completed;
use super::model::{
    ChannelKind, DirectMessages, Message, MessageKind, Overwrite, OverwriteTarget, Role, UserKind,
};
use super::post::{Photo, Post};
use super::recording::{Download, Exchange};
use super::state::State;

/// A user of the world: a person, the bot, or another bot.
#[derive(Clone)]
pub struct Person {
    world: World,
    id: Snowflake,
}

/// A server of the world.
#[derive(Clone)]
pub struct Guild {
    world: World,
    id: Snowflake,
}

/// A channel, a thread or a forum post of the world.
#[derive(Clone)]
pub struct Channel {
    world: World,
    id: Snowflake,
}

impl World {
    /// The person of this name, new or known.
    pub fn person(&self, name: &str) -> Person {
        self.user(name, UserKind::Person)
    }

    /// Another bot of this name, new or known.
    pub fn other_bot(&self, name: &str) -> Person {
        self.user(name, UserKind::Bot)
    }

    fn user(&self, name: &str, kind: UserKind) -> Person {
        let id = self.change(|state| {
            let known = state.users.values().find(|user| user.name == name && user.kind == kind);
            match known {
                Some(user) => user.id,
                None => state.add_user(name, kind),
            }
        });
        Person { world: self.clone(), id }
    }

    /// The bot that is tested.
    pub fn bot(&self) -> Person {
        Person { world: self.clone(), id: self.look(|state| state.bot) }
    }

    /// A new guild with the bot in it.
    pub fn guild(&self, name: &str) -> Guild {
        Guild { world: self.clone(), id: self.change(|state| state.add_guild(name)) }
    }

    /// Discord shows a preview of a link in a message: the message changes, but nobody edited it.
    pub fn unfurls(&self, message: &Message, title: &str) {
        self.change(|state| {
            let posted = state.messages.get_mut(&message.id).expect("a message of this world");
            posted.embeds = json!([{ "type": "link", "title": title }]);
            state.tell_message("MESSAGE_UPDATE", message.id);
        });
    }

    /// A message as it stands now, or as it was when it was deleted.
    pub fn message(&self, id: Snowflake) -> Message {
        self.look(|state| state.messages.get(&id).or_else(|| state.deleted.get(&id)).cloned())
            .expect("a message of this world")
    }

    /// The bot's reply to `question`; panics when none comes in time.
    pub async fn wait_for_reply(&self, question: &Message) -> Message {
        self.wait_until(&format!("a reply to {:?}", question.content), |state| {
            replies(state, question.id).next().cloned()
        })
        .await
    }

    /// The bot's replies to `question` so far, oldest first.
    pub fn replies_to(&self, question: &Message) -> Vec<Message> {
        self.look(|state| replies(state, question.id).cloned().collect())
    }

    /// What the bot has said in `channel` so far, oldest first.
    pub fn said_by_bot(&self, channel: &Channel) -> Vec<Message> {
        self.look(|state| {
            let said =
                |message: &&Message| message.channel == channel.id && message.author == state.bot;
            state.messages.values().filter(said).cloned().collect()
        })
    }

    /// Waits until the bot has said `count` messages in `channel`, and gives them.
    pub async fn wait_for_messages(&self, channel: &Channel, count: usize) -> Vec<Message> {
        self.wait_for(&format!("{count} messages of the bot"), || {
            let said = self.said_by_bot(channel);
            (said.len() >= count).then_some(said)
        })
        .await
    }

    /// Waits until the bot is connected and has been told of its guilds.
    pub async fn wait_for_bot(&self) {
        self.wait_until("the bot on the gateway", |state| {
            state.sessions.iter().any(super::gateway::Session::is_connected).then_some(())
        })
        .await;
    }

    /// Waits until the bot is seen typing in `channel`.
    pub async fn wait_for_typing(&self, channel: &Channel) {
        let channel = channel.id;
        self.wait_until("the bot typing", |state| {
            state.is_typing(state.bot, channel).then_some(())
        })
        .await;
    }

    /// Whether the bot is seen typing in `channel` now.
    pub fn bot_is_typing(&self, channel: &Channel) -> bool {
        self.look(|state| state.is_typing(state.bot, channel.id))
    }

    /// Every request on `route`, written `POST /channels/{channel_id}/messages`, so far.
    pub fn requests(&self, route: &str) -> Vec<Exchange> {
        self.look(|state| state.exchanges.iter().filter(|e| e.is(route)).cloned().collect())
    }

    /// Every request so far.
    pub fn all_requests(&self) -> Vec<Exchange> {
        self.look(|state| state.exchanges.clone())
    }

    /// Every file asked for so far.
    pub fn downloads(&self) -> Vec<Download> {
        self.look(|state| state.downloads.clone())
    }

    /// Waits until `route` has been asked `count` times, and gives the requests.
    pub async fn wait_for_requests(&self, route: &str, count: usize) -> Vec<Exchange> {
        self.wait_for(&format!("{count} × {route}"), || {
            let asked = self.requests(route);
            (asked.len() >= count).then_some(asked)
        })
        .await
    }

    /// How often the bot has identified itself on the gateway.
    pub fn identifies(&self) -> usize {
        self.look(|state| state.identifies)
    }

    /// How often the bot has resumed.
    pub fn resumes(&self) -> usize {
        self.look(|state| state.resumes)
    }

    /// Waits until `found` finds something; panics, naming `what`, when it doesn't in time.
    pub async fn wait_for<T>(&self, what: &str, found: impl Fn() -> Option<T>) -> T {
        let mut changed = self.shared.changed.subscribe();
        let at_most = *self.shared.patience.lock().expect("nobody panics with it");
        let waited = tokio::time::timeout(at_most, async {
            loop {
                if let Some(found) = found() {
                    return found;
                }
                changed.changed().await.expect("the world outlives its handles");
            }
        });
        waited
            .await
            .unwrap_or_else(|_| panic!("waited {at_most:?} for {what}; so far:\n{}", self.story()))
    }

    async fn wait_until<T>(&self, what: &str, found: impl Fn(&State) -> Option<T>) -> T {
        self.wait_for(what, || self.look(&found)).await
    }

    /// The requests so far in one line each, for a failed test's message.
    fn story(&self) -> String {
        let line = |e: &Exchange| format!("  {} {} → {:?}", e.method, e.path, e.status);
        self.all_requests().iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn replies(state: &State, to: Snowflake) -> impl Iterator<Item = &Message> {
    let by_bot = |message: &&Message| message.author == state.bot;
    state.messages.values().filter(by_bot).filter(move |message| message.replies_to == Some(to))
}

impl Person {
    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub fn id(&self) -> Snowflake {
        self.id
    }

    /// The mention of this person as it stands in a message.
    pub fn mention(&self) -> String {
        format!("<@{}>", self.id)
    }

    /// Posts in a channel.
    pub fn says(&self, channel: &Channel, post: impl Into<Post>) -> Message {
        self.post(channel.id, post.into(), None)
    }

    /// Replies to a message, pinging its author.
    pub fn replies_to(&self, message: &Message, post: impl Into<Post>) -> Message {
        self.post(message.channel, post.into(), Some(message.id))
    }

    /// Writes to the bot privately.
    pub fn writes_to_bot(&self, post: impl Into<Post>) -> Message {
        let channel = self.direct_channel();
        self.says(&channel, post)
    }

    /// The direct channel between this person and the bot.
    pub fn direct_channel(&self) -> Channel {
        let id = self.world.change(|state| state.direct_channel(self.id));
        Channel { world: self.world.clone(), id }
    }

    /// Lets no bot write privately any more.
    pub fn closes_direct_messages(&self) {
        self.world.change(|state| {
            let user = state.users.get_mut(&self.id).expect("a person of this world");
            user.direct_messages = DirectMessages::Closed;
        });
    }

    fn post(&self, channel: Snowflake, post: Post, replies_to: Option<Snowflake>) -> Message {
        self.world.change(|state| {
            if let Some(guild) = state.channels[&channel].guild {
                state.join(guild, self.id);
            }
            let attachments = post
                .photos
                .into_iter()
                .map(|photo| {
                    let Photo { filename, content_type, description, bytes, host } = photo;
                    state.attachment(filename, content_type, description, bytes, host)
                })
                .collect();
            let content = completed(post.text.trim(), state.users.values());
            let kind = if replies_to.is_some() { MessageKind::Reply } else { MessageKind::Default };
            let draft = Draft::new(channel, self.id, content);
            let id = state.post(Draft { kind, attachments, replies_to, ..draft });
            state.messages[&id].clone()
        })
    }

    /// Changes the text of one's message.
    pub fn edits(&self, message: &Message, text: &str) -> Message {
        self.world.change(|state| {
            let content = completed(text.trim(), state.users.values());
            state.edit(message.id, Edit { content: Some(content), ..Edit::default() });
            state.messages[&message.id].clone()
        })
    }

    /// Deletes a message, one's own or as a moderator.
    pub fn deletes(&self, message: &Message) {
        self.world.change(|state| state.delete(message.channel, &[message.id]));
    }

    /// Deletes messages of one channel at once, as a moderator's tool does.
    pub fn deletes_all(&self, messages: &[&Message]) {
        let ids: Vec<_> = messages.iter().map(|message| message.id).collect();
        if let Some(first) = messages.first() {
            self.world.change(|state| state.delete(first.channel, &ids));
        }
    }

    pub fn reacts(&self, message: &Message, emoji: &str) {
        self.world.change(|state| state.react(self.id, message.id, emoji));
    }

    pub fn takes_back_reaction(&self, message: &Message, emoji: &str) {
        self.world.change(|state| state.unreact(self.id, message.id, emoji));
    }

    pub fn types_in(&self, channel: &Channel) {
        self.world.change(|state| state.start_typing(self.id, channel.id));
    }

    /// Starts a thread on a message.
    pub fn starts_thread(&self, message: &Message, name: &str) -> Channel {
        let id = self.world.change(|state| {
            let kind = ChannelKind::PublicThread;
            state.add_thread(kind, message.channel, name, self.id, Some(message.id))
        });
        Channel { world: self.world.clone(), id }
    }

    /// Opens a post in a forum with its first message.
    pub fn opens_post(
        &self,
        forum: &Channel,
        title: &str,
        post: impl Into<Post>,
    ) -> (Channel, Message) {
        let kind = ChannelKind::PublicThread;
        let id = self.world.change(|state| state.add_thread(kind, forum.id, title, self.id, None));
        let thread = Channel { world: self.world.clone(), id };
        let message = self.says(&thread, post);
        (thread, message)
    }
}

impl Guild {
    pub(super) fn world(&self) -> &World {
        &self.world
    }

    pub fn id(&self) -> Snowflake {
        self.id
    }

    pub fn text_channel(&self, name: &str) -> Channel {
        self.channel(ChannelKind::Text, name)
    }

    pub fn forum(&self, name: &str) -> Channel {
        self.channel(ChannelKind::Forum, name)
    }

    fn channel(&self, kind: ChannelKind, name: &str) -> Channel {
        let id = self.world.change(|state| state.add_channel(kind, self.id, name));
        Channel { world: self.world.clone(), id }
    }

    /// Makes somebody a member.
    pub fn admits(&self, person: &Person) {
        self.world.change(|state| state.join(self.id, person.id));
    }

    /// A new role that gives `permissions` on top of everyone's.
    pub fn role(&self, name: &str, permissions: Permissions) -> Snowflake {
        self.world.change(|state| {
            let id = state.clock.next_id();
            let role = Role { id, name: name.to_owned(), permissions, mentionable: false };
            state.guilds.get_mut(&self.id).expect("a guild of this world").roles.insert(id, role);
            id
        })
    }

    /// Gives a role to a member.
    pub fn gives(&self, role: Snowflake, person: &Person) {
        self.world.change(|state| {
            state.join(self.id, person.id);
            let guild = state.guilds.get_mut(&self.id).expect("a guild of this world");
            guild.members.get_mut(&person.id).expect("just joined").roles.push(role);
        });
    }

    /// Puts the bot out.
    pub fn expels_bot(&self) {
        self.world.change(|state| state.remove_guild(self.id));
    }
}

impl Channel {
    pub fn id(&self) -> Snowflake {
        self.id
    }

    pub fn is_age_restricted(&self, restricted: bool) {
        self.world.change(|state| {
            state.change_channel(self.id, |channel| channel.age_restricted = restricted);
        });
    }

    /// Takes `permissions` from somebody in this channel.
    pub fn denies(&self, person: &Person, permissions: Permissions) {
        self.overwrite(person, Permissions::empty(), permissions);
    }

    /// Gives `permissions` to somebody in this channel.
    pub fn allows(&self, person: &Person, permissions: Permissions) {
        self.overwrite(person, permissions, Permissions::empty());
    }

    fn overwrite(&self, person: &Person, allow: Permissions, deny: Permissions) {
        let target = OverwriteTarget::Member(person.id);
        self.world.change(|state| {
            state.change_channel(self.id, |channel| {
                channel.overwrites.retain(|overwrite| overwrite.target != target);
                channel.overwrites.push(Overwrite { target, allow, deny });
            });
        });
    }

    /// Posts through an incoming webhook.
    pub fn webhook_says(&self, name: &str, text: &str) -> Message {
        self.world.change(|state| {
            let author = state.add_user(name, UserKind::Bot);
            let draft = Draft::new(self.id, author, text.to_owned());
            let id = state.post(Draft { webhook: Some(author), ..draft });
            state.messages[&id].clone()
        })
    }

    /// Locks and archives a thread.
    pub fn is_locked(&self) {
        self.world.change(|state| {
            state.change_channel(self.id, |thread| (thread.locked, thread.archived) = (true, true));
        });
    }

    pub fn is_removed(&self) {
        self.world.change(|state| state.remove_channel(self.id));
    }

    /// Everything in the channel now, oldest first, ephemeral messages included.
    pub fn history(&self) -> Vec<Message> {
        self.world.look(|state| {
            let here = |message: &&Message| message.channel == self.id;
            state.messages.values().filter(here).cloned().collect()
        })
    }
}

/// A pause that lets what must not happen happen.
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}
