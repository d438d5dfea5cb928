//! From the client library's types to plain data.

use std::collections::HashMap;

use serenity::all::{
    ChannelType, Event as Gateway, GuildChannel, GuildId, Interaction, MessageId,
    PermissionOverwriteType, Role, RoleId,
};
use serenity::model::Permissions;
use serenity::model::channel as theirs;

use super::commands;
use super::message::{
    Attachment, Author, AuthorKind, Me, Mention, Message, MessageKind, ReplyTarget,
};
use super::permissions::{Overwrite, Place, PlaceKind, Server};
use super::servers::ServerChange;
use crate::daemon::{Event, Session};

/// What a gateway event means for the daemon, if anything.
pub(super) fn event(event: Gateway, me: &Me) -> Option<Event> {
    let server = |change| Some(Event::Server(change));
    match event {
        Gateway::Ready(ready) => {
            let application = ready.ready.application.id.get();
            Some(Event::Session(Session::New { application }))
        }
        Gateway::Resumed(_) => Some(Event::Session(Session::Resumed)),
        Gateway::MessageCreate(created) => {
            Some(Event::Message(Box::new(message(&created.message, me.id))))
        }
        Gateway::MessageUpdate(update) => {
            // Discord also "updates" messages by adding previews to links.
            update.edited_timestamp?;
            Some(Event::Edit { message: update.id.get() })
        }
        Gateway::MessageDelete(deleted) => {
            Some(Event::Delete { messages: vec![deleted.message_id.get()] })
        }
        Gateway::MessageDeleteBulk(deleted) => {
            Some(Event::Delete { messages: deleted.ids.iter().map(|id| id.get()).collect() })
        }
        Gateway::GuildCreate(created) => {
            let guild = created.guild;
            let mine = guild.members.values().find(|member| member.user.id.get() == me.id);
            let places = guild.channels.values().chain(&guild.threads).map(place).collect();
            server(ServerChange::Known(Server {
                id: guild.id.get(),
                owner: guild.owner_id.get(),
                roles: roles(&guild.roles),
                my_roles: mine.map(|member| ids(&member.roles)).unwrap_or_default(),
                places,
            }))
        }
        Gateway::GuildDelete(deleted) => {
            server(ServerChange::Gone { guild: deleted.guild.id.get() })
        }
        Gateway::GuildUpdate(updated) => server(ServerChange::Roles {
            guild: updated.guild.id.get(),
            owner: updated.guild.owner_id.get(),
            roles: roles(&updated.guild.roles),
        }),
        Gateway::GuildRoleCreate(created) => server(role(&created.role)),
        Gateway::GuildRoleUpdate(updated) => server(role(&updated.role)),
        Gateway::GuildRoleDelete(deleted) => server(ServerChange::NoRole {
            guild: deleted.guild_id.get(),
            role: deleted.role_id.get(),
        }),
        Gateway::GuildMemberUpdate(updated) if updated.user.id.get() == me.id => {
            server(ServerChange::MyRoles {
                guild: updated.guild_id.get(),
                roles: ids(&updated.roles),
            })
        }
        Gateway::InteractionCreate(created) => match created.interaction {
            Interaction::Command(command) => {
                commands::read(&command).map(|asked| Event::Command(Box::new(asked)))
            }
            _ => None,
        },
        Gateway::ChannelCreate(created) => server(places(&[created.channel])?),
        Gateway::ChannelUpdate(updated) => server(places(&[updated.channel])?),
        Gateway::ThreadCreate(created) => server(places(&[created.thread])?),
        Gateway::ThreadUpdate(updated) => server(places(&[updated.thread])?),
        Gateway::ThreadListSync(synced) => server(places(&synced.threads)?),
        Gateway::ChannelDelete(deleted) => server(ServerChange::NoPlace {
            guild: deleted.channel.guild_id.get(),
            place: deleted.channel.id.get(),
        }),
        Gateway::ThreadDelete(deleted) => server(ServerChange::NoPlace {
            guild: deleted.thread.guild_id.get(),
            place: deleted.thread.id.get(),
        }),
        _ => None,
    }
}

/// A message, seen by account `me`.
pub(super) fn message(message: &theirs::Message, me: u64) -> Message {
    let kind = match message.kind {
        theirs::MessageType::Regular | theirs::MessageType::InlineReply => MessageKind::Said,
        _ => MessageKind::Report,
    };
    let target = message.message_reference.as_ref().and_then(|reference| reference.message_id);
    let reply_to = match message.kind {
        theirs::MessageType::InlineReply => target.map(|id| ReplyTarget {
            id: id.get(),
            message: message
                .referenced_message
                .as_deref()
                .map(|target| Box::new(self::message(target, me))),
        }),
        _ => None,
    };
    Message {
        id: message.id.get(),
        channel: message.channel_id.get(),
        guild: message.guild_id.map(GuildId::get),
        author: author(message, me),
        text: message.content.clone(),
        mentions: message
            .mentions
            .iter()
            .map(|user| Mention { id: user.id.get(), name: user.display_name().to_owned() })
            .collect(),
        reply_to,
        attachments: message.attachments.iter().map(attachment).collect(),
        kind,
    }
}

fn author(message: &theirs::Message, me: u64) -> Author {
    let nick = message.member.as_ref().and_then(|member| member.nick.clone());
    let kind = if message.author.id.get() == me {
        AuthorKind::Myself
    } else if message.webhook_id.is_some() {
        AuthorKind::Webhook
    } else if message.author.bot {
        AuthorKind::Bot
    } else {
        AuthorKind::Person
    };
    Author {
        id: message.author.id.get(),
        name: nick.unwrap_or_else(|| message.author.display_name().to_owned()),
        kind,
    }
}

fn attachment(attachment: &theirs::Attachment) -> Attachment {
    Attachment {
        id: attachment.id.get(),
        filename: attachment.filename.clone(),
        url: attachment.url.clone(),
        content_type: attachment.content_type.clone(),
        bytes: u64::from(attachment.size),
        size: attachment.dimensions(),
        description: attachment.description.clone(),
    }
}

fn roles(roles: &HashMap<RoleId, Role>) -> HashMap<u64, Permissions> {
    roles.iter().map(|(id, role)| (id.get(), role.permissions)).collect()
}

fn role(role: &Role) -> ServerChange {
    ServerChange::Role {
        guild: role.guild_id.get(),
        role: role.id.get(),
        permissions: role.permissions,
    }
}

fn ids(roles: &[RoleId]) -> Vec<u64> {
    roles.iter().map(|role| role.get()).collect()
}

fn places(channels: &[GuildChannel]) -> Option<ServerChange> {
    let guild = channels.first()?.guild_id.get();
    Some(ServerChange::Places { guild, places: channels.iter().map(place).collect() })
}

fn place(channel: &GuildChannel) -> (u64, Place) {
    let thread = matches!(
        channel.kind,
        ChannelType::NewsThread | ChannelType::PublicThread | ChannelType::PrivateThread
    );
    let kind = match channel.parent_id {
        Some(parent) if thread => PlaceKind::Thread { parent: parent.get() },
        _ => PlaceKind::Channel,
    };
    let overwrites = channel
        .permission_overwrites
        .iter()
        .filter_map(|overwrite| {
            let of = match overwrite.kind {
                PermissionOverwriteType::Member(user) => user.get(),
                PermissionOverwriteType::Role(role) => role.get(),
                _ => return None,
            };
            Some(Overwrite { of, deny: overwrite.deny, allow: overwrite.allow })
        })
        .collect();
    let last_message = channel.last_message_id.map(MessageId::get);
    (channel.id.get(), Place { kind, overwrites, last_message })
}
