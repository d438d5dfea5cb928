//! What the gateway tells of servers: roles, channels, exceptions.

use std::collections::HashMap;

use serenity::model::Permissions;

use super::permissions::{Permit, Place, PlaceKind, Server};

/// Something about a server changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerChange {
    /// The whole server, when the bot connects or joins.
    Known(Server),
    /// The bot is no longer in it, or it is out of reach.
    Gone {
        /// Server.
        guild: u64,
    },
    /// Its owner and all its roles.
    Roles {
        /// Server.
        guild: u64,
        /// Owner's user id.
        owner: u64,
        /// What each role gives.
        roles: HashMap<u64, Permissions>,
    },
    /// One role is there, or has changed.
    Role {
        /// Server.
        guild: u64,
        /// Role.
        role: u64,
        /// What it gives.
        permissions: Permissions,
    },
    /// One role is gone.
    NoRole {
        /// Server.
        guild: u64,
        /// Role.
        role: u64,
    },
    /// The bot's own roles.
    MyRoles {
        /// Server.
        guild: u64,
        /// Role ids.
        roles: Vec<u64>,
    },
    /// Channels or threads are there, or have changed.
    Places {
        /// Server.
        guild: u64,
        /// By id.
        places: Vec<(u64, Place)>,
    },
    /// A channel or thread is gone.
    NoPlace {
        /// Server.
        guild: u64,
        /// Channel or thread.
        place: u64,
    },
}

/// All servers that the bot is in.
#[derive(Debug, Default)]
pub struct Servers(HashMap<u64, Server>);

impl Servers {
    /// Follows a change; one of an unknown server changes nothing.
    pub fn apply(&mut self, change: ServerChange) {
        match change {
            ServerChange::Known(server) => {
                self.0.insert(server.id, server);
            }
            ServerChange::Gone { guild } => {
                self.0.remove(&guild);
            }
            ServerChange::Roles { guild, owner, roles } => {
                if let Some(server) = self.0.get_mut(&guild) {
                    server.owner = owner;
                    server.roles = roles;
                }
            }
            ServerChange::Role { guild, role, permissions } => {
                if let Some(server) = self.0.get_mut(&guild) {
                    server.roles.insert(role, permissions);
                }
            }
            ServerChange::NoRole { guild, role } => {
                if let Some(server) = self.0.get_mut(&guild) {
                    server.roles.remove(&role);
                }
            }
            ServerChange::MyRoles { guild, roles } => {
                if let Some(server) = self.0.get_mut(&guild) {
                    server.my_roles = roles;
                }
            }
            ServerChange::Places { guild, places } => {
                if let Some(server) = self.0.get_mut(&guild) {
                    server.places.extend(places);
                }
            }
            ServerChange::NoPlace { guild, place } => {
                if let Some(server) = self.0.get_mut(&guild) {
                    server.places.remove(&place);
                }
            }
        }
    }

    /// The channel that a thread is in, as far as the gateway has told of it.
    pub fn parent_of(&self, guild: u64, place: u64) -> Option<u64> {
        match self.0.get(&guild)?.places.get(&place)?.kind {
            PlaceKind::Thread { parent } => Some(parent),
            PlaceKind::Channel => None,
        }
    }

    /// The threads of a channel, as far as the gateway has told of them.
    pub fn threads_of(&self, guild: u64, channel: u64) -> Vec<u64> {
        let of_it = |place: &Place| place.kind == PlaceKind::Thread { parent: channel };
        let places = self.0.get(&guild).into_iter().flat_map(|server| &server.places);
        places.filter(|(_, place)| of_it(place)).map(|(id, _)| *id).collect()
    }

    /// What account `me` can do about a message there. A place that the gateway has not told of is
    /// taken to be open: Discord has the last word.
    pub fn permit(&self, me: u64, guild: Option<u64>, place: u64) -> Permit {
        guild
            .and_then(|guild| self.0.get(&guild))
            .map_or(Permit::Everything, |server| server.permit(me, place))
    }
}

#[cfg(test)]
mod tests {
    use super::super::permissions::{Need, Overwrite};
    use super::*;

    #[test]
    fn every_change_counts_at_once() {
        let enough = Permissions::VIEW_CHANNEL
            | Permissions::SEND_MESSAGES
            | Permissions::READ_MESSAGE_HISTORY;
        let channel =
            |overwrites| Place { kind: PlaceKind::Channel, overwrites, last_message: None };
        let server = Server {
            id: 1,
            owner: 5,
            roles: HashMap::from([(1, enough), (2, Permissions::ATTACH_FILES)]),
            my_roles: Vec::new(),
            places: HashMap::from([(10, channel(Vec::new()))]),
        };
        let mute =
            Overwrite { of: 1, deny: Permissions::SEND_MESSAGES, allow: Permissions::empty() };
        let mut servers = Servers::default();
        let mut after = |change| {
            servers.apply(change);
            servers.permit(900, Some(1), 10)
        };
        assert_eq!(after(ServerChange::Known(server)), Permit::TextOnly);
        let mine = ServerChange::MyRoles { guild: 1, roles: vec![2] };
        assert_eq!(after(mine), Permit::Everything);
        assert_eq!(after(ServerChange::NoRole { guild: 1, role: 2 }), Permit::TextOnly);
        let role = ServerChange::Role { guild: 1, role: 2, permissions: Permissions::all() };
        assert_eq!(after(role), Permit::Everything);
        let roles = ServerChange::Roles { guild: 1, owner: 5, roles: HashMap::from([(1, enough)]) };
        assert_eq!(after(roles), Permit::TextOnly);
        let muted = ServerChange::Places { guild: 1, places: vec![(10, channel(vec![mute]))] };
        assert_eq!(after(muted), Permit::Silence(Need::Send));
        assert_eq!(after(ServerChange::NoPlace { guild: 1, place: 10 }), Permit::Everything);
        assert_eq!(after(ServerChange::Gone { guild: 1 }), Permit::Everything);
    }
}
