//! The connection to the gateway, by serenity.

use std::sync::Arc;

use serenity::all::{
    Client, ClientBuilder, ConnectionStage, Context, Event as GatewayEvent, EventHandler,
    GatewayError, GatewayIntents, RawEventHandler, ShardManager, ShardStageUpdateEvent,
};
use serenity::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use url::Url;

use super::message::Me;
use super::rest::{self, Rest, RestError};
use super::translate;
use crate::config::{self, Secret, Switch, is_this_machine};
use crate::daemon::Event;

/// Why there is no connection to the gateway, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayClosed {
    /// The REST API says no.
    #[error(transparent)]
    Rest(#[from] RestError),
    /// The gateway refuses the token.
    #[error(
        "Discord's gateway refuses the bot token; make a new one in the developer portal \
         (application, Bot, Reset Token) and set it"
    )]
    TokenRefused,
    /// The application may not read messages.
    #[error(
        "Discord doesn't let this application read messages; turn on “Message Content Intent” in \
         the developer portal (application, Bot, Privileged Gateway Intents)"
    )]
    IntentRefused,
    /// The REST API names a gateway to which the token would go unencrypted.
    #[error(
        "the REST API names a gateway that is not encrypted, and the bot token is not sent there; \
         set discord.gateway_url to a wss:// address"
    )]
    Unencrypted,
    /// All connections ended.
    #[error(
        "the connection to Discord's gateway is lost for good; look at this machine's network and \
         at https://discordstatus.com, then start the bot again: it reads what it missed"
    )]
    Lost,
}

/// What the bot listens to.
fn intents(settings: &config::Discord) -> GatewayIntents {
    let servers =
        GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::MESSAGE_CONTENT;
    match settings.direct_messages {
        Switch::On => servers | GatewayIntents::DIRECT_MESSAGES,
        Switch::Off => servers,
    }
}

/// Hands what the gateway tells to the daemon.
struct Listener {
    me: Me,
    events: UnboundedSender<Event>,
}

#[async_trait]
impl RawEventHandler for Listener {
    async fn raw_event(&self, _context: Context, event: GatewayEvent) {
        if let Some(event) = translate::event(event, &self.me) {
            // Nobody listens any more while the daemon stops.
            let _ = self.events.send(event);
        }
    }
}

/// Tells the log how the connection does: serenity's own lines hold messages.
struct Reporter;

#[async_trait]
impl EventHandler for Reporter {
    async fn shard_stage_update(&self, _context: Context, update: ShardStageUpdateEvent) {
        let shard = update.shard_id.0;
        match update.new {
            ConnectionStage::Connected => tracing::info!(shard, "connected to the gateway"),
            ConnectionStage::Disconnected | ConnectionStage::Resuming => {
                tracing::warn!(shard, "the gateway's connection dropped; resuming");
            }
            _ => {}
        }
    }
}

/// A connection that is ready to be opened.
pub struct Gateway {
    client: Client,
    shards: u32,
}

/// Closes the connections of a [`Gateway`] that runs.
pub struct Closer(Arc<ShardManager>);

impl Closer {
    /// Says goodbye to Discord.
    pub async fn close(&self) {
        self.0.shutdown_all().await;
    }
}

impl Gateway {
    /// Finds the gateway. Events go to `events` once it [runs](Self::run).
    pub async fn prepare(
        settings: &config::Discord,
        token: &Secret,
        rest: &Rest,
        me: Me,
        events: UnboundedSender<Event>,
    ) -> Result<Self, GatewayClosed> {
        let (named, shards) = rest.gateway().await?;
        let address = settings.gateway_url.as_ref().map_or(named, Url::to_string);
        if !is_safe(&address) {
            return Err(GatewayClosed::Unencrypted);
        }
        let client = ClientBuilder::new_with_http(rest::http(settings, token), intents(settings))
            .raw_event_handler(Listener { me, events })
            .event_handler(Reporter)
            .await
            .map_err(|error| closed(&error))?;
        // On its own it falls back to Discord's gateway when the REST API doesn't answer.
        *client.ws_url.lock().await = address;
        Ok(Self { client, shards })
    }

    /// What ends [`Self::run`].
    pub fn closer(&self) -> Closer {
        Closer(Arc::clone(&self.client.shard_manager))
    }

    /// Listens until it is closed or refused; connections that drop are taken up again.
    pub async fn run(mut self) -> Result<(), GatewayClosed> {
        self.client.start_shards(self.shards).await.map_err(|error| closed(&error))
    }
}

fn closed(error: &serenity::Error) -> GatewayClosed {
    match error {
        serenity::Error::Gateway(GatewayError::InvalidAuthentication) => {
            GatewayClosed::TokenRefused
        }
        serenity::Error::Gateway(
            GatewayError::DisallowedGatewayIntents | GatewayError::InvalidGatewayIntents,
        ) => GatewayClosed::IntentRefused,
        _ => GatewayClosed::Lost,
    }
}

/// Whether the token may go to this address.
fn is_safe(address: &str) -> bool {
    let Ok(url) = Url::parse(address) else { return false };
    url.scheme() == "wss" || (url.scheme() == "ws" && is_this_machine(&url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_goes_unencrypted_to_this_machine_only() {
        for (address, expected) in [
            ("wss://gateway.discord.gg", true),
            ("ws://127.0.0.1:80", true),
            ("ws://[::1]:80", true),
            ("ws://gateway.discord.gg", false),
            ("https://gateway.discord.gg", false),
            ("", false),
        ] {
            assert_eq!(is_safe(address), expected, "{address}");
        }
    }
}
