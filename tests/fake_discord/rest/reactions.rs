//! Reactions (resources/Message).

use serde_json::Value;
use serenity::model::Permissions;

use super::super::clock::Snowflake;
use super::super::error::ApiError;
use super::super::recording::Method::{Delete, Get, Put};
use super::super::state::State;
use super::{Answer, Call, Route};

pub const ROUTES: &[Route] = &[
    (Put, "/channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/@me", add),
    (Delete, "/channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/@me", remove_own),
    (
        Delete,
        "/channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/{user_id}",
        remove,
    ),
    (Get, "/channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}", list),
    (Delete, "/channels/{channel_id}/messages/{message_id}/reactions", clear),
];

const REACTIONS_MAX: usize = 20;

/// The emoji of a call; a name in ASCII letters is not one.
fn emoji(call: &Call) -> Result<String, ApiError> {
    let emoji = call.param("emoji_name");
    if emoji.is_ascii() { Err(ApiError::unknown_emoji()) } else { Ok(emoji) }
}

fn add(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let message = state.reach_message(call)?;
    let channel = state.reach(call)?;
    let emoji = emoji(call)?;
    state.require(channel, Permissions::READ_MESSAGE_HISTORY)?;
    let reactions = &state.messages[&message].reactions;
    if !reactions.iter().any(|reaction| reaction.emoji == emoji) {
        state.require(channel, Permissions::ADD_REACTIONS)?;
        if reactions.len() == REACTIONS_MAX {
            return Err(ApiError::too_many_reactions());
        }
    }
    state.react(state.bot, message, &emoji);
    Ok(Answer::empty())
}

fn remove_own(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let message = state.reach_message(call)?;
    state.unreact(state.bot, message, &emoji(call)?);
    Ok(Answer::empty())
}

fn remove(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let message = state.reach_message(call)?;
    state.require(state.reach(call)?, Permissions::MANAGE_MESSAGES)?;
    state.unreact(call.id("user_id")?, message, &emoji(call)?);
    Ok(Answer::empty())
}

fn list(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let message = state.reach_message(call)?;
    let emoji = emoji(call)?;
    let users: Value = state.messages[&message]
        .reactions
        .iter()
        .filter(|reaction| reaction.emoji == emoji)
        .flat_map(|reaction| &reaction.users)
        .map(|&user| state.user_json(user))
        .collect();
    Ok(Answer::ok(users))
}

fn clear(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let message = state.reach_message(call)?;
    state.require(state.reach(call)?, Permissions::MANAGE_MESSAGES)?;
    let all: Vec<(Snowflake, String)> = state.messages[&message]
        .reactions
        .iter()
        .flat_map(|reaction| reaction.users.iter().map(|&user| (user, reaction.emoji.clone())))
        .collect();
    for (user, emoji) in all {
        state.unreact(user, message, &emoji);
    }
    Ok(Answer::empty())
}
