//! How the world looks on the wire (API v10).

use serde_json::{Value, json};
use serenity::model::Permissions;
use serenity::model::gateway::GatewayIntents;

use super::clock::{Moment, Snowflake};
use super::model::{
    Attachment, Channel, ChannelKind, Command, FileHost, Guild, Interaction, Message, Overwrite,
    OverwriteTarget, Role, User, UserKind,
};
use super::rest::cdn;
use super::rest::interactions::kind;
use super::state::State;

/// Joins the fields of two objects; `more` wins.
pub fn with(mut object: Value, more: Value) -> Value {
    if let (Value::Object(fields), Value::Object(more)) = (&mut object, more) {
        fields.extend(more);
    }
    object
}

impl User {
    pub fn json(&self) -> Value {
        let mut user = json!({
            "id": self.id,
            "username": self.name,
            "discriminator": "0",
            "global_name": null,
            "avatar": null,
            "public_flags": 0,
            "flags": 0,
            "primary_guild": null,
        });
        if self.kind == UserKind::Bot {
            user["bot"] = json!(true);
        }
        user
    }
}

impl Role {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "permissions": self.permissions.bits().to_string(),
            "position": 0,
            "color": 0,
            "colors": { "primary_color": 0, "secondary_color": null, "tertiary_color": null },
            "hoist": false,
            "managed": false,
            "mentionable": self.mentionable,
            "icon": null,
            "unicode_emoji": null,
            "flags": 0,
        })
    }
}

impl Overwrite {
    fn json(&self) -> Value {
        let (id, kind) = match self.target {
            OverwriteTarget::Role(id) => (id, 0),
            OverwriteTarget::Member(id) => (id, 1),
        };
        json!({
            "id": id,
            "type": kind,
            "allow": self.allow.bits().to_string(),
            "deny": self.deny.bits().to_string(),
        })
    }
}

impl Command {
    /// The command with what Discord adds to it.
    pub fn json(&self, application: Snowflake) -> Value {
        let fixed = json!({
            "id": self.id,
            "application_id": application,
            "version": self.version,
            "type": self.kind(),
        });
        let defaults = json!({
            "default_member_permissions": null,
            "description": "",
            "name_localizations": null,
            "description_localizations": null,
            "nsfw": false,
            "integration_types": [0],
            "contexts": null,
        });
        let mut command = with(with(defaults, self.definition.clone()), fixed);
        match self.guild {
            Some(guild) => command["guild_id"] = json!(guild),
            None => command["dm_permission"] = json!(true),
        }
        command
    }
}

impl Guild {
    /// A guild, as REST and `GUILD_CREATE` both have it.
    pub fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "owner_id": self.owner,
            "roles": self.roles.values().map(Role::json).collect::<Vec<_>>(),
            "emojis": [],
            "stickers": [],
            "features": [],
            "icon": null,
            "description": null,
            "home_header": null,
            "splash": null,
            "discovery_splash": null,
            "banner": null,
            "application_id": null,
            "region": "us-west",
            "afk_channel_id": null,
            "afk_timeout": 300,
            "system_channel_id": null,
            "system_channel_flags": 0,
            "widget_enabled": false,
            "widget_channel_id": null,
            "verification_level": 0,
            "default_message_notifications": 0,
            "mfa_level": 0,
            "explicit_content_filter": 0,
            "max_presences": null,
            "max_members": 500_000,
            "max_stage_video_channel_users": 50,
            "max_video_channel_users": 25,
            "vanity_url_code": null,
            "premium_tier": 0,
            "premium_subscription_count": 0,
            "preferred_locale": "en-US",
            "rules_channel_id": null,
            "safety_alerts_channel_id": null,
            "public_updates_channel_id": null,
            "premium_progress_bar_enabled": false,
            "nsfw": false,
            "nsfw_level": 0,
            "incidents_data": null,
        })
    }
}

impl State {
    pub fn user_json(&self, user: Snowflake) -> Value {
        self.users[&user].json()
    }

    /// A member with the user in it.
    pub fn member_json(&self, guild: Snowflake, user: Snowflake) -> Value {
        with(self.partial_member_json(guild, user), json!({ "user": self.user_json(user) }))
    }

    /// A member as it hangs on a message.
    pub fn partial_member_json(&self, guild: Snowflake, user: Snowflake) -> Value {
        let Some(member) = self.guilds[&guild].members.get(&user) else { return Value::Null };
        json!({
            "roles": member.roles,
            "nick": member.nick,
            "joined_at": member.joined,
            "avatar": null,
            "banner": null,
            "communication_disabled_until": null,
            "premium_since": null,
            "flags": 0,
            "pending": false,
            "mute": false,
            "deaf": false,
        })
    }

    /// A channel as `viewer` sees it.
    pub fn channel_json(&self, id: Snowflake, viewer: Snowflake) -> Value {
        let channel = &self.channels[&id];
        let base = json!({
            "id": id,
            "type": channel.kind.code(),
            "last_message_id": channel.last_message,
            "flags": 0,
        });
        let own = match channel.kind {
            ChannelKind::Direct => {
                let recipients: Vec<_> = channel
                    .people
                    .iter()
                    .filter(|&&user| user != viewer)
                    .map(|&user| self.user_json(user))
                    .collect();
                json!({ "recipients": recipients })
            }
            ChannelKind::PublicThread | ChannelKind::PrivateThread => self.thread_json(channel),
            ChannelKind::Text | ChannelKind::Forum => json!({
                "guild_id": channel.guild,
                "name": channel.name,
                "position": 0,
                "topic": null,
                "parent_id": null,
                "nsfw": channel.age_restricted,
                "rate_limit_per_user": 0,
                "permission_overwrites":
                    channel.overwrites.iter().map(Overwrite::json).collect::<Vec<_>>(),
            }),
        };
        let forum = match channel.kind {
            ChannelKind::Forum => json!({
                "available_tags": [],
                "default_reaction_emoji": null,
                "default_sort_order": null,
                "default_forum_layout": 0,
            }),
            _ => json!({}),
        };
        with(with(base, own), forum)
    }

    fn thread_json(&self, thread: &Channel) -> Value {
        let messages = self.messages.values().filter(|m| m.channel == thread.id).count();
        let now = self.now();
        let mut json = json!({
            "guild_id": thread.guild,
            "name": thread.name,
            "parent_id": thread.parent,
            "owner_id": thread.people.first(),
            "rate_limit_per_user": 0,
            "message_count": messages,
            "total_message_sent": messages,
            "member_count": thread.people.len(),
            "thread_metadata": {
                "archived": thread.archived,
                "archive_timestamp": thread.id.created(),
                "auto_archive_duration": 1440,
                "locked": thread.locked,
                "create_timestamp": thread.id.created(),
            },
        });
        if thread.people.contains(&self.bot) {
            json["member"] = thread_member_json(thread.id, self.bot, now);
        }
        json
    }

    /// What `GUILD_CREATE` carries.
    pub fn guild_create_json(&self, guild: &Guild) -> Value {
        let visible = |channel: &&Channel| {
            channel.guild == Some(guild.id)
                && self.bot_permissions(channel).contains(Permissions::VIEW_CHANNEL)
        };
        let (threads, channels): (Vec<_>, Vec<_>) =
            self.channels.values().filter(visible).partition(|channel| channel.kind.is_thread());
        let json_of = |list: Vec<&Channel>| -> Vec<_> {
            list.iter().map(|channel| self.channel_json(channel.id, self.bot)).collect()
        };
        let members: Vec<_> =
            guild.members.keys().map(|&user| self.member_json(guild.id, user)).collect();
        let extra = json!({
            "joined_at": guild.members.get(&self.bot).map(|member| member.joined),
            "large": false,
            "unavailable": false,
            "member_count": members.len(),
            "members": members,
            "channels": json_of(channels),
            "threads": json_of(threads),
            "voice_states": [],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        });
        with(guild.json(), extra)
    }

    pub fn attachment_json(&self, channel: Snowflake, file: &Attachment) -> Value {
        let url = cdn::address(self, channel, file);
        let mut json = json!({
            "id": file.id,
            "filename": file.filename,
            "size": file.bytes.len(),
            "url": url,
            "proxy_url": url,
            "content_type": file.content_type,
        });
        if let Some((width, height)) = file.size {
            json["width"] = json!(width);
            json["height"] = json!(height);
        }
        if let Some(description) = &file.description {
            json["description"] = json!(description);
        }
        json
    }

    /// A message as REST shows it to the bot, with the message that it replies to.
    pub fn message_json(&self, id: Snowflake) -> Value {
        self.message_json_under(id, self.privileged_intents)
    }

    /// A message as a reader with these intents gets it.
    pub fn message_json_under(&self, id: Snowflake, intents: GatewayIntents) -> Value {
        let message = &self.messages[&id];
        let mut json = self.lone_message_json(message, intents);
        if let Some(to) = message.replies_to {
            let answered = self.messages.get(&to).map(|to| self.lone_message_json(to, intents));
            json["referenced_message"] = json!(answered);
        }
        json
    }

    fn lone_message_json(&self, message: &Message, intents: GatewayIntents) -> Value {
        let channel = &self.channels[&message.channel];
        let seen = self.content_is_visible(message, intents);
        let files: Vec<_> = message
            .attachments
            .iter()
            .filter(|_| seen)
            .map(|file| self.attachment_json(message.channel, file))
            .collect();
        let mentions: Vec<_> =
            message.pings.users.iter().map(|&user| self.user_json(user)).collect();
        let empty = json!([]);
        let mut json = json!({
            "id": message.id,
            "type": message.kind.code(),
            "channel_id": message.channel,
            "author": self.user_json(message.author),
            "content": if seen { message.content.as_str() } else { "" },
            "attachments": files,
            "embeds": if seen { &message.embeds } else { &empty },
            "components": if seen { &message.components } else { &empty },
            "mentions": mentions,
            "mention_roles": message.pings.roles,
            "mention_everyone": message.pings.everyone,
            "timestamp": message.id.created(),
            "edited_timestamp": message.edited,
            "flags": message.flags,
            "pinned": false,
            "tts": false,
        });
        if let Some(to) = message.replies_to {
            let mut reference = json!({ "type": 0, "message_id": to, "channel_id": channel.id });
            if let Some(guild) = channel.guild {
                reference["guild_id"] = json!(guild);
            }
            json["message_reference"] = reference;
        }
        if let Some(nonce) = &message.nonce {
            json["nonce"] = nonce.clone();
        }
        if let Some(webhook) = message.webhook {
            json["webhook_id"] = json!(webhook);
            if webhook == self.application {
                json["application_id"] = json!(webhook);
            }
        }
        if let Some(interaction) = message.interaction.and_then(|id| self.interactions.get(&id)) {
            json["interaction_metadata"] = self.interaction_metadata_json(interaction);
        }
        let reactions: Vec<_> = message
            .reactions
            .iter()
            .map(|reaction| {
                json!({
                    "emoji": { "id": null, "name": reaction.emoji },
                    "count": reaction.users.len(),
                    "count_details": { "burst": 0, "normal": reaction.users.len() },
                    "burst_colors": [],
                    "me_burst": false,
                    "me": reaction.users.contains(&self.bot),
                })
            })
            .collect();
        if !reactions.is_empty() {
            json["reactions"] = json!(reactions);
        }
        json
    }

    fn interaction_metadata_json(&self, interaction: &Interaction) -> Value {
        let mut json = json!({
            "id": interaction.id,
            "type": interaction.kind,
            "user": self.user_json(interaction.user),
            "authorizing_integration_owners": self.integration_owners(interaction.channel),
        });
        if let Some(source) = interaction.source {
            let role = match interaction.kind {
                kind::COMMAND => "target_message_id",
                _ => "interacted_message_id",
            };
            json[role] = json!(source);
        }
        if let Some(form_of) = interaction.form_of {
            let opener = &self.interactions[&form_of];
            json["triggering_interaction_metadata"] = self.interaction_metadata_json(opener);
        }
        json
    }

    /// By whose installation an interaction in `channel` reaches the bot.
    pub fn integration_owners(&self, channel: Snowflake) -> Value {
        match self.channels[&channel].guild {
            Some(guild) => json!({ "0": guild }),
            None => json!({ "0": "0" }),
        }
    }

    /// Message Content is privileged: without it content is empty but for the bot's own messages,
    /// direct messages and messages that mention the bot (pinged replies among them).
    fn content_is_visible(&self, message: &Message, intents: GatewayIntents) -> bool {
        intents.contains(GatewayIntents::MESSAGE_CONTENT)
            || message.author == self.bot
            || message.pings.users.contains(&self.bot)
            || self.channels[&message.channel].kind == ChannelKind::Direct
    }
}

pub fn thread_member_json(thread: Snowflake, user: Snowflake, joined: Moment) -> Value {
    json!({ "id": thread, "user_id": user, "join_timestamp": joined, "flags": 0 })
}

/// The address of a file on its host, without the query that lets one in.
pub fn file_host(state: &State, host: FileHost) -> String {
    match host {
        FileHost::Discord => format!("http://{}", state.address),
        FileHost::Elsewhere => {
            let port = state.address.rsplit(':').next().unwrap_or_default();
            format!("http://localhost:{port}")
        }
    }
}
