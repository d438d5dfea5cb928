//! One connection to the gateway, from hello to the end (events/Gateway).

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State as Extract};
use axum::response::Response;
use flate2::write::ZlibEncoder;
use flate2::{Compress, Compression, FlushCompress};
use serde_json::{Value, json};
use serenity::model::gateway::GatewayIntents;
use tokio::sync::mpsc;

use super::super::World;
use super::super::faults::Heartbeats;
use super::super::state::State;
use super::{Frame, Session};

/// Discord closes a connection that says more than this in a minute.
const EVENTS_PER_MINUTE_MAX: usize = 120;
/// The longest payload that a client may send.
const PAYLOAD_BYTES_MAX: usize = 4096;

/// What the address asks for.
#[derive(Debug, serde::Deserialize)]
pub struct Asked {
    v: Option<String>,
    encoding: Option<String>,
    compress: Option<String>,
}

/// Takes a connection to the gateway.
pub async fn connect(
    Extract(world): Extract<World>,
    Query(asked): Query<Asked>,
    upgrade: WebSocketUpgrade,
) -> Response {
    upgrade.on_upgrade(move |socket| async move {
        let refused = world.change(|state| {
            let refused = state.faults.refused_connections > 0;
            state.faults.refused_connections = state.faults.refused_connections.saturating_sub(1);
            refused
        });
        if refused {
            return;
        }
        let transport = match asked.compress.as_deref() {
            Some("zlib-stream") => Some(Compress::new(Compression::fast(), true)),
            _ => None,
        };
        let (line, frames) = mpsc::unbounded_channel();
        let connection =
            Connection { socket, world, transport, packing: Packing::Plain, line, session: None };
        let known_version = asked.v.as_deref() == Some("10");
        let known_encoding = asked.encoding.as_deref().is_none_or(|name| name == "json");
        if known_version && known_encoding {
            connection.serve(frames).await;
        } else {
            connection.close(4012).await;
        }
    })
}

/// Whether long payloads are compressed one by one, as IDENTIFY's `compress` asks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Packed,
}

struct Connection {
    socket: WebSocket,
    world: World,
    transport: Option<Compress>,
    packing: Packing,
    line: mpsc::UnboundedSender<Frame>,
    session: Option<String>,
}

impl Connection {
    async fn serve(mut self, mut frames: mpsc::UnboundedReceiver<Frame>) {
        let interval = self.world.look(|state| state.heartbeat_interval);
        let hello = json!({ "op": 10, "s": null, "t": null, "d": {
            "heartbeat_interval": interval.as_millis() as u64,
        }});
        if self.send(&hello.to_string(), Packing::Plain).await.is_err() {
            return;
        }
        let mut said = VecDeque::new();
        // A client that misses its heartbeats is a zombie.
        let mut heard = Instant::now();
        loop {
            let silence_max = (interval * 2).saturating_sub(heard.elapsed());
            tokio::select! {
                frame = frames.recv() => match frame.expect("the connection holds a sender") {
                    Frame::Payload(text) => {
                        if self.send(&text, Packing::Plain).await.is_err() {
                            return;
                        }
                    }
                    Frame::LongPayload(text) => {
                        if self.send(&text, self.packing).await.is_err() {
                            return;
                        }
                    }
                    Frame::Close(code) => return self.close(code).await,
                    Frame::Drop => return,
                },
                message = self.socket.recv() => match message {
                    Some(Ok(Message::Text(text))) => {
                        heard = Instant::now();
                        said.push_back(heard);
                        said.retain(|at| at.elapsed() < Duration::from_secs(60));
                        let verdict = if said.len() > EVENTS_PER_MINUTE_MAX {
                            Err(4008)
                        } else {
                            self.hear(&text)
                        };
                        if let Err(code) = verdict {
                            return self.close(code).await;
                        }
                    }
                    Some(Ok(Message::Close(frame))) => {
                        // A clean goodbye ends the session; anything else can be resumed.
                        if frame.is_some_and(|frame| matches!(frame.code, 1000 | 1001)) {
                            self.forget_session();
                        }
                        return;
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return,
                },
                () = tokio::time::sleep(silence_max) => return self.close(4009).await,
            }
        }
    }

    fn forget_session(&self) {
        self.world.change(|state| {
            state.sessions.retain(|session| Some(&session.id) != self.session.as_ref());
        });
    }

    async fn close(mut self, code: u16) {
        let frame = CloseFrame { code, reason: "".into() };
        // The other side may have gone first; then there is nobody to tell.
        let _gone = self.socket.send(Message::Close(Some(frame))).await;
    }

    async fn send(&mut self, text: &str, packing: Packing) -> Result<(), axum::Error> {
        let message = match (&mut self.transport, packing) {
            (Some(stream), _) => Message::Binary(flushed(stream, text.as_bytes()).into()),
            (None, Packing::Packed) => {
                let mut packer = ZlibEncoder::new(Vec::new(), Compression::fast());
                packer.write_all(text.as_bytes()).expect("a vector takes everything");
                Message::Binary(packer.finish().expect("a vector takes everything").into())
            }
            (None, Packing::Plain) => Message::Text(text.into()),
        };
        self.socket.send(message).await
    }

    /// Acts on one payload; an error is the code to close with.
    fn hear(&mut self, text: &str) -> Result<(), u16> {
        if text.len() > PAYLOAD_BYTES_MAX {
            return Err(4002);
        }
        let payload: Value = serde_json::from_str(text).map_err(|_| 4002_u16)?;
        let data = &payload["d"];
        match payload["op"].as_u64() {
            Some(1) => {
                let acknowledged =
                    self.world.look(|state| state.faults.heartbeats == Heartbeats::Acknowledged);
                if acknowledged {
                    self.say(&json!({ "op": 11 }));
                }
                Ok(())
            }
            Some(2 | 6) if self.session.is_some() => Err(4005),
            Some(2) => self.identify(data),
            Some(6) => self.resume(data),
            Some(3 | 4 | 8 | 31) if self.session.is_some() => Ok(()),
            Some(3 | 4 | 8 | 31) => Err(4003),
            _ => Err(4001),
        }
    }

    /// Queues a payload that is not an event.
    fn say(&self, payload: &Value) {
        let queued = self.line.send(Frame::Payload(payload.to_string()));
        queued.expect("the receiver lives as long as the connection");
    }

    fn identify(&mut self, data: &Value) -> Result<(), u16> {
        let shard = match &data["shard"] {
            Value::Null => (0, 1),
            shard => (
                shard[0].as_u64().ok_or(4010_u16)?,
                shard[1].as_u64().filter(|&shards| shards > 0).ok_or(4010_u16)?,
            ),
        };
        if shard.0 >= shard.1 {
            return Err(4010);
        }
        let bits = data["intents"].as_u64().ok_or(4013_u16)?;
        let intents = GatewayIntents::from_bits(bits).ok_or(4013_u16)?;
        let line = self.line.clone();
        let id = self.world.change(|state| -> Result<_, u16> {
            state.admit(data)?;
            let refused = intents & (GatewayIntents::privileged() - state.privileged_intents);
            if !refused.is_empty() {
                return Err(4014);
            }
            state.identifies += 1;
            let id = format!("session-{}", state.clock.next_id());
            state.sessions.push(Session {
                id: id.clone(),
                intents,
                shard,
                sequence: 0,
                log: VecDeque::new(),
                line: Some(line),
            });
            state.greet(state.sessions.len() - 1);
            Ok(id)
        })?;
        self.session = Some(id);
        if data["compress"].as_bool() == Some(true) && self.transport.is_none() {
            self.packing = Packing::Packed;
        }
        Ok(())
    }

    fn resume(&mut self, data: &Value) -> Result<(), u16> {
        let id = data["session_id"].as_str().unwrap_or_default().to_owned();
        let seen = data["seq"].as_u64().unwrap_or_default();
        let line = self.line.clone();
        let resumed = self.world.change(|state| -> Result<_, u16> {
            state.admit(data)?;
            if state.faults.refused_resumes > 0 {
                state.faults.refused_resumes -= 1;
                state.sessions.retain(|session| session.id != id);
                return Ok(false);
            }
            let Some(session) = state.sessions.iter_mut().find(|session| session.id == id) else {
                return Ok(false);
            };
            if seen > session.sequence {
                return Err(4007);
            }
            session.send(Frame::Drop);
            session.line = Some(line);
            let missed: Vec<_> = session.log.iter().filter(|(at, _)| *at > seen).cloned().collect();
            for (_, payload) in missed {
                session.send(Frame::Payload(payload));
            }
            session.dispatch("RESUMED", &json!({ "_trace": [] }));
            state.resumes += 1;
            Ok(true)
        })?;
        if resumed {
            self.session = Some(id);
        } else {
            self.say(&json!({ "op": 9, "d": false }));
        }
        Ok(())
    }
}

impl State {
    /// Checks the token of an IDENTIFY or a RESUME.
    fn admit(&self, data: &Value) -> Result<(), u16> {
        let token = data["token"].as_str().unwrap_or_default();
        if token.trim_start_matches("Bot ") == self.token { Ok(()) } else { Err(4004) }
    }
}

/// The next piece of a connection's one zlib stream, ending in a flush (`00 00 ff ff`).
fn flushed(stream: &mut Compress, bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(bytes.len() + 64);
    let start = stream.total_in();
    loop {
        let done = (stream.total_in() - start) as usize;
        stream
            .compress_vec(&bytes[done..], &mut packed, FlushCompress::Sync)
            .expect("a deflate stream takes any bytes");
        // Room left over means that the flush is complete.
        let all_in = (stream.total_in() - start) as usize == bytes.len();
        if all_in && packed.len() < packed.capacity() {
            return packed;
        }
        packed.reserve(1024);
    }
}
