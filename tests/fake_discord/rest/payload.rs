//! The fields that all ways to write a message have in common: create, edit, interaction answers
//! and followups.

use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::mentions::AllowedMentions;
use super::super::model::{Attachment, FileHost};
use super::super::state::State;
use super::Upload;

/// Characters of a message from a bot.
const CONTENT_CHARACTERS_MAX: usize = 2000;
const DESCRIPTION_CHARACTERS_MAX: usize = 1024;
const FILES_MAX: usize = 10;
const FILE_BYTES_MAX: usize = 10 * 1024 * 1024;
const NONCE_CHARACTERS_MAX: usize = 25;

/// What a request says that a message should be. Fields not mentioned are `None`.
pub struct Payload {
    pub content: Option<String>,
    pub allowed_mentions: Option<AllowedMentions>,
    /// New files, and of an edit those that stay.
    pub attachments: Option<Vec<Attachment>>,
    pub components: Option<Value>,
    pub embeds: Option<Value>,
    pub flags: u64,
    pub nonce: Option<Value>,
}

impl Payload {
    /// Reads and checks `body` with its `files`; `present` are the attachments already there.
    pub fn read(
        state: &mut State,
        body: &Value,
        files: &[Upload],
        present: &[Attachment],
    ) -> Result<Self, ApiError> {
        let content = body["content"].as_str().map(|content| content.trim().to_owned());
        let length = content.as_deref().unwrap_or_default().chars().count();
        if length > CONTENT_CHARACTERS_MAX {
            return Err(ApiError::too_long("content", CONTENT_CHARACTERS_MAX));
        }
        let nonce = Some(&body["nonce"]).filter(|nonce| !nonce.is_null());
        if nonce.and_then(Value::as_str).is_some_and(|n| n.chars().count() > NONCE_CHARACTERS_MAX) {
            return Err(ApiError::too_long("nonce", NONCE_CHARACTERS_MAX));
        }
        let list = |field: &str| body[field].as_array().map(|list| json!(list));
        Ok(Self {
            content: content.or_else(|| body.get("content").map(|_| String::new())),
            allowed_mentions: body
                .get("allowed_mentions")
                .map(AllowedMentions::read)
                .transpose()?,
            attachments: read_attachments(state, &body["attachments"], files, present)?,
            components: list("components").map(numbered),
            embeds: list("embeds").map(|embeds| typed(&embeds)),
            flags: body["flags"].as_u64().unwrap_or(0),
            nonce: nonce.cloned(),
        })
    }

    /// Whether a message of this alone would show nothing.
    pub fn is_empty(&self) -> bool {
        let none = |list: &Option<Value>| {
            list.as_ref().and_then(Value::as_array).is_none_or(Vec::is_empty)
        };
        self.content.as_deref().unwrap_or_default().is_empty()
            && self.attachments.as_deref().unwrap_or_default().is_empty()
            && none(&self.components)
            && none(&self.embeds)
    }
}

/// Joins the uploaded files with what `attachments` says of them: `id` n there is `files[n]`, or
/// the id of an attachment that stays.
fn read_attachments(
    state: &mut State,
    said: &Value,
    files: &[Upload],
    present: &[Attachment],
) -> Result<Option<Vec<Attachment>>, ApiError> {
    if files.iter().any(|file| file.bytes.len() > FILE_BYTES_MAX) {
        return Err(ApiError::entity_too_large());
    }
    let said = said.as_array();
    if said.is_none() && files.is_empty() {
        return Ok(None);
    }
    let id_of = |entry: &Value| match &entry["id"] {
        Value::String(id) => id.clone(),
        id => id.to_string(),
    };
    let mut attachments = Vec::new();
    for entry in said.into_iter().flatten() {
        let id = id_of(entry);
        let description = entry["description"].as_str();
        let length = description.unwrap_or_default().chars().count();
        if length > DESCRIPTION_CHARACTERS_MAX {
            return Err(ApiError::too_long(
                "attachments.0.description",
                DESCRIPTION_CHARACTERS_MAX,
            ));
        }
        if let Some(kept) = present.iter().find(|file| file.id.to_string() == id) {
            attachments.push(kept.clone());
        } else if !files.iter().any(|file| file.field == format!("files[{id}]")) {
            return Err(ApiError::invalid_form(
                "attachments.0.id",
                "ATTACHMENT_NOT_FOUND",
                "Attachment data with this id could not be found.",
            ));
        }
    }
    if said.is_none() {
        attachments.extend_from_slice(present);
    }
    for file in files {
        let entry = said
            .into_iter()
            .flatten()
            .find(|entry| file.field == format!("files[{}]", id_of(entry)));
        let field = |name: &str| entry.and_then(|entry| entry[name].as_str());
        let filename = cleaned(field("filename").unwrap_or(&file.filename));
        let description = field("description").map(str::to_owned);
        attachments.push(state.attachment(
            filename,
            file.content_type.clone(),
            description,
            file.bytes.clone(),
            FileHost::Discord,
        ));
    }
    if attachments.len() > FILES_MAX {
        return Err(ApiError::invalid_form(
            "attachments",
            "BASE_TYPE_MAX_LENGTH",
            "Must be 10 or fewer in length.",
        ));
    }
    Ok(Some(attachments))
}

/// A file name as Discord keeps it.
fn cleaned(filename: &str) -> String {
    let kept = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    filename.chars().map(|c| if kept(c) { c } else { '_' }).collect()
}

/// Components get running numbers as ids where they have none.
fn numbered(mut components: Value) -> Value {
    fn number(component: &mut Value, next: &mut u64) {
        *next += 1;
        if component["id"].is_null() {
            component["id"] = json!(*next);
        }
        let inside = component.get_mut("components").and_then(Value::as_array_mut);
        for inner in inside.into_iter().flatten() {
            number(inner, next);
        }
    }
    let mut next = 0;
    for component in components.as_array_mut().into_iter().flatten() {
        number(component, &mut next);
    }
    components
}

/// Embeds come back with their type.
fn typed(embeds: &Value) -> Value {
    let rich = |embed: &Value| super::super::wire::with(json!({ "type": "rich" }), embed.clone());
    embeds.as_array().into_iter().flatten().map(rich).collect()
}
