//! Commands, buttons and forms, as people use them.

use std::time::Duration;

use serde_json::{Value, json};
use serenity::model::gateway::GatewayIntents;

use super::World;
use super::clock::Snowflake;
use super::conversation::{Channel, Guild, Person};
use super::model::{Command, Interaction, LOADING, Message};
use super::rest::interactions::{FIRST_RESPONSE_MAX, kind};
use super::state::State;
use super::wire::with;

/// One use of a command, a button or a form.
#[derive(Clone)]
pub struct Asked {
    world: World,
    id: Snowflake,
}

/// Why Discord's client would not send what somebody tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotOffered {
    /// There is no such command for this person here.
    Command(String),
    /// A required option is missing.
    Option(String),
    /// The message has no such button, or it is disabled.
    Button(String),
}

impl Person {
    /// Uses a slash command as typed: `/photos off`, `/chat here state:on cooldown:5`. Panics when
    /// Discord's client would not offer it.
    pub fn runs_command(&self, channel: &Channel, typed: &str) -> Asked {
        self.tries_command(channel, typed)
            .unwrap_or_else(|why| panic!("{typed} can't be sent: {why:?}"))
    }

    /// Uses a slash command, if Discord's client would let this person.
    pub fn tries_command(&self, channel: &Channel, typed: &str) -> Result<Asked, NotOffered> {
        self.world().change(|state| {
            let command = offered(state, self, channel.id(), typed, 1)?;
            let data = typed_data(state, &command, typed, Completeness::Sent)?;
            let ask =
                Ask { kind: kind::COMMAND, command: Some(command.name()), source: None, data };
            Ok(self.ask(state, channel.id(), &ask))
        })
    }

    /// Uses a command from a message's menu.
    pub fn uses_message_command(&self, name: &str, message: &Message) -> Result<Asked, NotOffered> {
        self.world().change(|state| {
            let command = offered(state, self, message.channel, name, 3)?;
            let data = json!({
                "id": command.id,
                "name": command.name(),
                "type": 3,
                "target_id": message.id,
                // The target is shown with its content, whatever the intents.
                "resolved": { "messages": { message.id.to_string():
                    state.message_json_under(message.id, GatewayIntents::all()) } },
            });
            let source = Some(message.id);
            let ask = Ask { kind: kind::COMMAND, command: Some(command.name()), source, data };
            Ok(self.ask(state, message.channel, &ask))
        })
    }

    /// Presses the button with this label.
    pub fn presses(&self, label: &str, message: &Message) -> Result<Asked, NotOffered> {
        self.world().change(|state| {
            let posted = state.messages.get(&message.id);
            let button = posted.and_then(|posted| find_button(&posted.components, label));
            let custom_id = button
                .filter(|button| button["disabled"] != json!(true))
                .and_then(|button| button["custom_id"].as_str())
                .ok_or_else(|| NotOffered::Button(label.to_owned()))?;
            let data = json!({ "custom_id": custom_id, "component_type": 2 });
            let source = Some(message.id);
            let ask = Ask { kind: kind::COMPONENT, command: None, source, data };
            Ok(self.ask(state, message.channel, &ask))
        })
    }

    /// Sends the form that the bot answered with, its fields filled by their custom ids.
    pub fn submits(&self, asked: &Asked, fields: &[(&str, &str)]) -> Asked {
        self.world().change(|state| {
            let before = state.interactions[&asked.id].clone();
            let form = before.response.expect("the bot answered with a form").data;
            let rows: Vec<_> = fields
                .iter()
                .map(|(id, value)| {
                    let input = json!({ "type": 4, "id": 2, "custom_id": id, "value": value });
                    json!({ "type": 1, "id": 1, "components": [input] })
                })
                .collect();
            let data = json!({ "custom_id": form["custom_id"], "components": rows });
            let ask = Ask { kind: kind::FORM, command: None, source: None, data };
            let sent = self.ask(state, before.channel, &ask);
            state.interactions.get_mut(&sent.id).expect("just asked").form_of = Some(asked.id);
            sent
        })
    }

    /// Types in an option that completes itself; [`Asked::choices`] has what the bot offers.
    pub fn begins_to_type(&self, channel: &Channel, typed: &str) -> Asked {
        self.world().change(|state| {
            let command = offered(state, self, channel.id(), typed, 1)
                .unwrap_or_else(|why| panic!("{typed} can't be typed: {why:?}"));
            let mut data = typed_data(state, &command, typed, Completeness::Typing)
                .unwrap_or_else(|why| panic!("{typed} can't be typed: {why:?}"));
            let focused = last_option(&mut data).expect("something was typed in an option");
            focused["focused"] = json!(true);
            let command = Some(command.name());
            self.ask(
                state,
                channel.id(),
                &Ask { kind: kind::AUTOCOMPLETE, command, source: None, data },
            )
        })
    }

    fn ask(&self, state: &mut State, channel: Snowflake, ask: &Ask<'_>) -> Asked {
        let id = state.clock.next_id();
        let interaction = Interaction {
            id,
            token: format!("interaction-token-{id}"),
            kind: ask.kind,
            user: self.id(),
            channel,
            asked: state.now(),
            command: ask.command.map(str::to_owned),
            source: ask.source,
            form_of: None,
            response: None,
            followups: Vec::new(),
        };
        let mut json = interaction_json(state, &interaction, &ask.data);
        if ask.kind != kind::COMMAND
            && let Some(source) = ask.source
        {
            json["message"] = state.message_json(source);
        }
        let guild = state.channels[&channel].guild;
        state.interactions.insert(id, interaction);
        state.tell_interaction(guild, &json);
        Asked { world: self.world().clone(), id }
    }
}

/// What an interaction is made of.
struct Ask<'a> {
    kind: u64,
    command: Option<&'a str>,
    source: Option<Snowflake>,
    data: Value,
}

fn interaction_json(state: &State, interaction: &Interaction, data: &Value) -> Value {
    let channel = &state.channels[&interaction.channel];
    let user = interaction.user;
    let rights = state.permissions(user, channel).bits().to_string();
    let place = with(state.channel_json(channel.id, state.bot), json!({ "permissions": rights }));
    let common = json!({
        "id": interaction.id,
        "application_id": state.application,
        "type": interaction.kind,
        "data": data,
        "token": interaction.token,
        "version": 1,
        "channel": place,
        "channel_id": channel.id,
        "app_permissions": state.bot_permissions(channel).bits().to_string(),
        "locale": "en-US",
        "entitlements": [],
        "authorizing_integration_owners": state.integration_owners(channel.id),
        "attachment_size_limit": 10 * 1024 * 1024,
    });
    let by_place = match channel.guild {
        Some(guild) => json!({
            "guild_id": guild,
            "guild": { "id": guild, "locale": "en-US", "features": [] },
            "guild_locale": "en-US",
            "context": 0,
            "member": with(state.member_json(guild, user), json!({ "permissions": rights })),
        }),
        None => json!({ "context": 1, "user": state.user_json(user) }),
    };
    with(common, by_place)
}

/// The command of this type that begins what was typed.
fn offered(
    state: &mut State,
    person: &Person,
    channel: Snowflake,
    typed: &str,
    kind: u64,
) -> Result<Command, NotOffered> {
    if let Some(guild) = state.channels[&channel].guild {
        state.join(guild, person.id());
    }
    let wanted = typed.trim_start_matches('/');
    let name = if kind == 1 { wanted.split(' ').next().unwrap_or_default() } else { wanted };
    let mut commands = state.offered(person.id(), channel).into_iter();
    commands
        .find(|command| command.kind() == kind && command.name() == name)
        .cloned()
        .ok_or_else(|| NotOffered::Command(name.to_owned()))
}

/// Whether a command is sent, which takes all required options, or still being typed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Completeness {
    Sent,
    Typing,
}

/// The last option given, inside subcommands if there are any.
fn last_option(data: &mut Value) -> Option<&mut Value> {
    let last = data.get_mut("options")?.as_array_mut()?.last_mut()?;
    if last.get("options").is_some() { last_option(last) } else { Some(last) }
}

/// The `data` of a slash command as typed.
fn typed_data(
    state: &State,
    command: &Command,
    typed: &str,
    completeness: Completeness,
) -> Result<Value, NotOffered> {
    let rest = typed.trim_start_matches('/').strip_prefix(command.name()).unwrap_or_default();
    let mut resolved = json!({});
    let options =
        typed_options(state, &command.definition, rest.trim(), completeness, &mut resolved)?;
    let mut data =
        json!({ "id": command.id, "name": command.name(), "type": 1, "options": options });
    if resolved != json!({}) {
        data["resolved"] = resolved;
    }
    if let Some(guild) = command.guild {
        data["guild_id"] = json!(guild);
    }
    Ok(data)
}

/// Subcommands by their names, then `name:value` pairs; text without a name fills the first option.
fn typed_options(
    state: &State,
    definition: &Value,
    typed: &str,
    completeness: Completeness,
    resolved: &mut Value,
) -> Result<Vec<Value>, NotOffered> {
    let options = definition["options"].as_array().map_or(&[][..], Vec::as_slice);
    let (word, after) = typed.split_once(' ').unwrap_or((typed, ""));
    let is_sub = |option: &&Value| matches!(option["type"].as_u64(), Some(1 | 2));
    if options.iter().any(|option| is_sub(&option)) {
        let sub = options
            .iter()
            .filter(is_sub)
            .find(|option| option["name"] == json!(word))
            .ok_or_else(|| NotOffered::Command(word.to_owned()))?;
        let inner = typed_options(state, sub, after.trim(), completeness, resolved)?;
        return Ok(vec![json!({ "name": word, "type": sub["type"], "options": inner })]);
    }
    let mut starts: Vec<_> = options
        .iter()
        .filter_map(|option| {
            let mark = format!("{}:", option["name"].as_str()?);
            let at =
                if typed.starts_with(&mark) { 0 } else { typed.find(&format!(" {mark}"))? + 1 };
            Some((at, at + mark.len(), option))
        })
        .collect();
    if starts.is_empty() && !typed.is_empty() {
        let first = options.first().ok_or_else(|| NotOffered::Option(typed.to_owned()))?;
        starts.push((0, 0, first));
    }
    starts.sort_by_key(|(at, ..)| *at);
    let mut given = Vec::new();
    for (index, (_, from, option)) in starts.iter().enumerate() {
        let to = starts.get(index + 1).map_or(typed.len(), |(next, ..)| *next);
        let value = typed_value(state, option, typed[*from..to].trim(), resolved);
        given.push(json!({ "name": option["name"], "type": option["type"], "value": value }));
    }
    let missing = options.iter().find(|option| {
        option["required"] == json!(true) && !given.iter().any(|g| g["name"] == option["name"])
    });
    match missing.filter(|_| completeness == Completeness::Sent) {
        Some(option) => Err(NotOffered::Option(option["name"].to_string())),
        None => Ok(given),
    }
}

/// The value of an option as its type has it: `@ann` is a user, `#general` a channel.
fn typed_value(state: &State, option: &Value, typed: &str, resolved: &mut Value) -> Value {
    let choice = option["choices"].as_array().into_iter().flatten().find(|choice| {
        choice["name"].as_str() == Some(typed) || choice["value"].as_str() == Some(typed)
    });
    if let Some(choice) = choice {
        return choice["value"].clone();
    }
    let named = typed.trim_start_matches(['@', '#']);
    match option["type"].as_u64() {
        Some(4) => json!(typed.parse::<i64>().expect("a whole number for this option")),
        Some(5) => json!(typed == "true"),
        Some(6) => {
            let user = state.users.values().find(|user| user.name == named);
            let user = user.unwrap_or_else(|| panic!("nobody is called {named}"));
            resolved["users"][user.id.to_string()] = user.json();
            json!(user.id)
        }
        Some(7) => {
            let channel = state.channels.values().find(|channel| channel.name == named);
            let channel = channel.unwrap_or_else(|| panic!("no channel is called {named}"));
            let rights =
                json!({ "permissions": state.bot_permissions(channel).bits().to_string() });
            resolved["channels"][channel.id.to_string()] =
                with(state.channel_json(channel.id, state.bot), rights);
            json!(channel.id)
        }
        Some(10) => json!(typed.parse::<f64>().expect("a number for this option")),
        _ => json!(typed),
    }
}

fn find_button<'a>(components: &'a Value, label: &str) -> Option<&'a Value> {
    let inside = |row: &'a Value| row["components"].as_array().into_iter().flatten();
    let mut buttons = components.as_array().into_iter().flatten().flat_map(inside);
    buttons.find(|button| button["label"].as_str() == Some(label))
}

impl Guild {
    /// An administrator lets everyone use a command, whatever its default permissions.
    pub fn lets_everyone_use(&self, command: &str) {
        self.world().change(|state| {
            let guild = state.guilds.get_mut(&self.id()).expect("a guild of this world");
            guild.lifted_commands.insert(command.to_owned());
        });
    }
}

impl World {
    /// The bot's finished answer: `@original` once it is no longer loading.
    pub async fn wait_for_answer(&self, asked: &Asked) -> Message {
        self.wait_for("an answer to an interaction", || asked.answer()).await
    }

    /// Names of the commands that the bot has registered, in order.
    pub fn commands(&self) -> Vec<String> {
        self.look(|state| state.commands.iter().map(|c| c.name().to_owned()).collect())
    }

    /// Waits until the bot has registered a command of this name.
    pub async fn wait_for_command(&self, name: &str) {
        self.wait_for(&format!("the command {name}"), || {
            self.commands().iter().any(|known| known == name).then_some(())
        })
        .await;
    }
}

impl Asked {
    fn interaction(&self) -> Interaction {
        self.world.look(|state| state.interactions[&self.id].clone())
    }

    /// The answer, if it is there and finished.
    pub fn answer(&self) -> Option<Message> {
        let id = self.interaction().response?.message?;
        self.world.look(|state| state.messages.get(&id).cloned()).filter(|m| m.flags & LOADING == 0)
    }

    /// How long the bot took to respond at all, deferring included.
    pub fn responded_after(&self) -> Option<Duration> {
        let interaction = self.interaction();
        interaction.response.map(|response| interaction.asked.until(response.at))
    }

    /// Whether the person sees "the application did not respond".
    pub fn has_failed(&self) -> bool {
        let interaction = self.interaction();
        interaction.response.is_none()
            && interaction.asked.until(self.world.now()) > FIRST_RESPONSE_MAX
    }

    /// What the bot sent after its answer.
    pub fn followups(&self) -> Vec<Message> {
        self.interaction().followups.iter().map(|&id| self.world.message(id)).collect()
    }

    /// The form that the bot answered with.
    pub fn form(&self) -> Option<Value> {
        self.interaction().response.filter(|r| r.kind == 9).map(|response| response.data)
    }

    /// The choices that the bot offered for an option.
    pub fn choices(&self) -> Option<Value> {
        self.interaction().response.filter(|r| r.kind == 8).map(|r| r.data["choices"].clone())
    }
}
