//! Application commands (interactions/Application Commands).

use serde_json::{Value, json};

use super::super::clock::Snowflake;
use super::super::error::ApiError;
use super::super::model::Command;
use super::super::recording::Method::{Delete, Get, Patch, Post, Put};
use super::super::state::State;
use super::super::wire::with;
use super::{Answer, Call, Route};

pub const ROUTES: &[Route] = &[
    (Get, "/applications/{application_id}/commands", list),
    (Post, "/applications/{application_id}/commands", create),
    (Put, "/applications/{application_id}/commands", overwrite),
    (Get, "/applications/{application_id}/commands/{command_id}", get),
    (Patch, "/applications/{application_id}/commands/{command_id}", edit),
    (Delete, "/applications/{application_id}/commands/{command_id}", delete),
    (Get, "/applications/{application_id}/guilds/{guild_id}/commands", list),
    (Post, "/applications/{application_id}/guilds/{guild_id}/commands", create),
    (Put, "/applications/{application_id}/guilds/{guild_id}/commands", overwrite),
    (Get, "/applications/{application_id}/guilds/{guild_id}/commands/{command_id}", get),
    (Patch, "/applications/{application_id}/guilds/{guild_id}/commands/{command_id}", edit),
    (Delete, "/applications/{application_id}/guilds/{guild_id}/commands/{command_id}", delete),
];

/// How many commands of type 1, 2 and 3 a place can hold.
const COMMANDS_MAX: [usize; 3] = [100, 15, 15];
/// Creations a day in one place.
const CREATIONS_MAX: usize = 200;
const NAME_CHARACTERS_MAX: usize = 32;
const DESCRIPTION_CHARACTERS_MAX: usize = 100;
const LIST_MAX: usize = 25;

/// Where a call's commands are: in a guild, or everywhere.
fn place(state: &State, call: &Call) -> Result<Option<Snowflake>, ApiError> {
    if call.id("application_id")? != state.application {
        return Err(ApiError::missing_access());
    }
    if !call.template.contains("{guild_id}") {
        return Ok(None);
    }
    Ok(Some(state.reach_guild(call)?.id))
}

fn one(state: &State, call: &Call) -> Result<usize, ApiError> {
    let (guild, id) = (place(state, call)?, call.id("command_id")?);
    let found = state.commands.iter().position(|c| c.guild == guild && c.id == id);
    found.ok_or_else(ApiError::unknown_command)
}

fn required(field: &str) -> ApiError {
    ApiError::invalid_form(field, "BASE_TYPE_REQUIRED", "This field is required")
}

/// Checks a command or an option with all below it. `at` is where it stands in the body.
fn check(definition: &Value, at: &str, described: bool) -> Result<(), ApiError> {
    let field = |name: &str| if at.is_empty() { name.into() } else { format!("{at}.{name}") };
    let name = definition["name"].as_str().ok_or_else(|| required(&field("name")))?;
    let length = name.chars().count();
    let plain = |c: char| c.is_alphanumeric() && !c.is_uppercase() || matches!(c, '-' | '_' | '\'');
    if !(1..=NAME_CHARACTERS_MAX).contains(&length) || (described && !name.chars().all(plain)) {
        return Err(ApiError::invalid_form(
            &field("name"),
            "APPLICATION_COMMAND_INVALID_NAME",
            "Command name is invalid",
        ));
    }
    let description = definition["description"].as_str().unwrap_or_default().chars().count();
    if described && description == 0 {
        return Err(required(&field("description")));
    }
    if description > DESCRIPTION_CHARACTERS_MAX {
        return Err(ApiError::too_long(&field("description"), DESCRIPTION_CHARACTERS_MAX));
    }
    if !described && description > 0 {
        return Err(ApiError::invalid_form(
            &field("description"),
            "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION_NOT_ALLOWED",
            "Context menu commands cannot have description",
        ));
    }
    for list in ["options", "choices"] {
        let entries = definition[list].as_array().map_or(&[][..], Vec::as_slice);
        if entries.len() > LIST_MAX {
            return Err(ApiError::too_long(&field(list), LIST_MAX));
        }
    }
    let options = definition["options"].as_array().map_or(&[][..], Vec::as_slice);
    let mut optional_seen = false;
    for (index, option) in options.iter().enumerate() {
        let place = field(&format!("options.{index}"));
        check(option, &place, true)?;
        let required = option["required"].as_bool().unwrap_or(false);
        if required && optional_seen {
            return Err(ApiError::invalid_form(
                &place,
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            ));
        }
        optional_seen |= !required;
    }
    Ok(())
}

/// Puts a command in its place, over one of the same name and type.
fn put(
    state: &mut State,
    guild: Option<Snowflake>,
    definition: &Value,
    at: &str,
) -> Result<(Snowflake, bool), ApiError> {
    let kind = definition["type"].as_u64().unwrap_or(1);
    let described = kind == 1;
    check(definition, at, described)?;
    let same = |c: &&mut Command| {
        c.guild == guild && c.kind() == kind && c.definition["name"] == definition["name"]
    };
    let version = state.clock.next_id();
    if let Some(old) = state.commands.iter_mut().find(same) {
        old.definition = definition.clone();
        old.version = version;
        return Ok((old.id, false));
    }
    let alike = state.commands.iter().filter(|c| c.guild == guild && c.kind() == kind).count();
    let most = COMMANDS_MAX.get(kind as usize - 1).copied().unwrap_or(0);
    let created = state.command_creations.entry(guild).or_default();
    if alike >= most {
        return Err(ApiError::too_many_commands());
    }
    if *created >= CREATIONS_MAX {
        return Err(ApiError::too_many_command_creations());
    }
    *created += 1;
    let id = state.clock.next_id();
    state.commands.push(Command { id, version, guild, definition: definition.clone() });
    Ok((id, true))
}

fn json_of(state: &State, id: Snowflake) -> Value {
    let found = state.commands.iter().find(|command| command.id == id);
    found.expect("just looked up").json(state.application)
}

fn list(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = place(state, call)?;
    let here = state.commands.iter().filter(|command| command.guild == guild);
    Ok(Answer::ok(here.map(|command| command.json(state.application)).collect()))
}

fn create(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = place(state, call)?;
    let (id, new) = put(state, guild, &call.body, "")?;
    let json = json_of(state, id);
    Ok(if new { Answer::created(json) } else { Answer::ok(json) })
}

fn overwrite(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let guild = place(state, call)?;
    let wanted = call.body.as_array().cloned().unwrap_or_default();
    let kept = state.commands.clone();
    let named = |command: &Command| {
        wanted.iter().any(|w| {
            w["name"] == command.definition["name"]
                && w["type"].as_u64().unwrap_or(1) == command.kind()
        })
    };
    state.commands.retain(|command| command.guild != guild || named(command));
    let mut ids = Vec::new();
    for (index, definition) in wanted.iter().enumerate() {
        match put(state, guild, definition, &index.to_string()) {
            Ok((id, _)) => ids.push(id),
            Err(error) => {
                state.commands = kept;
                return Err(error);
            }
        }
    }
    Ok(Answer::ok(ids.iter().map(|&id| json_of(state, id)).collect()))
}

fn get(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let at = one(state, call)?;
    Ok(Answer::ok(state.commands[at].json(state.application)))
}

fn edit(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let at = one(state, call)?;
    let definition = with(state.commands[at].definition.clone(), call.body.clone());
    check(&definition, "", state.commands[at].kind() == 1)?;
    state.commands[at].version = state.clock.next_id();
    state.commands[at].definition = definition;
    Ok(Answer::ok(state.commands[at].json(state.application)))
}

fn delete(state: &mut State, call: &Call) -> Result<Answer, ApiError> {
    let at = one(state, call)?;
    state.commands.remove(at);
    Ok(Answer::empty())
}

impl State {
    /// The commands that somebody is offered in a channel, by Discord's own rules: where it is
    /// registered, its contexts, and its default permissions unless an administrator lifted them.
    pub fn offered(&self, user: Snowflake, channel: Snowflake) -> Vec<&Command> {
        let channel = &self.channels[&channel];
        let rights = self.permissions(user, channel);
        let context = json!(u8::from(channel.guild.is_none()));
        let fits = |command: &&Command| {
            let definition = &command.definition;
            let here = match (command.guild, channel.guild) {
                (Some(home), place) => place == Some(home),
                (None, Some(_)) => true,
                (None, None) => definition["dm_permission"] != json!(false),
            };
            let in_context = definition["contexts"]
                .as_array()
                .is_none_or(|contexts| contexts.contains(&context));
            here && in_context && self.may_use(command, channel.guild, rights)
        };
        self.commands.iter().filter(fits).collect()
    }

    fn may_use(
        &self,
        command: &Command,
        guild: Option<Snowflake>,
        rights: serenity::model::Permissions,
    ) -> bool {
        use serenity::model::Permissions;
        let Some(guild) = guild.map(|guild| &self.guilds[&guild]) else { return true };
        let needed = match &command.definition["default_member_permissions"] {
            Value::String(bits) => bits.parse().ok(),
            bits => bits.as_u64(),
        };
        let by_default = match needed.map(Permissions::from_bits_truncate) {
            None => true,
            Some(none) if none.is_empty() => rights.administrator(),
            Some(needed) => rights.contains(needed),
        };
        rights.contains(Permissions::USE_APPLICATION_COMMANDS)
            && (by_default || guild.lifted_commands.contains(command.name()))
    }
}
