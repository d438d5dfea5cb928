//! The gateway: sessions, what they are told, and the connections that carry them.

mod connection;
mod dispatch;

pub use connection::connect;

use std::collections::VecDeque;

use serenity::model::gateway::GatewayIntents;
use tokio::sync::mpsc;

use super::clock::Snowflake;

/// How many events a session keeps for a resume.
const REPLAY_MAX: usize = 10_000;

/// One gateway session. It outlives its connections until it is made invalid.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    pub intents: GatewayIntents,
    /// Number and count of the shard.
    pub shard: (u64, u64),
    pub sequence: u64,
    /// The last events with their sequence numbers.
    log: VecDeque<(u64, String)>,
    /// The present connection.
    line: Option<mpsc::UnboundedSender<Frame>>,
}

/// What a connection is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// Send this payload.
    Payload(String),
    /// Send this payload, which is long enough to be packed when the client asked for that.
    LongPayload(String),
    /// Close with this code.
    Close(u16),
    /// Break the connection without a word.
    Drop,
}

impl Session {
    /// Whether events of this guild, or direct messages (`None`), come to this session's shard.
    fn serves(&self, guild: Option<Snowflake>) -> bool {
        let (shard, shards) = self.shard;
        guild.map_or(0, |guild| (guild.0 >> 22) % shards) == shard
    }

    /// Numbers an event, keeps it for a resume and sends it if there is a connection.
    fn dispatch(&mut self, event: &str, data: &serde_json::Value) {
        self.sequence += 1;
        let payload =
            serde_json::json!({ "op": 0, "t": event, "s": self.sequence, "d": data }).to_string();
        self.log.push_back((self.sequence, payload.clone()));
        if self.log.len() > REPLAY_MAX {
            self.log.pop_front();
        }
        let long = matches!(event, "READY" | "GUILD_CREATE");
        self.send(if long { Frame::LongPayload(payload) } else { Frame::Payload(payload) });
    }

    /// Hands a frame to the connection, if there is one.
    pub fn send(&mut self, frame: Frame) {
        if self.line.as_ref().is_some_and(|line| line.send(frame).is_err()) {
            self.line = None;
        }
    }

    /// Whether a connection carries this session now.
    pub fn is_connected(&self) -> bool {
        self.line.as_ref().is_some_and(|line| !line.is_closed())
    }
}
