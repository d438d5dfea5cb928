//! Messages (resources/Message).

use std::time::Duration;

use serde_json::{Value, json};
use serenity::model::Permissions;

use super::super::clock::Snowflake;
use super::super::draft::{Draft, Edit};
use super::super::error::ApiError;
use super::super::mentions::AllowedMentions;
use super::super::model::{Channel, ChannelKind, DirectMessages, MessageKind};
use super::super::recording::Method::{Delete, Get, Patch, Post};
use super::super::state::State;
use super::payload::Payload;
use super::{Answer, Call, Route};

pub const ROUTES: &[Route] = &[
    (Get, "/channels/{channel_id}/messages", list),
    (Post, "/channels/{channel_id}/messages", create),
    (Post, "/channels/{channel_id}/messages/bulk-delete", bulk_delete),
    (Get, "/channels/{channel_id}/messages/{message_id}", get),
    (Patch, "/channels/{channel_id}/messages/{message_id}", edit),
    (Delete, "/channels/{channel_id}/messages/{message_id}", delete),
    (Post, "/channels/{channel_id}/typing", type_in),
];

/// How long a nonce is remembered ("the past few minutes").
const NONCE_LASTS: Duration = Duration::from_secs(5 * 60);
/// Older messages can't be deleted in bulk.
const BULK_DELETE_AGE_MAX: Duration = Duration::from_secs(14 * 24 * 3600);

impl State {
    /// The channel of a call, if it is there and the bot may see it.
    pub fn reach(&self, call: &Call) -> Result<&Channel, ApiError> {
        let id = call.id("channel_id")?;
        let channel = self.channels.get(&id).ok_or_else(ApiError::unknown_channel)?;
        if self.bot_permissions(channel).contains(Permissions::VIEW_CHANNEL) {
            Ok(channel)
        } else {
            Err(ApiError::missing_access())
        }
    }

    /// Refuses unless the bot has `needed` in `channel`.
    pub fn require(&self, channel: &Channel, needed: Permissions) -> Result<(), ApiError> {
        if self.bot_permissions(channel).contains(needed) {
            Ok(())
        } else {
            Err(ApiError::missing_permissions())
        }
    }

    /// The message of a call in a channel that the bot may see.
    pub fn reach_message(&self, call: &Call) -> Result<Snowflake, ApiError> {
        let channel = self.reach(call)?.id;
        let id = call.id("message_id")?;
        match self.messages.get(&id) {
            Some(message) if message.channel == channel && !message.is_ephemeral() => Ok(id),
            _ => Err(ApiError::unknown_message()),
        }
    }
}

/// Refuses where the bot may not write in this channel.
fn may_write(state: &State, channel: &Channel) -> Result<(), ApiError> {
    match channel.kind {
        ChannelKind::Forum => Err(ApiError::not_a_text_channel()),
        ChannelKind::Direct => {
            let other = channel.people.iter().find(|&&user| user != state.bot);
            match other.map(|other| state.users[other].direct_messages) {
                Some(DirectMessages::Open) => Ok(()),
                Some(DirectMessages::Closed) | None => Err(ApiError::cannot_message_user()),
            }
        }
        ChannelKind::Text => state.require(channel, Permissions::SEND_MESSAGES),
        ChannelKind::PublicThread | ChannelKind::PrivateThread => {
            state.require(channel, Permissions::SEND_MESSAGES_IN_THREADS)?;
            let manager = state.bot_permissions(channel).contains(Permissions::MANAGE_THREADS);
            if channel.locked && !manager { Err(ApiError::thread_archived()) } else { Ok(()) }
        }
    }
}

fn create(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?.clone();
    may_write(state, &channel)?;
    let payload = Payload::read(state, &call.body, &call.files, &[])?;
    if payload.is_empty() {
        return Err(ApiError::empty_message());
    }
    if !payload.attachments.as_deref().unwrap_or_default().is_empty() {
        state.require(&channel, Permissions::ATTACH_FILES)?;
    }
    let replies_to = reply_target(state, &channel, &call.body["message_reference"])?;
    if call.body["enforce_nonce"] == json!(true)
        && let Some(earlier) = sent_before(state, payload.nonce.as_ref())
    {
        return Ok(Answer::ok(state.message_json(earlier)));
    }
    if channel.archived {
        state.change_channel(channel.id, |thread| thread.archived = false);
    }
    let kind = if replies_to.is_some() { MessageKind::Reply } else { MessageKind::Default };
    let id = state.post(Draft {
        kind,
        attachments: payload.attachments.unwrap_or_default(),
        allowed_mentions: payload.allowed_mentions.unwrap_or_else(AllowedMentions::all),
        replies_to,
        nonce: payload.nonce,
        flags: payload.flags,
        components: payload.components.unwrap_or_else(|| json!([])),
        embeds: payload.embeds.unwrap_or_else(|| json!([])),
        ..Draft::new(channel.id, state.bot, payload.content.unwrap_or_default())
    });
    Ok(Answer::ok(state.message_json(id)))
}

/// The bot's message with the same nonce from the last minutes.
fn sent_before(state: &State, nonce: Option<&Value>) -> Option<Snowflake> {
    let now = state.now();
    let nonce = nonce?;
    state
        .messages
        .values()
        .rev()
        .take_while(|message| message.id.created().until(now) < NONCE_LASTS)
        .find(|message| message.author == state.bot && message.nonce.as_ref() == Some(nonce))
        .map(|message| message.id)
}

/// The message replied to, or `None` where the reference may fail and does.
fn reply_target(
    state: &State,
    channel: &Channel,
    reference: &Value,
) -> Result<Option<Snowflake>, ApiError> {
    if reference.is_null() {
        return Ok(None);
    }
    let text = reference["message_id"].as_str().unwrap_or_default();
    let id: Snowflake =
        text.parse().map_err(|_| super::not_a_snowflake("message_reference.message_id", text))?;
    if !state.bot_permissions(channel).contains(Permissions::READ_MESSAGE_HISTORY) {
        return Err(ApiError::reply_needs_history());
    }
    let there = state.messages.get(&id).is_some_and(|message| message.channel == channel.id);
    match (there, reference["fail_if_not_exists"].as_bool().unwrap_or(true)) {
        (true, _) => Ok(Some(id)),
        (false, false) => Ok(None),
        (false, true) => Err(ApiError::invalid_form(
            "message_reference",
            "MESSAGE_REFERENCE_UNKNOWN_MESSAGE",
            "Unknown message",
        )),
    }
}

fn list(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?;
    let limit: usize = match call.query("limit").map(str::parse) {
        None => 50,
        Some(Ok(limit @ 1..=100)) => limit,
        Some(_) => {
            return Err(ApiError::invalid_form(
                "limit",
                "NUMBER_TYPE_MAX",
                "int value should be between 1 and 100.",
            ));
        }
    };
    if !state.bot_permissions(channel).contains(Permissions::READ_MESSAGE_HISTORY) {
        return Ok(Answer::ok(json!([])));
    }
    let mut ids: Vec<_> = state
        .messages
        .values()
        .filter(|message| message.channel == channel.id && !message.is_ephemeral())
        .map(|message| message.id)
        .collect();
    let newest = |ids: &[Snowflake]| ids[ids.len().saturating_sub(limit)..].to_vec();
    let from = |ids: &[Snowflake], id| ids.partition_point(|&other| other < id);
    if let Some(before) = call.query_id("before")? {
        ids.truncate(from(&ids, before));
        ids = newest(&ids);
    } else if let Some(after) = call.query_id("after")? {
        ids.retain(|&id| id > after);
        ids.truncate(limit);
    } else if let Some(around) = call.query_id("around")? {
        let start = from(&ids, around).saturating_sub(limit / 2);
        ids = ids.into_iter().skip(start).take(limit).collect();
    } else {
        ids = newest(&ids);
    }
    Ok(Answer::ok(ids.iter().rev().map(|&id| state.message_json(id)).collect()))
}

fn get(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    state.require(state.reach(call)?, Permissions::READ_MESSAGE_HISTORY)?;
    let id = state.reach_message(call)?;
    Ok(Answer::ok(state.message_json(id)))
}

fn edit(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = state.reach_message(call)?;
    let message = state.messages[&id].clone();
    if message.author != state.bot {
        return Err(ApiError::authored_by_another());
    }
    let payload = Payload::read(state, &call.body, &call.files, &message.attachments)?;
    let edit = Edit {
        content: payload.content,
        allowed_mentions: payload.allowed_mentions,
        attachments: payload.attachments,
        components: payload.components,
        embeds: payload.embeds,
        flags: call.body["flags"].as_u64(),
    };
    if edit.leaves_nothing_of(&message) {
        return Err(ApiError::empty_message());
    }
    state.edit(id, edit);
    Ok(Answer::ok(state.message_json(id)))
}

fn delete(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = state.reach_message(call)?;
    let channel = state.reach(call)?;
    if state.messages[&id].author != state.bot {
        if channel.kind == ChannelKind::Direct {
            return Err(ApiError::not_in_direct_channels());
        }
        state.require(channel, Permissions::MANAGE_MESSAGES)?;
    }
    state.delete(channel.id, &[id]);
    Ok(Answer::empty())
}

fn bulk_delete(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?.clone();
    if channel.kind == ChannelKind::Direct {
        return Err(ApiError::not_in_direct_channels());
    }
    state.require(&channel, Permissions::MANAGE_MESSAGES)?;
    let ids: Vec<Snowflake> = call.body["messages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str()?.parse().ok())
        .collect();
    if !(2..=100).contains(&ids.len()) {
        return Err(ApiError::bulk_delete_count());
    }
    let now = state.now();
    if ids.iter().any(|id| id.created().until(now) > BULK_DELETE_AGE_MAX) {
        return Err(ApiError::bulk_delete_age());
    }
    state.delete(channel.id, &ids);
    Ok(Answer::empty())
}

fn type_in(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let channel = state.reach(call)?.clone();
    may_write(state, &channel)?;
    state.start_typing(state.bot, channel.id);
    Ok(Answer::empty())
}
