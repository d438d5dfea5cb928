//! What the bot may do where, after Discord's rules (topics/permissions), from what the gateway
//! tells. Pure.

use std::collections::HashMap;

use serenity::model::Permissions;

/// A permission that the bot needs to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To see the channel at all.
    View,
    /// To send messages in a channel.
    Send,
    /// To send messages in a thread.
    SendInThreads,
    /// To reply, and to read what was said before.
    ReadHistory,
    /// To send photos.
    Attach,
}

/// What the bot can do about a message in some place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Reply with text and photos.
    Everything,
    /// Reply with text; photos can't be sent.
    TextOnly,
    /// Say that something is missing.
    Explain(Need),
    /// Nothing.
    Silence(Need),
}

/// An exception for a role or a person in one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overwrite {
    /// Role or user id.
    pub of: u64,
    /// Taken away.
    pub deny: Permissions,
    /// Given.
    pub allow: Permissions,
}

/// What kind of place messages are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// A channel.
    Channel,
    /// A thread or forum post of this channel, whose permissions it shares.
    Thread {
        /// The channel.
        parent: u64,
    },
}

/// A channel or thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Channel or thread.
    pub kind: PlaceKind,
    /// Exceptions; none in a thread.
    pub overwrites: Vec<Overwrite>,
    /// The newest message, as far as is known.
    pub last_message: Option<u64>,
}

/// A server, as far as permissions go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// Its id, which is also that of the role that everyone has.
    pub id: u64,
    /// Its owner, who may do everything.
    pub owner: u64,
    /// What each role gives.
    pub roles: HashMap<u64, Permissions>,
    /// The bot's own roles.
    pub my_roles: Vec<u64>,
    /// Channels and threads.
    pub places: HashMap<u64, Place>,
}

impl Server {
    /// What account `me` may do in a place; `None` if the place is unknown.
    fn permissions(&self, me: u64, place: u64) -> Option<Permissions> {
        let place = self.places.get(&place)?;
        let overwrites = match place.kind {
            PlaceKind::Channel => &place.overwrites,
            PlaceKind::Thread { parent } => &self.places.get(&parent)?.overwrites,
        };
        if me == self.owner {
            return Some(Permissions::all());
        }
        let roles = || std::iter::once(&self.id).chain(&self.my_roles);
        let base = roles()
            .filter_map(|role| self.roles.get(role))
            .fold(Permissions::empty(), |sum, given| sum | *given);
        if base.contains(Permissions::ADMINISTRATOR) {
            return Some(Permissions::all());
        }
        let layers: [&dyn Fn(&Overwrite) -> bool; 3] = [
            &|overwrite| overwrite.of == self.id,
            &|overwrite| self.my_roles.contains(&overwrite.of),
            &|overwrite| overwrite.of == me,
        ];
        let permissions = layers.iter().fold(base, |permissions, belongs| {
            let empty = (Permissions::empty(), Permissions::empty());
            let (deny, allow) = overwrites
                .iter()
                .filter(|overwrite| belongs(overwrite))
                .fold(empty, |(deny, allow), o| (deny | o.deny, allow | o.allow));
            (permissions - deny) | allow
        });
        Some(permissions)
    }

    /// What the bot can do about a message in a place; an unknown place is taken to be open, and
    /// Discord has the last word there.
    pub fn permit(&self, me: u64, place: u64) -> Permit {
        let Some(permissions) = self.permissions(me, place) else { return Permit::Everything };
        let thread = matches!(
            self.places.get(&place).map(|place| place.kind),
            Some(PlaceKind::Thread { .. })
        );
        let (send, may_send) = if thread {
            (Need::SendInThreads, Permissions::SEND_MESSAGES_IN_THREADS)
        } else {
            (Need::Send, Permissions::SEND_MESSAGES)
        };
        if !permissions.contains(Permissions::VIEW_CHANNEL) {
            Permit::Silence(Need::View)
        } else if !permissions.contains(may_send) {
            Permit::Silence(send)
        } else if !permissions.contains(Permissions::READ_MESSAGE_HISTORY) {
            Permit::Explain(Need::ReadHistory)
        } else if permissions.contains(Permissions::ATTACH_FILES) {
            Permit::Everything
        } else {
            Permit::TextOnly
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u64 = 900;
    const ROLE: u64 = 2;
    const CHANNEL: u64 = 10;
    const THREAD: u64 = 11;

    fn server(everyone: Permissions) -> Server {
        let places =
            [(CHANNEL, PlaceKind::Channel), (THREAD, PlaceKind::Thread { parent: CHANNEL })]
                .map(|(id, kind)| (id, Place { kind, overwrites: Vec::new(), last_message: None }));
        Server {
            id: 1,
            owner: 5,
            roles: HashMap::from([(1, everyone), (ROLE, Permissions::empty())]),
            my_roles: vec![ROLE],
            places: HashMap::from(places),
        }
    }

    fn enough() -> Permissions {
        Permissions::VIEW_CHANNEL
            | Permissions::SEND_MESSAGES
            | Permissions::SEND_MESSAGES_IN_THREADS
            | Permissions::READ_MESSAGE_HISTORY
            | Permissions::ATTACH_FILES
    }

    fn except(server: &mut Server, of: u64, deny: Permissions, allow: Permissions) {
        server.places.get_mut(&CHANNEL).unwrap().overwrites.push(Overwrite { of, deny, allow });
    }

    #[test]
    fn each_missing_permission_has_its_consequence() {
        for (missing, in_channel, in_thread) in [
            (Permissions::empty(), Permit::Everything, Permit::Everything),
            (Permissions::ATTACH_FILES, Permit::TextOnly, Permit::TextOnly),
            (
                Permissions::READ_MESSAGE_HISTORY,
                Permit::Explain(Need::ReadHistory),
                Permit::Explain(Need::ReadHistory),
            ),
            (Permissions::SEND_MESSAGES, Permit::Silence(Need::Send), Permit::Everything),
            (
                Permissions::SEND_MESSAGES_IN_THREADS,
                Permit::Everything,
                Permit::Silence(Need::SendInThreads),
            ),
            (Permissions::VIEW_CHANNEL, Permit::Silence(Need::View), Permit::Silence(Need::View)),
        ] {
            let server = server(enough() - missing);
            assert_eq!(server.permit(ME, CHANNEL), in_channel, "{missing:?}");
            assert_eq!(server.permit(ME, THREAD), in_thread, "{missing:?}");
        }
    }

    #[test]
    fn exceptions_count_in_the_order_everyone_roles_person() {
        let files = Permissions::ATTACH_FILES;
        let none = Permissions::empty();
        let mut server = server(enough());
        except(&mut server, ME, none, none);
        except(&mut server, 1, files, none);
        assert_eq!(server.permit(ME, CHANNEL), Permit::TextOnly);
        except(&mut server, ROLE, none, files);
        assert_eq!(server.permit(ME, CHANNEL), Permit::Everything);
        except(&mut server, ME, files, none);
        assert_eq!(server.permit(ME, CHANNEL), Permit::TextOnly);
        assert_eq!(server.permit(ME, THREAD), Permit::TextOnly);
    }

    #[test]
    fn owners_and_administrators_may_everything() {
        let mut server = server(Permissions::empty());
        except(&mut server, 1, enough(), Permissions::empty());
        assert_eq!(server.permit(ME, CHANNEL), Permit::Silence(Need::View));
        server.roles.insert(ROLE, Permissions::ADMINISTRATOR);
        assert_eq!(server.permit(ME, CHANNEL), Permit::Everything);
        server.roles.insert(ROLE, Permissions::empty());
        server.owner = ME;
        assert_eq!(server.permit(ME, CHANNEL), Permit::Everything);
    }
}
