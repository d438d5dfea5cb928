//! A Discord to talk to in tests: REST and gateway v10 on loopback, after Discord's documentation,
//! with a world behind them that tests drive as people would.
//!
//! Point a serenity client at it with `HttpBuilder::new(world.token()).proxy(world.url())
//! .ratelimiter_disabled(true)`; attachments come from [`World::cdn_host`]. The server has a thread
//! of its own, so blocking tests and child processes work too.
//!
//! ```ignore
//! mod fake_discord;
//! use fake_discord::{Photo, World};
//!
//! let world = World::start();
//! let guild = world.guild("cat club");
//! let general = guild.text_channel("general");
//! let ann = world.person("ann");
//!
//! let question = ann.says(&general, ("@bot who is this?", Photo::png("cat.png", bytes)));
//! let reply = world.wait_for_reply(&question).await; // panics after World::patience
//! assert_eq!(reply.attachments[0].filename, "photo.png");
//! assert!(reply.pings.users.contains(&ann.id()) && !reply.pings.everyone);
//!
//! ann.edits(&question, "@bot whose is this?");
//! ann.reacts(&reply, "👍");
//! ann.deletes(&question);
//!
//! world.wait_for_command("photos").await;
//! let asked = ann.runs_command(&general, "/photos set mode:off");
//! assert!(world.wait_for_answer(&asked).await.is_ephemeral());
//! ann.presses("another one", &reply)?; // a button by its label
//!
//! world.faults().rate_limit("POST /channels/{channel_id}/messages", 1, Duration::from_secs(1));
//! world.faults().drop_gateway();
//! assert_eq!(world.requests("POST /channels/{channel_id}/messages").len(), 1);
//! ```
//!
//! A person who speaks in a guild's channel becomes a member first. `@name` in what people type
//! becomes a mention, as in Discord's own client. Commands are typed as there, too, and refused
//! where the client would not offer them. What a rate limit, a permission or a fault looks like is
//! shown by `tests/fake_discord_behaves`. With `SHUTTERBUG_RECORD_REST` set, every request
//! and answer is appended to the file it names, for `make conformance`.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file that includes this module uses its own part of it"
)]

mod asking;
mod clock;
mod conversation;
mod draft;
mod error;
mod faults;
mod gateway;
mod mentions;
pub mod model;
mod permissions;
mod post;
mod recording;
mod rest;
mod server;
mod state;
mod trouble;
mod wire;

#[allow(unused_imports, reason = "every test file uses its own part")]
pub use self::{
    asking::{Asked, NotOffered},
    clock::{Moment, Snowflake},
    conversation::{Channel, Guild, Person, a_moment},
    faults::{DownloadFault, RestFault},
    model::Message,
    post::{Photo, Post},
    recording::{Download, Exchange, Method},
    trouble::Trouble,
};

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serenity::model::gateway::GatewayIntents;
use tokio::sync::watch;

use state::State;

/// A handle on one fake Discord and all that is in it. Clones are handles on the same.
#[derive(Clone)]
pub struct World {
    shared: Arc<Shared>,
    /// Held by the tests' handles only: with the last of them the server ends.
    stop: Option<Arc<server::Stop>>,
}

struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
    patience: Mutex<Duration>,
}

impl World {
    /// A world with a bot called `bot`, who is nowhere yet.
    pub fn start() -> Self {
        let (listener, address) = server::bind();
        let shared = Arc::new(Shared {
            state: Mutex::new(State::new(address.to_string())),
            changed: watch::Sender::new(()),
            patience: Mutex::new(Duration::from_secs(20)),
        });
        let inner = Self { shared, stop: None };
        let stop = server::serve(inner.clone(), listener);
        Self { stop: Some(Arc::new(stop)), ..inner }
    }

    /// Looks at the state.
    pub(self) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.shared.state.lock().expect("no handler panics while it holds the world"))
    }

    /// Changes the state and wakes all who wait.
    pub(self) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result =
            change(&mut self.shared.state.lock().expect("no handler panics while it holds it"));
        self.shared.changed.send_replace(());
        result
    }

    /// Where the API is: `http://127.0.0.1:port`, which serenity's `proxy` wants.
    pub fn url(&self) -> String {
        self.look(|state| format!("http://{}", state.address))
    }

    /// Host and port of the content delivery network.
    pub fn cdn_host(&self) -> String {
        self.look(|state| state.address.clone())
    }

    /// The application's id, which is not the bot's.
    pub fn application_id(&self) -> Snowflake {
        self.look(|state| state.application)
    }

    /// The bot's token.
    pub fn token(&self) -> String {
        self.look(|state| state.token.clone())
    }

    /// Which privileged intents the application has; Message Content alone at first.
    pub fn grant_intents(&self, intents: GatewayIntents) {
        self.change(|state| state.privileged_intents = intents & GatewayIntents::privileged());
    }

    /// What hello tells new connections to do; 41.25 s at first.
    pub fn set_heartbeat_interval(&self, interval: Duration) {
        self.change(|state| state.heartbeat_interval = interval);
    }

    /// How long `wait_for…` waits before it panics; 20 s at first.
    pub fn patience(&self, at_most: Duration) {
        *self.shared.patience.lock().expect("nobody panics with it") = at_most;
    }

    /// Lets time pass at once: addresses expire, tokens grow old, nonces are forgotten.
    pub fn advance(&self, by: Duration) {
        self.change(|state| state.clock.advance(by));
    }

    /// The world's present moment.
    pub fn now(&self) -> Moment {
        self.look(State::now)
    }
}
