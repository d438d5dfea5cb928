//! Which session is told what: intents, shards and the bot's right to see the channel.

use serde_json::{Value, json};
use serenity::model::Permissions;
use serenity::model::gateway::GatewayIntents;

use super::super::clock::Snowflake;
use super::super::state::State;
use super::super::wire::with;

/// The intent that an event needs, in a guild or in a direct channel.
fn intent(event: &str, guild: Option<Snowflake>) -> GatewayIntents {
    let by_place = |in_guild, direct| if guild.is_some() { in_guild } else { direct };
    match event {
        "INTERACTION_CREATE" => GatewayIntents::empty(),
        "TYPING_START" => {
            by_place(GatewayIntents::GUILD_MESSAGE_TYPING, GatewayIntents::DIRECT_MESSAGE_TYPING)
        }
        _ if event.starts_with("GUILD_MEMBER") => GatewayIntents::GUILD_MEMBERS,
        _ if event.starts_with("MESSAGE_REACTION") => by_place(
            GatewayIntents::GUILD_MESSAGE_REACTIONS,
            GatewayIntents::DIRECT_MESSAGE_REACTIONS,
        ),
        _ if event.starts_with("MESSAGE") => {
            by_place(GatewayIntents::GUILD_MESSAGES, GatewayIntents::DIRECT_MESSAGES)
        }
        _ => GatewayIntents::GUILDS,
    }
}

impl State {
    fn tell(
        &mut self,
        event: &str,
        guild: Option<Snowflake>,
        data: impl Fn(&Self, GatewayIntents) -> Value,
    ) {
        let needed = intent(event, guild);
        for at in 0..self.sessions.len() {
            let session = &self.sessions[at];
            if session.intents.contains(needed) && session.serves(guild) {
                let data = data(self, session.intents);
                self.sessions[at].dispatch(event, &data);
            }
        }
    }

    /// Tells an event of a guild.
    pub fn tell_guild(&mut self, guild: Snowflake, event: &str, data: &Value) {
        self.tell(event, Some(guild), |_, _| data.clone());
    }

    /// Tells an event of a channel, if the bot may see the channel.
    pub fn tell_channel(&mut self, channel: Snowflake, event: &str, data: &Value) {
        let place = &self.channels[&channel];
        if self.bot_permissions(place).contains(Permissions::VIEW_CHANNEL) {
            self.tell(event, place.guild, |_, _| data.clone());
        }
    }

    /// Tells a message's creation or change, to each session as its intents let it read.
    pub fn tell_message(&mut self, event: &str, message: Snowflake) {
        let posted = &self.messages[&message];
        let author = posted.author;
        let place = &self.channels[&posted.channel];
        let guild = place.guild;
        if !self.bot_permissions(place).contains(Permissions::VIEW_CHANNEL) {
            return;
        }
        self.tell(event, guild, |state, intents| {
            let json = state.message_json_under(message, intents & state.privileged_intents);
            let Some(guild) = guild else { return with(json, json!({ "channel_type": 1 })) };
            let member = state.partial_member_json(guild, author);
            let mut json = with(json, json!({ "guild_id": guild }));
            if !member.is_null() {
                json["member"] = member;
            }
            for mentioned in json["mentions"].as_array_mut().into_iter().flatten() {
                let id = mentioned["id"].as_str().and_then(|id| id.parse().ok());
                if let Some(id) = id {
                    mentioned["member"] = state.partial_member_json(guild, id);
                }
            }
            json
        });
    }

    /// Tells an interaction, which needs neither an intent nor a sight of the channel.
    pub fn tell_interaction(&mut self, guild: Option<Snowflake>, data: &Value) {
        self.tell("INTERACTION_CREATE", guild, |_, _| data.clone());
    }

    /// Shows a guild to the sessions that were there before it.
    pub fn announce_guild(&mut self, guild: Snowflake) {
        let data = self.guild_create_json(&self.guilds[&guild]);
        self.tell_guild(guild, "GUILD_CREATE", &data);
    }

    /// The first events of a fresh session: `READY`, then every guild of its shard.
    pub(super) fn greet(&mut self, session: usize) {
        let fresh = &self.sessions[session];
        let (shard, intents) = (fresh.shard, fresh.intents);
        let guilds: Vec<_> =
            self.guilds.keys().copied().filter(|&guild| fresh.serves(Some(guild))).collect();
        let unavailable: Vec<_> =
            guilds.iter().map(|guild| json!({ "id": guild, "unavailable": true })).collect();
        let ready = json!({
            "v": 10,
            "user": self.own_json(),
            "guilds": unavailable,
            "session_id": fresh.id,
            "session_type": "normal",
            "resume_gateway_url": format!("ws://{}/resume", self.address),
            "shard": [shard.0, shard.1],
            "application": { "id": self.application, "flags": 0 },
            "private_channels": [],
            "relationships": [],
            "presences": [],
            "geo_ordered_rtc_regions": [],
        });
        self.sessions[session].dispatch("READY", &ready);
        if intents.contains(GatewayIntents::GUILDS) {
            for guild in guilds {
                let data = self.guild_create_json(&self.guilds[&guild]);
                self.sessions[session].dispatch("GUILD_CREATE", &data);
            }
        }
    }

    /// The bot's own user, as only itself sees it.
    pub fn own_json(&self) -> Value {
        let own = json!({
            "mfa_enabled": false,
            "verified": true,
            "email": null,
            "locale": "en-US",
            "banner": null,
            "accent_color": null,
        });
        with(self.user_json(self.bot), own)
    }
}
