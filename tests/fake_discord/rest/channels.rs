//! Channels, threads and direct channels (resources/Channel).

use serde_json::{Value, json};
use serenity::model::Permissions;

use super::super::clock::Snowflake;
use super::super::draft::Draft;
use super::super::error::ApiError;
use super::super::model::{Channel, ChannelKind, UserKind};
use super::super::recording::Method::{Delete, Get, Patch, Post, Put};
use super::super::state::State;
use super::super::wire::thread_member_json;
use super::payload::Payload;
use super::{Answer, Call, Route};

pub const ROUTES: &[Route] = &[
    (Get, "/channels/{channel_id}", get),
    (Patch, "/channels/{channel_id}", modify),
    (Delete, "/channels/{channel_id}", delete),
    (Post, "/channels/{channel_id}/threads", start_thread),
    (Post, "/channels/{channel_id}/messages/{message_id}/threads", start_thread_from_message),
    (Get, "/channels/{channel_id}/threads/archived/public", archived_threads),
    (Put, "/channels/{channel_id}/thread-members/@me", join_thread),
    (Delete, "/channels/{channel_id}/thread-members/@me", leave_thread),
    (Get, "/channels/{channel_id}/thread-members", thread_members),
    (Post, "/users/@me/channels", open_direct_channel),
    (Get, "/guilds/{guild_id}/threads/active", active_threads),
];

const NAME_CHARACTERS_MAX: usize = 100;

fn get(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = state.reach(call)?.id;
    Ok(Answer::ok(state.channel_json(id, state.bot)))
}

fn modify(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?;
    let id = channel.id;
    let needed = if channel.kind.is_thread() {
        Permissions::MANAGE_THREADS
    } else {
        Permissions::MANAGE_CHANNELS
    };
    state.require(channel, needed)?;
    let body = call.body.clone();
    state.change_channel(id, |channel| {
        if let Some(name) = body["name"].as_str() {
            name.clone_into(&mut channel.name);
        }
        channel.age_restricted = body["nsfw"].as_bool().unwrap_or(channel.age_restricted);
        channel.archived = body["archived"].as_bool().unwrap_or(channel.archived);
        channel.locked = body["locked"].as_bool().unwrap_or(channel.locked);
    });
    Ok(Answer::ok(state.channel_json(id, state.bot)))
}

fn delete(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?;
    let id = channel.id;
    match channel.kind {
        ChannelKind::Direct => {}
        kind if kind.is_thread() => state.require(channel, Permissions::MANAGE_THREADS)?,
        _ => state.require(channel, Permissions::MANAGE_CHANNELS)?,
    }
    let json = state.channel_json(id, state.bot);
    state.remove_channel(id);
    Ok(Answer::ok(json))
}

/// The name that a request gives to a thread.
fn thread_name(body: &Value) -> Result<String, ApiError> {
    let name = body["name"].as_str().unwrap_or_default();
    match name.chars().count() {
        0 => Err(ApiError::invalid_form("name", "BASE_TYPE_REQUIRED", "This field is required")),
        length if length > NAME_CHARACTERS_MAX => {
            Err(ApiError::too_long("name", NAME_CHARACTERS_MAX))
        }
        _ => Ok(name.to_owned()),
    }
}

fn start_thread(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?.clone();
    let name = thread_name(&call.body)?;
    match channel.kind {
        ChannelKind::Forum => start_post(state, call, &channel, &name),
        ChannelKind::Text => {
            let (kind, needed) = if call.body["type"].as_u64() == Some(11) {
                (ChannelKind::PublicThread, Permissions::CREATE_PUBLIC_THREADS)
            } else {
                (ChannelKind::PrivateThread, Permissions::CREATE_PRIVATE_THREADS)
            };
            state.require(&channel, needed)?;
            let id = state.add_thread(kind, channel.id, &name, state.bot, None);
            Ok(Answer::created(state.channel_json(id, state.bot)))
        }
        _ => Err(ApiError::wrong_channel_type()),
    }
}

/// A forum post is a thread with its first message.
fn start_post(
    state: &mut State,
    call: &Call,
    forum: &Channel,
    name: &str,
) -> Result<Answer, ApiError> {
    state.require(forum, Permissions::SEND_MESSAGES)?;
    let payload = Payload::read(state, &call.body["message"], &call.files, &[])?;
    if payload.is_empty() {
        return Err(ApiError::empty_message());
    }
    let thread = state.add_thread(ChannelKind::PublicThread, forum.id, name, state.bot, None);
    let message = state.post(Draft {
        attachments: payload.attachments.unwrap_or_default(),
        ..Draft::new(thread, state.bot, payload.content.unwrap_or_default())
    });
    let mut json = state.channel_json(thread, state.bot);
    json["message"] = state.message_json(message);
    Ok(Answer::created(json))
}

fn start_thread_from_message(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let message = state.reach_message(call)?;
    let channel = state.reach(call)?.clone();
    if channel.kind != ChannelKind::Text {
        return Err(ApiError::wrong_channel_type());
    }
    state.require(&channel, Permissions::CREATE_PUBLIC_THREADS)?;
    let name = thread_name(&call.body)?;
    let kind = ChannelKind::PublicThread;
    let id = state.add_thread(kind, channel.id, &name, state.bot, Some(message));
    Ok(Answer::created(state.channel_json(id, state.bot)))
}

/// The list of threads that fit, with the bot's own memberships.
fn threads_json(state: &State, fits: impl Fn(&Channel) -> bool) -> Value {
    let found: Vec<_> = state
        .channels
        .values()
        .filter(|channel| channel.kind.is_thread() && fits(channel))
        .filter(|channel| state.bot_permissions(channel).contains(Permissions::VIEW_CHANNEL))
        .collect();
    let threads: Vec<_> = found.iter().map(|t| state.channel_json(t.id, state.bot)).collect();
    let members: Vec<_> = found
        .iter()
        .filter(|thread| thread.people.contains(&state.bot))
        .map(|thread| thread_member_json(thread.id, state.bot, thread.id.created()))
        .collect();
    json!({ "threads": threads, "members": members, "has_more": false })
}

fn archived_threads(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?;
    state.require(channel, Permissions::READ_MESSAGE_HISTORY)?;
    let parent = Some(channel.id);
    let fits = |thread: &Channel| {
        thread.parent == parent && thread.archived && thread.kind == ChannelKind::PublicThread
    };
    Ok(Answer::ok(threads_json(state, fits)))
}

fn active_threads(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = Some(state.reach_guild(call)?.id);
    let fits = |thread: &Channel| thread.guild == guild && !thread.archived;
    Ok(Answer::ok(threads_json(state, fits)))
}

/// The thread of a call.
fn reach_thread(state: &State, call: &Call) -> Result<Snowflake, ApiError> {
    let channel = state.reach(call)?;
    if channel.kind.is_thread() { Ok(channel.id) } else { Err(ApiError::wrong_channel_type()) }
}

fn join_thread(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let (id, bot) = (reach_thread(state, call)?, state.bot);
    state.change_channel(id, |thread| {
        if !thread.people.contains(&bot) {
            thread.people.push(bot);
        }
    });
    Ok(Answer::empty())
}

fn leave_thread(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let (id, bot) = (reach_thread(state, call)?, state.bot);
    state.change_channel(id, |thread| thread.people.retain(|&user| user != bot));
    Ok(Answer::empty())
}

fn thread_members(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = reach_thread(state, call)?;
    let people = &state.channels[&id].people;
    let members = people.iter().map(|&user| thread_member_json(id, user, id.created())).collect();
    Ok(Answer::ok(members))
}

fn open_direct_channel(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let text = call.body["recipient_id"].as_str().unwrap_or_default();
    let user: Snowflake = text.parse().map_err(|_| super::not_a_snowflake("recipient_id", text))?;
    match state.users.get(&user).map(|user| user.kind) {
        None => Err(ApiError::unknown_user()),
        Some(UserKind::Bot) => Err(ApiError::cannot_message_user()),
        Some(UserKind::Person) => {
            let id = state.direct_channel(user);
            Ok(Answer::ok(state.channel_json(id, state.bot)))
        }
    }
}
