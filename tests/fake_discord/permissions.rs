//! Who may do what where (Discord's documentation, topics/Permissions).

use serenity::model::Permissions;

use super::clock::Snowflake;
use super::model::{Channel, ChannelKind, Guild, OverwriteTarget};
use super::state::State;

/// What a member without any role may do in a new guild. Pinging everyone is in it, as the worst
/// case for a bot.
pub fn of_newcomers() -> Permissions {
    Permissions::VIEW_CHANNEL
        | Permissions::SEND_MESSAGES
        | Permissions::SEND_MESSAGES_IN_THREADS
        | Permissions::CREATE_PUBLIC_THREADS
        | Permissions::EMBED_LINKS
        | Permissions::ATTACH_FILES
        | Permissions::READ_MESSAGE_HISTORY
        | Permissions::MENTION_EVERYONE
        | Permissions::ADD_REACTIONS
        | Permissions::USE_APPLICATION_COMMANDS
}

impl Guild {
    /// What `user` may do in the guild as a whole; nothing when not a member.
    pub fn permissions(&self, user: Snowflake) -> Permissions {
        let Some(member) = self.members.get(&user) else { return Permissions::empty() };
        if self.owner == user {
            return Permissions::all();
        }
        let base = member
            .roles
            .iter()
            .chain([&self.id])
            .filter_map(|role| self.roles.get(role))
            .fold(Permissions::empty(), |sum, role| sum | role.permissions);
        if base.administrator() { Permissions::all() } else { base }
    }
}

impl State {
    /// What `user` may do in `channel`: the guild's permissions, then the channel's overwrites for
    /// everyone, for roles and for the member, in that order. A thread has its parent's.
    pub fn permissions(&self, user: Snowflake, channel: &Channel) -> Permissions {
        if channel.kind == ChannelKind::Direct {
            return if channel.people.contains(&user) {
                Permissions::dm_permissions() | Permissions::READ_MESSAGE_HISTORY
            } else {
                Permissions::empty()
            };
        }
        let guild = &self.guilds[&channel.guild.expect("only direct channels have no guild")];
        let base = guild.permissions(user);
        if base == Permissions::all() {
            return base;
        }
        let place = channel.parent.and_then(|parent| self.channels.get(&parent)).unwrap_or(channel);
        let roles = guild.members.get(&user).map(|m| m.roles.clone()).unwrap_or_default();
        let mut permissions = base;
        for rank in [Rank::Everyone, Rank::Roles, Rank::Member] {
            let hits = place.overwrites.iter().filter(|overwrite| match (rank, overwrite.target) {
                (Rank::Everyone, OverwriteTarget::Role(role)) => role == guild.id,
                (Rank::Roles, OverwriteTarget::Role(role)) => roles.contains(&role),
                (Rank::Member, OverwriteTarget::Member(member)) => member == user,
                _ => false,
            });
            let (allow, deny) = hits
                .fold((Permissions::empty(), Permissions::empty()), |(allow, deny), hit| {
                    (allow | hit.allow, deny | hit.deny)
                });
            permissions = permissions.difference(deny) | allow;
        }
        with_implied_denials(permissions, channel, user)
    }
}

#[derive(Clone, Copy)]
enum Rank {
    Everyone,
    Roles,
    Member,
}

/// Without seeing a channel nothing can be done in it; without speaking, nothing sent with it.
fn with_implied_denials(
    mut permissions: Permissions,
    channel: &Channel,
    user: Snowflake,
) -> Permissions {
    let speak = if channel.kind.is_thread() {
        Permissions::SEND_MESSAGES_IN_THREADS
    } else {
        Permissions::SEND_MESSAGES
    };
    if !permissions.contains(speak) {
        permissions -= Permissions::MENTION_EVERYONE
            | Permissions::ATTACH_FILES
            | Permissions::EMBED_LINKS
            | Permissions::SEND_TTS_MESSAGES;
    }
    let uninvited = channel.kind == ChannelKind::PrivateThread
        && !channel.people.contains(&user)
        && !permissions.contains(Permissions::MANAGE_THREADS);
    if uninvited || !permissions.contains(Permissions::VIEW_CHANNEL) {
        return Permissions::empty();
    }
    permissions
}
