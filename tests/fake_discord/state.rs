//! The state of the fake world and its transitions. Each transition also tells the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use serenity::model::{Permissions, gateway::GatewayIntents};

use super::clock::{Clock, Moment, Snowflake};
use super::draft::{Draft, Edit};
use super::faults::Faults;
use super::gateway::Session;
use super::mentions::AllowedMentions;
use super::model::{
    Attachment, Channel, ChannelKind, Command, DirectMessages, FileHost, Guild, Interaction,
    Member, Message, Reaction, Role, Typing, User, UserKind,
};
use super::permissions;
use super::recording::{Download, Exchange};
use super::rest::Buckets;

/// Everything that is true in this world.
pub struct State {
    pub clock: Clock,
    /// What the bot must show, without `Bot `.
    pub token: String,
    pub bot: Snowflake,
    pub application: Snowflake,
    /// The server's address, `127.0.0.1:port`.
    pub address: String,
    /// The privileged intents that the application has been granted.
    pub privileged_intents: GatewayIntents,
    /// What hello tells clients.
    pub heartbeat_interval: Duration,
    /// How many shards clients are told to use.
    pub shards: usize,
    pub users: BTreeMap<Snowflake, User>,
    pub guilds: BTreeMap<Snowflake, Guild>,
    pub channels: BTreeMap<Snowflake, Channel>,
    pub messages: BTreeMap<Snowflake, Message>,
    /// Messages that were there once.
    pub deleted: BTreeMap<Snowflake, Message>,
    pub files: BTreeMap<Snowflake, (Snowflake, Attachment)>,
    pub commands: Vec<Command>,
    /// How many commands were created in each place today.
    pub command_creations: BTreeMap<Option<Snowflake>, usize>,
    pub interactions: BTreeMap<Snowflake, Interaction>,
    pub typing: Vec<Typing>,
    pub sessions: Vec<Session>,
    pub buckets: Buckets,
    pub identifies: usize,
    pub resumes: usize,
    pub faults: Faults,
    pub exchanges: Vec<Exchange>,
    pub downloads: Vec<Download>,
}

impl State {
    /// An empty world with one bot in it.
    pub fn new(address: String) -> Self {
        let mut clock = Clock::default();
        let (bot, application) = (clock.next_id(), clock.next_id());
        let user = User {
            id: bot,
            name: "bot".into(),
            kind: UserKind::Bot,
            direct_messages: DirectMessages::Closed,
        };
        Self {
            clock,
            token: format!("{bot}.fake.token"),
            bot,
            application,
            address,
            privileged_intents: GatewayIntents::MESSAGE_CONTENT,
            heartbeat_interval: Duration::from_millis(41_250),
            shards: 1,
            users: BTreeMap::from([(bot, user)]),
            guilds: BTreeMap::new(),
            channels: BTreeMap::new(),
            messages: BTreeMap::new(),
            deleted: BTreeMap::new(),
            files: BTreeMap::new(),
            commands: Vec::new(),
            command_creations: BTreeMap::new(),
            interactions: BTreeMap::new(),
            typing: Vec::new(),
            sessions: Vec::new(),
            buckets: Buckets::default(),
            identifies: 0,
            resumes: 0,
            faults: Faults::default(),
            exchanges: Vec::new(),
            downloads: Vec::new(),
        }
    }

    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    pub fn add_user(&mut self, name: &str, kind: UserKind) -> Snowflake {
        let id = self.clock.next_id();
        let direct_messages = DirectMessages::Open;
        self.users.insert(id, User { id, name: name.to_owned(), kind, direct_messages });
        id
    }

    /// A new guild with the bot in it, owned by somebody who is never heard of.
    pub fn add_guild(&mut self, name: &str) -> Snowflake {
        let id = self.clock.next_id();
        let owner = self.add_user(&format!("owner of {name}"), UserKind::Person);
        let everyone = Role {
            id,
            name: "@everyone".into(),
            permissions: permissions::of_newcomers(),
            mentionable: false,
        };
        let guild = Guild {
            id,
            name: name.to_owned(),
            owner,
            roles: BTreeMap::from([(id, everyone)]),
            members: BTreeMap::new(),
            lifted_commands: std::collections::BTreeSet::new(),
        };
        self.guilds.insert(id, guild);
        self.join(id, owner);
        self.join(id, self.bot);
        self.announce_guild(id);
        id
    }

    /// Makes `user` a member, if not one already.
    pub fn join(&mut self, guild: Snowflake, user: Snowflake) {
        let joined = self.now();
        let members = &mut self.guilds.get_mut(&guild).expect("a known guild").members;
        if members.contains_key(&user) {
            return;
        }
        members.insert(user, Member { roles: Vec::new(), nick: None, joined });
        if user != self.bot {
            let mut member = self.member_json(guild, user);
            member["guild_id"] = json!(guild);
            self.tell_guild(guild, "GUILD_MEMBER_ADD", &member);
        }
    }

    pub fn add_channel(&mut self, kind: ChannelKind, guild: Snowflake, name: &str) -> Snowflake {
        let id = self.clock.next_id();
        let channel = Channel {
            id,
            kind,
            guild: Some(guild),
            name: name.to_owned(),
            age_restricted: false,
            overwrites: Vec::new(),
            parent: None,
            people: Vec::new(),
            archived: false,
            locked: false,
            last_message: None,
        };
        self.channels.insert(id, channel);
        let data = self.channel_json(id, self.bot);
        self.tell_guild(guild, "CHANNEL_CREATE", &data);
        id
    }

    /// A thread under `parent`; `id` is the starting message's, or a new one.
    pub fn add_thread(
        &mut self,
        kind: ChannelKind,
        parent: Snowflake,
        name: &str,
        owner: Snowflake,
        starter: Option<Snowflake>,
    ) -> Snowflake {
        let id = starter.unwrap_or_else(|| self.clock.next_id());
        let place = &self.channels[&parent];
        let (guild, age_restricted) = (place.guild, place.age_restricted);
        let thread = Channel {
            id,
            kind,
            guild,
            name: name.to_owned(),
            age_restricted,
            overwrites: Vec::new(),
            parent: Some(parent),
            people: vec![owner],
            archived: false,
            locked: false,
            last_message: None,
        };
        self.channels.insert(id, thread);
        let mut data = self.channel_json(id, self.bot);
        data["newly_created"] = json!(true);
        self.tell_channel(id, "THREAD_CREATE", &data);
        id
    }

    /// The direct channel of the bot and `user`, made when there is none.
    pub fn direct_channel(&mut self, user: Snowflake) -> Snowflake {
        let bot = self.bot;
        let found = self
            .channels
            .values()
            .find(|channel| channel.kind == ChannelKind::Direct && channel.people == [user, bot]);
        if let Some(channel) = found {
            return channel.id;
        }
        let id = self.clock.next_id();
        let channel = Channel {
            id,
            kind: ChannelKind::Direct,
            guild: None,
            name: String::new(),
            age_restricted: false,
            overwrites: Vec::new(),
            parent: None,
            people: vec![user, bot],
            archived: false,
            locked: false,
            last_message: None,
        };
        self.channels.insert(id, channel);
        id
    }

    /// Changes a channel and tells the gateway.
    pub fn change_channel(&mut self, id: Snowflake, change: impl FnOnce(&mut Channel)) {
        let channel = self.channels.get_mut(&id).expect("a known channel");
        change(channel);
        let event = if channel.kind.is_thread() { "THREAD_UPDATE" } else { "CHANNEL_UPDATE" };
        let Some(guild) = channel.guild else { return };
        let data = self.channel_json(id, self.bot);
        self.tell_guild(guild, event, &data);
    }

    pub fn remove_channel(&mut self, id: Snowflake) {
        let data = self.channel_json(id, self.bot);
        let channel = self.channels.remove(&id).expect("a known channel");
        let event = if channel.kind.is_thread() { "THREAD_DELETE" } else { "CHANNEL_DELETE" };
        if let Some(guild) = channel.guild {
            self.tell_guild(guild, event, &data);
        }
        let (gone, kept) =
            std::mem::take(&mut self.messages).into_iter().partition(|(_, m)| m.channel == id);
        self.messages = kept;
        self.deleted.extend::<BTreeMap<_, _>>(gone);
    }

    /// The bot leaves, or is put out.
    pub fn remove_guild(&mut self, id: Snowflake) {
        self.tell_guild(id, "GUILD_DELETE", &json!({ "id": id }));
        self.guilds.remove(&id);
        self.channels.retain(|_, channel| channel.guild != Some(id));
    }

    /// Posts a message, tells the gateway, and returns its id.
    pub fn post(&mut self, draft: Draft) -> Snowflake {
        let id = self.clock.next_id();
        let channel = &self.channels[&draft.channel];
        let answered = draft.replies_to.and_then(|to| self.messages.get(&to)).map(|m| m.author);
        let pings = self.pings(
            draft.author,
            channel,
            &draft.content,
            &draft.allowed_mentions,
            answered.filter(|&author| author != draft.author),
        );
        for file in &draft.attachments {
            self.files.insert(file.id, (draft.channel, file.clone()));
        }
        let message = Message {
            id,
            kind: draft.kind,
            channel: draft.channel,
            author: draft.author,
            content: draft.content,
            attachments: draft.attachments,
            pings,
            replies_to: draft.replies_to,
            edited: None,
            reactions: Vec::new(),
            nonce: draft.nonce,
            flags: draft.flags,
            components: draft.components,
            embeds: draft.embeds,
            webhook: draft.webhook,
            interaction: draft.interaction,
        };
        let public = !message.is_ephemeral();
        self.messages.insert(id, message);
        if public {
            let channel = self.channels.get_mut(&draft.channel).expect("looked up above");
            channel.last_message = Some(id);
            self.typing.retain(|t| (t.user, t.channel) != (draft.author, draft.channel));
            self.tell_message("MESSAGE_CREATE", id);
        }
        id
    }

    /// Changes a message and tells the gateway.
    pub fn edit(&mut self, id: Snowflake, edit: Edit) {
        let now = self.now();
        let (author, channel) = (self.messages[&id].author, self.messages[&id].channel);
        let pings = edit.content.as_ref().map(|content| {
            let allowed = edit.allowed_mentions.clone().unwrap_or_else(AllowedMentions::all);
            self.pings(author, &self.channels[&channel], content, &allowed, None)
        });
        for file in edit.attachments.iter().flatten() {
            self.files.insert(file.id, (channel, file.clone()));
        }
        let message = self.messages.get_mut(&id).expect("looked up above");
        message.edited = Some(now);
        message.content = edit.content.unwrap_or_else(|| std::mem::take(&mut message.content));
        message.pings = pings.unwrap_or_else(|| std::mem::take(&mut message.pings));
        if let Some(attachments) = edit.attachments {
            message.attachments = attachments;
        }
        if let Some(components) = edit.components {
            message.components = components;
        }
        if let Some(embeds) = edit.embeds {
            message.embeds = embeds;
        }
        if let Some(flags) = edit.flags {
            message.flags = flags;
        }
        if !message.is_ephemeral() {
            self.tell_message("MESSAGE_UPDATE", id);
        }
    }

    /// Deletes messages of one channel: one event for one, a bulk event for more.
    pub fn delete(&mut self, channel: Snowflake, ids: &[Snowflake]) {
        let mut public = Vec::new();
        for id in ids {
            if let Some(message) = self.messages.remove(id) {
                if !message.is_ephemeral() {
                    public.push(*id);
                }
                for file in &message.attachments {
                    self.files.remove(&file.id);
                }
                self.deleted.insert(*id, message);
            }
        }
        let guild = self.channels[&channel].guild;
        let (event, mut data) = match public.as_slice() {
            [] => return,
            [id] => ("MESSAGE_DELETE", json!({ "id": id, "channel_id": channel })),
            ids => ("MESSAGE_DELETE_BULK", json!({ "ids": ids, "channel_id": channel })),
        };
        if let Some(guild) = guild {
            data["guild_id"] = json!(guild);
        }
        self.tell_channel(channel, event, &data);
    }

    /// Adds a reaction; nothing happens when it is there.
    pub fn react(&mut self, user: Snowflake, message: Snowflake, emoji: &str) {
        let reactions = &mut self.messages.get_mut(&message).expect("a known message").reactions;
        match reactions.iter_mut().find(|reaction| reaction.emoji == emoji) {
            Some(reaction) if reaction.users.contains(&user) => return,
            Some(reaction) => reaction.users.push(user),
            None => reactions.push(Reaction { emoji: emoji.to_owned(), users: vec![user] }),
        }
        self.tell_reaction("MESSAGE_REACTION_ADD", user, message, emoji);
    }

    /// Takes a reaction back; whether there was one.
    pub fn unreact(&mut self, user: Snowflake, message: Snowflake, emoji: &str) -> bool {
        let reactions = &mut self.messages.get_mut(&message).expect("a known message").reactions;
        let Some(reaction) = reactions.iter_mut().find(|reaction| reaction.emoji == emoji) else {
            return false;
        };
        let Some(at) = reaction.users.iter().position(|&u| u == user) else { return false };
        reaction.users.remove(at);
        reactions.retain(|reaction| !reaction.users.is_empty());
        self.tell_reaction("MESSAGE_REACTION_REMOVE", user, message, emoji);
        true
    }

    fn tell_reaction(&mut self, event: &str, user: Snowflake, message: Snowflake, emoji: &str) {
        let posted = &self.messages[&message];
        let channel = posted.channel;
        let mut data = json!({
            "user_id": user,
            "channel_id": channel,
            "message_id": message,
            "emoji": { "id": null, "name": emoji },
            "burst": false,
            "type": 0,
        });
        if let Some(guild) = self.channels[&channel].guild {
            data["guild_id"] = json!(guild);
            if event == "MESSAGE_REACTION_ADD" {
                data["member"] = self.member_json(guild, user);
            }
        }
        if event == "MESSAGE_REACTION_ADD" {
            data["message_author_id"] = json!(posted.author);
        }
        self.tell_channel(channel, event, &data);
    }

    /// Shows `user` typing.
    pub fn start_typing(&mut self, user: Snowflake, channel: Snowflake) {
        let at = self.now();
        self.typing.retain(|typing| (typing.user, typing.channel) != (user, channel));
        self.typing.push(Typing { user, channel, at });
        let mut data = json!({ "channel_id": channel, "user_id": user, "timestamp": at.unix_s() });
        if let Some(guild) = self.channels[&channel].guild {
            data["guild_id"] = json!(guild);
            data["member"] = self.member_json(guild, user);
        }
        self.tell_channel(channel, "TYPING_START", &data);
    }

    /// Whether `user`'s typing indicator is to be seen now.
    pub fn is_typing(&self, user: Snowflake, channel: Snowflake) -> bool {
        let now = self.now();
        self.typing.iter().any(|typing| {
            (typing.user, typing.channel) == (user, channel)
                && typing.at.until(now) < Duration::from_secs(10)
        })
    }

    /// A file for a message to be.
    pub fn attachment(
        &mut self,
        filename: String,
        content_type: String,
        description: Option<String>,
        bytes: Vec<u8>,
        host: FileHost,
    ) -> Attachment {
        let size = picture_size(&bytes);
        let (id, bytes) = (self.clock.next_id(), Arc::new(bytes));
        Attachment { id, filename, content_type, description, bytes, size, host }
    }

    /// What the bot may do in `channel`.
    pub fn bot_permissions(&self, channel: &Channel) -> Permissions {
        self.permissions(self.bot, channel)
    }
}

/// Width and height, read from the header alone.
fn picture_size(bytes: &[u8]) -> Option<(u32, u32)> {
    image::ImageReader::new(std::io::Cursor::new(bytes))
        .with_guessed_format()
        .ok()?
        .into_dimensions()
        .ok()
}
