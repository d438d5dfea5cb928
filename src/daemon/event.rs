//! Everything that can happen to the daemon.

use crate::discord::commands::Asked;
use crate::discord::{GatewayClosed, Message, ServerChange};
use crate::journal;

/// Something happened.
#[derive(Debug)]
pub enum Event {
    /// Somebody wrote.
    Message(Box<Message>),
    /// Somebody changed what they wrote.
    Edit {
        /// The message.
        message: u64,
    },
    /// Messages are gone.
    Delete {
        /// The messages.
        messages: Vec<u64>,
    },
    /// The gateway tells about a server.
    Server(ServerChange),
    /// The gateway's connection stands.
    Session(Session),
    /// What was written in a channel while the bot was away, oldest first.
    Missed {
        /// Channel or thread.
        channel: u64,
        /// Messages.
        messages: Vec<Message>,
    },
    /// Somebody used a command.
    Command(Box<Asked>),
    /// The work on a message has ended.
    Finished {
        /// The message.
        message: u64,
        /// How.
        ending: Ending,
    },
    /// The journal failed while a message was worked on.
    Broken(journal::Error),
    /// The time has come to try again what could not be done.
    Timer,
    /// The gateway's connection is gone for good.
    Closed(Option<GatewayClosed>),
    /// The daemon is to stop.
    Shutdown,
}

/// How a connection to the gateway began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Session {
    /// Afresh: what happened before is not told again.
    New {
        /// The application's id, under which its commands stand.
        application: u64,
    },
    /// Where the last one dropped: what was missed has been told.
    Resumed,
}

/// How the work on a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Nothing is left to do.
    Settled,
    /// Discord could not be reached, or the engine stopped: to be taken up again.
    Postponed,
}
