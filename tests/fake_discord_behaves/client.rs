//! Clients: a plain serenity bot, raw REST and a raw gateway connection.

use std::time::Duration;

use flate2::{Decompress, FlushDecompress};
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use serenity::all::{
    ClientBuilder, Context, CreateAllowedMentions, CreateAttachment, CreateMessage, EventHandler,
    GatewayIntents, Http, HttpBuilder, Message,
};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::fake_discord::World;

/// A bot that answers every mention with its own words, and every photo with the same photo.
pub(crate) struct Parrot;

impl Parrot {
    /// Starts it on a task of its own and waits until it is there. The task ends with the test.
    pub(crate) async fn joins(world: &World) -> tokio::task::JoinHandle<serenity::Result<()>> {
        let intents = GatewayIntents::non_privileged() | GatewayIntents::MESSAGE_CONTENT;
        let mut client = ClientBuilder::new_with_http(http(world), intents)
            .event_handler(Self)
            .await
            .expect("a client can be made");
        let bot = tokio::spawn(async move { client.start().await });
        world.wait_for_bot().await;
        bot
    }
}

#[serenity::async_trait]
impl EventHandler for Parrot {
    async fn message(&self, context: Context, message: Message) {
        if message.author.bot || !message.mentions_me(&context.http).await.unwrap_or(false) {
            return;
        }
        let mut answer = CreateMessage::new()
            .content(message.content.clone())
            .reference_message(&message)
            .allowed_mentions(CreateAllowedMentions::new().replied_user(true));
        for photo in &message.attachments {
            let bytes = photo.download().await.expect("the photo comes");
            let file = CreateAttachment::bytes(bytes, photo.filename.clone());
            answer = answer.add_file(file.description("a copy"));
        }
        message.channel_id.send_message(&context.http, answer).await.expect("the answer goes");
    }
}

/// serenity's own REST client.
pub(crate) fn http(world: &World) -> Http {
    let http = HttpBuilder::new(world.token()).proxy(world.url()).ratelimiter_disabled(true);
    http.application_id(world.application_id().0.into()).build()
}

/// The same, for requests that may be wrong on purpose.
pub(crate) fn probing_http(world: &World) -> Http {
    let probe = reqwest::header::HeaderMap::from_iter([(
        reqwest::header::HeaderName::from_static("x-probe"),
        reqwest::header::HeaderValue::from_static("1"),
    )]);
    let client = reqwest::Client::builder().default_headers(probe).build().expect("a client");
    let http = HttpBuilder::new(world.token()).proxy(world.url()).ratelimiter_disabled(true);
    http.client(client).build()
}

/// A picture of 4 by 3 pixels.
pub(crate) fn picture() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(4, 3, image::Rgb([200, 40, 90]))
        .write_to(&mut png, image::ImageFormat::Png)
        .expect("a picture can be written");
    png.into_inner()
}

/// Requests as they are, with the bot's token.
pub(crate) struct Api<'world> {
    world: &'world World,
    client: reqwest::Client,
    token: String,
}

impl<'world> Api<'world> {
    pub(crate) fn new(world: &'world World) -> Self {
        Self { world, client: reqwest::Client::new(), token: world.token() }
    }

    pub(crate) fn with_token(world: &'world World, token: &str) -> Self {
        Self { token: token.to_owned(), ..Self::new(world) }
    }

    /// The whole response, or the error of a broken connection.
    pub(crate) async fn response(
        &self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> reqwest::Result<reqwest::Response> {
        let method = method.parse().expect("a method");
        let url = format!("{}/api/v10{path}", self.world.url());
        let mut request = self.client.request(method, url);
        request = request.header("authorization", format!("Bot {}", self.token));
        request = request.header("x-probe", "1");
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        request.send().await
    }

    /// Status and body; `null` where there is none.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let response = self.response(method, path, &body).await.expect("an answer comes");
        let status = response.status().as_u16();
        let text = response.text().await.expect("the answer is text");
        (status, if text.is_empty() { Value::Null } else { text.parse().expect("JSON") })
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, Value::Null).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        self.ask("POST", path, body).await
    }
}

/// A gateway connection that shows every payload.
pub(crate) struct Wire {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    stream: Option<Decompress>,
    /// The last sequence number seen.
    pub(crate) sequence: u64,
}

impl Wire {
    pub(crate) async fn open(world: &World, query: &str) -> Self {
        let url = format!("ws://{}/?v=10&encoding=json{query}", world.cdn_host());
        let (socket, _) = connect_async(url).await.expect("the gateway answers");
        let stream = query.contains("zlib-stream").then(|| Decompress::new(true));
        Self { socket, stream, sequence: 0 }
    }

    /// Opens, reads the hello, identifies and reads up to the last guild's `GUILD_CREATE`.
    pub(crate) async fn identified(world: &World, intents: GatewayIntents) -> (Self, Value) {
        let mut wire = Self::open(world, "").await;
        assert_eq!(wire.next().await.expect("a hello")["op"], 10);
        wire.identify(&world.token(), intents).await;
        let ready = wire.next().await.expect("a ready");
        assert_eq!(ready["t"], "READY");
        for _ in ready["d"]["guilds"].as_array().expect("a list of guilds") {
            assert_eq!(wire.next().await.expect("a guild")["t"], "GUILD_CREATE");
        }
        (wire, ready["d"].clone())
    }

    pub(crate) async fn say(&mut self, op: u64, data: Value) {
        let payload = json!({ "op": op, "d": data }).to_string();
        self.socket.send(Frame::Text(payload.into())).await.expect("the gateway listens");
    }

    pub(crate) async fn identify(&mut self, token: &str, intents: GatewayIntents) {
        let properties = json!({ "os": "linux", "browser": "test", "device": "test" });
        let data = json!({ "token": token, "intents": intents.bits(), "properties": properties });
        self.say(2, data).await;
    }

    /// The next payload, or the code that the connection closed with (0 when it just broke).
    pub(crate) async fn next(&mut self) -> Result<Value, u16> {
        let limit = Duration::from_secs(10);
        let frame = tokio::time::timeout(limit, self.socket.next()).await.expect("not silent");
        let text = match frame {
            Some(Ok(Frame::Text(text))) => text.to_string(),
            Some(Ok(Frame::Binary(bytes))) => self.unpacked(&bytes),
            Some(Ok(Frame::Close(Some(frame)))) => return Err(frame.code.into()),
            _ => return Err(0),
        };
        let payload: Value = text.parse().expect("JSON");
        self.sequence = payload["s"].as_u64().unwrap_or(self.sequence);
        Ok(payload)
    }

    /// The next event's data, which must have this name.
    pub(crate) async fn event(&mut self, name: &str) -> Value {
        let payload = self.next().await.expect("an event");
        assert_eq!(payload["t"], name, "{payload}");
        payload["d"].clone()
    }

    fn unpacked(&mut self, bytes: &[u8]) -> String {
        assert!(bytes.ends_with(&[0, 0, 0xff, 0xff]), "each message ends in a flush");
        let stream = self.stream.as_mut().expect("only asked-for compression");
        let mut text = Vec::with_capacity(bytes.len() * 20 + 1024);
        stream
            .decompress_vec(bytes, &mut text, FlushDecompress::Sync)
            .expect("one stream over all messages");
        String::from_utf8(text).expect("JSON is UTF-8")
    }
}
