//! Guilds, users, the application and the gateway's address.

#![expect(clippy::unnecessary_wraps, reason = "all handlers have one type")]

use serde_json::{Value, json};
use serenity::model::Permissions;

use super::super::error::ApiError;
use super::super::model::{Channel, Guild};
use super::super::recording::Method::{Delete, Get};
use super::super::state::State;
use super::super::wire::with;
use super::{Answer, Call, Route};

pub const ROUTES: &[Route] = &[
    (Get, "/gateway", gateway),
    (Get, "/gateway/bot", gateway_bot),
    (Get, "/applications/@me", application),
    (Get, "/users/@me", me),
    (Get, "/users/{user_id}", user),
    (Get, "/users/@me/guilds", my_guilds),
    (Delete, "/users/@me/guilds/{guild_id}", leave),
    (Get, "/guilds/{guild_id}", get),
    (Get, "/guilds/{guild_id}/channels", channels),
    (Get, "/guilds/{guild_id}/roles", roles),
    (Get, "/guilds/{guild_id}/members", members),
    (Get, "/guilds/{guild_id}/members/{user_id}", member),
];

impl State {
    /// The guild of a call, if the bot is in it.
    pub fn reach_guild(&self, call: &Call) -> Result<&Guild, ApiError> {
        let guild = self.guilds.get(&call.id("guild_id")?).ok_or_else(ApiError::unknown_guild)?;
        if guild.members.contains_key(&self.bot) {
            Ok(guild)
        } else {
            Err(ApiError::missing_access())
        }
    }

    fn gateway_url(&self) -> String {
        format!("ws://{}", self.address)
    }
}

fn gateway(state: &mut State, _: &Call) -> Result<Answer, ApiError> {
    Ok(Answer::ok(json!({ "url": state.gateway_url() })))
}

fn gateway_bot(state: &mut State, _: &Call) -> Result<Answer, ApiError> {
    Ok(Answer::ok(json!({
        "url": state.gateway_url(),
        "shards": state.shards,
        "session_start_limit": {
            "total": 1000,
            "remaining": 1000_usize.saturating_sub(state.identifies),
            "reset_after": 86_400_000,
            "max_concurrency": 1,
        },
    })))
}

fn application(state: &mut State, _: &Call) -> Result<Answer, ApiError> {
    let owner = state.users.values().find(|user| user.id != state.bot);
    let owner = owner.unwrap_or(&state.users[&state.bot]);
    let flags = state.application_flags();
    Ok(Answer::ok(json!({
        "id": state.application,
        "name": state.users[&state.bot].name,
        "icon": null,
        "description": "",
        "type": null,
        "bot": state.user_json(state.bot),
        "bot_public": true,
        "bot_require_code_grant": false,
        "verify_key": "0".repeat(64),
        "flags": flags,
        "flags_new": flags.to_string(),
        "redirect_uris": [],
        "interactions_endpoint_url": null,
        "role_connections_verification_url": null,
        "owner": owner.json(),
        "approximate_guild_count": state.guilds.len(),
        "approximate_user_install_count": 0,
        "approximate_user_authorization_count": 0,
        "explicit_content_filter": 0,
        "team": null,
        "eligible_oauth2_scopes": [],
    })))
}

impl State {
    /// The application's flags: which privileged intents it has, each in its limited form.
    fn application_flags(&self) -> u64 {
        use serenity::model::gateway::GatewayIntents;
        [
            (GatewayIntents::GUILD_PRESENCES, 1 << 13),
            (GatewayIntents::GUILD_MEMBERS, 1 << 15),
            (GatewayIntents::MESSAGE_CONTENT, 1 << 19),
        ]
        .into_iter()
        .filter(|(intent, _)| self.privileged_intents.contains(*intent))
        .map(|(_, flag)| flag)
        .sum()
    }
}

fn me(state: &mut State, _: &Call) -> Result<Answer, ApiError> {
    Ok(Answer::ok(state.own_json()))
}

fn user(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = call.id("user_id")?;
    let user = state.users.get(&id).ok_or_else(ApiError::unknown_user)?;
    Ok(Answer::ok(user.json()))
}

fn my_guilds(state: &mut State, _: &Call) -> Result<Answer, ApiError> {
    let guilds: Value = state
        .guilds
        .values()
        .map(|guild| {
            json!({
                "id": guild.id,
                "name": guild.name,
                "icon": null,
                "banner": null,
                "owner": false,
                "permissions": guild.permissions(state.bot).bits().to_string(),
                "features": [],
            })
        })
        .collect();
    Ok(Answer::ok(guilds))
}

fn leave(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = state.reach_guild(call)?.id;
    state.remove_guild(guild);
    Ok(Answer::empty())
}

fn get(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = state.reach_guild(call)?;
    let mut json = guild.json();
    if call.query("with_counts") == Some("true") {
        let counts = json!({
            "approximate_member_count": guild.members.len(),
            "approximate_presence_count": guild.members.len(),
        });
        json = with(json, counts);
    }
    Ok(Answer::ok(json))
}

fn channels(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = state.reach_guild(call)?.id;
    let listed = |channel: &&Channel| {
        channel.guild == Some(guild)
            && !channel.kind.is_thread()
            && state.bot_permissions(channel).contains(Permissions::VIEW_CHANNEL)
    };
    let channels = state.channels.values().filter(listed);
    Ok(Answer::ok(channels.map(|channel| state.channel_json(channel.id, state.bot)).collect()))
}

fn roles(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = state.reach_guild(call)?;
    Ok(Answer::ok(guild.json()["roles"].clone()))
}

fn members(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    use serenity::model::gateway::GatewayIntents;
    let guild = state.reach_guild(call)?;
    if !state.privileged_intents.contains(GatewayIntents::GUILD_MEMBERS) {
        return Err(ApiError::missing_access());
    }
    let after = call.query_id("after")?;
    let limit = call.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(1);
    let members = guild
        .members
        .keys()
        .filter(|&&user| after.is_none_or(|after| user > after))
        .take(limit)
        .map(|&user| state.member_json(guild.id, user))
        .collect();
    Ok(Answer::ok(members))
}

fn member(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = state.reach_guild(call)?;
    let user = call.id("user_id")?;
    if !state.users.contains_key(&user) {
        return Err(ApiError::unknown_user());
    }
    if !guild.members.contains_key(&user) {
        return Err(ApiError::unknown_member());
    }
    Ok(Answer::ok(state.member_json(guild.id, user)))
}
