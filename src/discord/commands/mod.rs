//! Slash commands, one file a command: how Discord shows it and how a use of it becomes data. What
//! it does is the daemon's affair.

mod help;
mod photos;
mod privacy;

use std::fmt;

use serde_json::Value;
use serenity::all::{CommandDataOption, CommandDataOptionValue, CommandInteraction, GuildId};
use serenity::model::Permissions;

pub use photos::{PhotosAction, PhotosCommand, Scope};

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// `/help`.
    Help,
    /// `/photos on|off|status`.
    Photos(PhotosCommand),
    /// `/privacy`.
    Privacy,
}

/// One use of a command.
#[derive(Clone, PartialEq, Eq)]
pub struct Asked {
    /// The interaction's id.
    pub id: u64,
    /// Good for answering it, for a quarter of an hour.
    pub token: String,
    /// Server; `None` in private.
    pub guild: Option<u64>,
    /// Channel or thread.
    pub channel: u64,
    /// Who asks.
    pub person: u64,
    /// What that person may do in the channel; nothing in private.
    pub permissions: Permissions,
    /// What they ask for.
    pub command: Command,
}

impl fmt::Debug for Asked {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Asked({}: {:?})", self.id, self.command)
    }
}

impl Asked {
    /// Whether Discord's default for moderators' commands holds. Servers can lift it for anybody, so
    /// it is looked at again here.
    pub fn is_by_moderator(&self) -> bool {
        self.permissions.intersects(Permissions::MANAGE_GUILD | Permissions::ADMINISTRATOR)
    }
}

/// All commands, as Discord takes them (interactions/Application Commands).
pub(super) fn definitions() -> Value {
    [help::definition(), photos::definition(), privacy::definition()].into_iter().collect()
}

/// What an interaction asks for; `None` for a command that this program doesn't have.
pub(super) fn read(interaction: &CommandInteraction) -> Option<Asked> {
    let command = match interaction.data.name.as_str() {
        help::NAME => Command::Help,
        photos::NAME => Command::Photos(photos::read(&interaction.data.options)?),
        privacy::NAME => Command::Privacy,
        _ => return None,
    };
    let permissions = interaction.member.as_ref().and_then(|member| member.permissions);
    Some(Asked {
        id: interaction.id.get(),
        token: interaction.token.clone(),
        guild: interaction.guild_id.map(GuildId::get),
        channel: interaction.channel_id.get(),
        person: interaction.user.id.get(),
        permissions: permissions.unwrap_or_else(Permissions::empty),
        command,
    })
}

/// The subcommand used, with its options.
fn subcommand(options: &[CommandDataOption]) -> Option<(&str, &[CommandDataOption])> {
    let option = options.first()?;
    match &option.value {
        CommandDataOptionValue::SubCommand(options) => Some((&option.name, options)),
        _ => None,
    }
}

/// An option that holds a text.
fn text<'a>(options: &'a [CommandDataOption], name: &str) -> Option<&'a str> {
    options.iter().find(|option| option.name == name).and_then(|option| match &option.value {
        CommandDataOptionValue::String(text) => Some(text.as_str()),
        _ => None,
    })
}
