//! Interactions (interactions/Receiving and Responding): the first response, `@original` and
//! followups.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::clock::Snowflake;
use super::super::draft::{Draft, Edit};
use super::super::error::ApiError;
use super::super::mentions::AllowedMentions;
use super::super::model::{EPHEMERAL, Interaction, LOADING, MessageKind, Response};
use super::super::recording::Method::{Delete, Get, Patch, Post};
use super::super::state::State;
use super::payload::Payload;
use super::{Answer, Call, Route};

pub const ROUTES: &[Route] = &[
    (Post, "/interactions/{interaction_id}/{interaction_token}/callback", respond),
    (Post, "/webhooks/{webhook_id}/{webhook_token}", follow_up),
    (Get, "/webhooks/{webhook_id}/{webhook_token}/messages/@original", get_original),
    (Patch, "/webhooks/{webhook_id}/{webhook_token}/messages/@original", edit_original),
    (Delete, "/webhooks/{webhook_id}/{webhook_token}/messages/@original", delete_original),
    (Get, "/webhooks/{webhook_id}/{webhook_token}/messages/{message_id}", get),
    (Patch, "/webhooks/{webhook_id}/{webhook_token}/messages/{message_id}", edit),
    (Delete, "/webhooks/{webhook_id}/{webhook_token}/messages/{message_id}", delete),
];

/// How long a bot may take for the first response.
pub const FIRST_RESPONSE_MAX: Duration = Duration::from_secs(3);
/// How long a token is good for.
const TOKEN_LASTS: Duration = Duration::from_secs(15 * 60);

/// Discord's numbers of the callback types.
mod callback {
    pub const MESSAGE: u64 = 4;
    pub const DEFERRED_MESSAGE: u64 = 5;
    pub const DEFERRED_UPDATE: u64 = 6;
    pub const UPDATE: u64 = 7;
    pub const CHOICES: u64 = 8;
    pub const FORM: u64 = 9;
}

/// Discord's numbers of the interaction types.
pub mod kind {
    pub const COMMAND: u64 = 2;
    pub const COMPONENT: u64 = 3;
    pub const AUTOCOMPLETE: u64 = 4;
    pub const FORM: u64 = 5;
}

/// Whether a callback of type `response` may answer an interaction of type `asked`.
fn fits(asked: u64, response: u64) -> bool {
    match response {
        callback::MESSAGE | callback::DEFERRED_MESSAGE => asked != kind::AUTOCOMPLETE,
        callback::DEFERRED_UPDATE | callback::UPDATE => {
            matches!(asked, kind::COMPONENT | kind::FORM)
        }
        callback::CHOICES => asked == kind::AUTOCOMPLETE,
        callback::FORM => matches!(asked, kind::COMMAND | kind::COMPONENT),
        _ => false,
    }
}

fn respond(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = call.id("interaction_id")?;
    let now = state.now();
    let interaction = state.interactions.get(&id).ok_or_else(ApiError::unknown_interaction)?;
    if interaction.token != call.param("interaction_token") {
        return Err(ApiError::unknown_interaction());
    }
    if interaction.response.is_some() {
        return Err(ApiError::already_acknowledged());
    }
    if interaction.asked.until(now) > FIRST_RESPONSE_MAX {
        return Err(ApiError::unknown_interaction());
    }
    let response = call.body["type"].as_u64().unwrap_or_default();
    if !fits(interaction.kind, response) {
        return Err(ApiError::invalid_form(
            "type",
            "INTERACTION_RESPONSE_TYPE_INVALID",
            "This response type does not fit the interaction.",
        ));
    }
    let interaction = interaction.clone();
    let data = &call.body["data"];
    let message = match response {
        callback::MESSAGE => Some(answer(state, &interaction, data, call)?),
        callback::DEFERRED_MESSAGE => {
            let flags = LOADING | data["flags"].as_u64().unwrap_or(0) & EPHEMERAL;
            let draft = draft(state, &interaction);
            Some(state.post(Draft { flags, ..draft }))
        }
        callback::UPDATE => {
            let source = interaction.source.ok_or_else(ApiError::unknown_message)?;
            change(state, source, data, call)?;
            Some(source)
        }
        callback::DEFERRED_UPDATE => interaction.source,
        _ => None,
    };
    let response = Response { kind: response, at: now, message, data: data.clone() };
    let with_response = call.query("with_response") == Some("true");
    let json = with_response.then(|| response_json(state, &interaction, &response));
    state.interactions.get_mut(&id).expect("looked up above").response = Some(response);
    Ok(json.map_or_else(Answer::empty, Answer::ok))
}

fn response_json(state: &State, interaction: &Interaction, response: &Response) -> Value {
    let mut json = json!({
        "interaction": {
            "id": interaction.id,
            "type": interaction.kind,
            "channel_id": interaction.channel,
        },
    });
    if let Some(message) = response.message {
        let flags = state.messages[&message].flags;
        json["interaction"]["response_message_id"] = json!(message);
        json["interaction"]["response_message_loading"] = json!(flags & LOADING != 0);
        json["interaction"]["response_message_ephemeral"] = json!(flags & EPHEMERAL != 0);
        if matches!(response.kind, callback::MESSAGE | callback::UPDATE) {
            json["resource"] =
                json!({ "type": response.kind, "message": state.message_json(message) });
        }
    }
    json
}

/// A message that answers an interaction, still empty.
fn draft(state: &State, interaction: &Interaction) -> Draft {
    let kind = match (interaction.kind, interaction.source) {
        (kind::COMMAND, None) => MessageKind::ChatInputCommand,
        (kind::COMMAND, Some(_)) => MessageKind::ContextMenuCommand,
        _ => MessageKind::Default,
    };
    Draft {
        kind,
        webhook: Some(state.application),
        interaction: Some(interaction.id),
        ..Draft::new(interaction.channel, state.bot, String::new())
    }
}

/// Posts what `data` says as an answer to an interaction.
fn answer(
    state: &mut State,
    interaction: &Interaction,
    data: &Value,
    call: &Call,
) -> Result<Snowflake, ApiError> {
    let payload = Payload::read(state, data, &call.files, &[])?;
    if payload.is_empty() {
        return Err(ApiError::empty_message());
    }
    let draft = draft(state, interaction);
    Ok(state.post(Draft {
        content: payload.content.unwrap_or_default(),
        attachments: payload.attachments.unwrap_or_default(),
        allowed_mentions: payload.allowed_mentions.unwrap_or_else(AllowedMentions::all),
        components: payload.components.unwrap_or_else(|| json!([])),
        embeds: payload.embeds.unwrap_or_else(|| json!([])),
        flags: payload.flags & EPHEMERAL,
        ..draft
    }))
}

/// Changes a message of an interaction; what was loading no longer is, and what was for one
/// person's eyes stays so.
fn change(state: &mut State, id: Snowflake, data: &Value, call: &Call) -> Result<(), ApiError> {
    let message = state.messages.get(&id).ok_or_else(ApiError::unknown_message)?.clone();
    let payload = Payload::read(state, data, &call.files, &message.attachments)?;
    let edit = Edit {
        content: payload.content,
        allowed_mentions: payload.allowed_mentions,
        attachments: payload.attachments,
        components: payload.components,
        embeds: payload.embeds,
        flags: Some(message.flags & !LOADING),
    };
    if edit.leaves_nothing_of(&message) {
        return Err(ApiError::empty_message());
    }
    state.edit(id, edit);
    Ok(())
}

/// The interaction whose token a webhook route carries.
fn by_token(state: &State, call: &Call) -> Result<Interaction, ApiError> {
    let (application, token) = (call.id("webhook_id")?, call.param("webhook_token"));
    let found = state.interactions.values().find(|interaction| interaction.token == token);
    let interaction = found
        .filter(|interaction| application == state.application && interaction.response.is_some())
        .ok_or_else(ApiError::unknown_webhook)?;
    if interaction.asked.until(state.now()) > TOKEN_LASTS {
        return Err(ApiError::invalid_webhook_token());
    }
    Ok(interaction.clone())
}

fn original(state: &State, call: &Call) -> Result<Snowflake, ApiError> {
    let response = by_token(state, call)?.response;
    let message = response.and_then(|response| response.message);
    message
        .filter(|message| state.messages.contains_key(message))
        .ok_or_else(ApiError::unknown_message)
}

/// A message of the interaction by its id: `@original` or a followup.
fn any(state: &State, call: &Call) -> Result<Snowflake, ApiError> {
    let interaction = by_token(state, call)?;
    let id = call.id("message_id")?;
    let first = interaction.response.and_then(|response| response.message);
    let known = first == Some(id) || interaction.followups.contains(&id);
    if known && state.messages.contains_key(&id) {
        Ok(id)
    } else {
        Err(ApiError::unknown_message())
    }
}

fn follow_up(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let interaction = by_token(state, call)?;
    let first = interaction.response.as_ref().and_then(|response| response.message);
    // Right after a deferral this edits the loading message, for backwards compatibility.
    let loading =
        first.filter(|first| state.messages.get(first).is_some_and(|m| m.flags & LOADING != 0));
    let id = if let Some(loading) = loading {
        change(state, loading, &call.body, call)?;
        loading
    } else {
        let id = answer(state, &interaction, &call.body, call)?;
        let interaction = state.interactions.get_mut(&interaction.id).expect("looked up above");
        interaction.followups.push(id);
        id
    };
    Ok(Answer::ok(state.message_json(id)))
}

fn show(state: &State, id: Snowflake) -> Answer {
    Answer::ok(state.message_json(id))
}

fn remove(state: &mut State, id: Snowflake) -> Answer {
    state.delete(state.messages[&id].channel, &[id]);
    Answer::empty()
}

fn get_original(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    original(state, call).map(|id| show(state, id))
}

fn edit_original(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = original(state, call)?;
    change(state, id, &call.body, call)?;
    Ok(show(state, id))
}

fn delete_original(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    original(state, call).map(|id| remove(state, id))
}

fn get(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    any(state, call).map(|id| show(state, id))
}

fn edit(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let id = any(state, call)?;
    change(state, id, &call.body, call)?;
    Ok(show(state, id))
}

fn delete(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    any(state, call).map(|id| remove(state, id))
}
