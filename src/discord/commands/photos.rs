//! `/photos on|off|status`: whether the bot may share photos in a channel or in a whole server.

use serde_json::{Value, json};
use serenity::all::CommandDataOption;
use serenity::model::Permissions;

use super::{subcommand, text};

pub(super) const NAME: &str = "photos";

/// What is to be done about photos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhotosCommand {
    /// What.
    pub action: PhotosAction,
    /// Where.
    pub scope: Scope,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PhotosAction {
    /// The model decides from now on.
    On,
    /// No photo from now on.
    Off,
    /// Nothing: tell how it is.
    Status,
}

/// Where a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In this channel or thread, whatever holds in the server.
    Channel,
    /// In the whole server, wherever a channel has no setting of its own.
    Server,
}

pub(super) fn definition() -> Value {
    let scope = json!({
        "type": 3,
        "name": "where",
        "description": "This channel, or the whole server",
        "choices": [
            { "name": "this channel", "value": "channel" },
            { "name": "the whole server", "value": "server" },
        ],
    });
    let action = |name: &str, description: &str, options: &[&Value]| json!({ "type": 1, "name": name, "description": description, "options": options });
    json!({
        "name": NAME,
        "description": "Whether I may share photos here",
        "contexts": [0],
        "default_member_permissions": Permissions::MANAGE_GUILD.bits().to_string(),
        "options": [
            action("on", "I may share photos", &[&scope]),
            action("off", "I may not share photos", &[&scope]),
            action("status", "How it is now", &[]),
        ],
    })
}

pub(super) fn read(options: &[CommandDataOption]) -> Option<PhotosCommand> {
    let (action, options) = subcommand(options)?;
    let action = match action {
        "on" => PhotosAction::On,
        "off" => PhotosAction::Off,
        "status" => PhotosAction::Status,
        _ => return None,
    };
    let scope = match text(options, "where") {
        None | Some("channel") => Scope::Channel,
        Some("server") => Scope::Server,
        Some(_) => return None,
    };
    Some(PhotosCommand { action, scope })
}
