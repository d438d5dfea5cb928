//! The fake Discord keeps Discord's rules, seen by a plain serenity client and by raw requests.

mod fake_discord;

use fake_discord::{Photo, World};
use serenity::all::{
    Context, CreateAllowedMentions, CreateAttachment, CreateMessage, EventHandler, GatewayIntents,
    Http, HttpBuilder, Message,
};

/// Answers every mention with its own words and every photo with the same photo.
struct Parrot;

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

fn http(world: &World) -> Http {
    HttpBuilder::new(world.token()).proxy(world.url()).ratelimiter_disabled(true).build()
}

/// A serenity client on its own task.
async fn parrot(world: &World) -> tokio::task::JoinHandle<()> {
    let intents = GatewayIntents::non_privileged() | GatewayIntents::MESSAGE_CONTENT;
    let mut client = serenity::client::ClientBuilder::new_with_http(http(world), intents)
        .event_handler(Parrot)
        .await
        .expect("a client can be made");
    let bot = tokio::spawn(async move {
        client.start().await.expect("the gateway lets the bot in");
    });
    world.wait_for_bot().await;
    bot
}

fn picture() -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(4, 3, image::Rgb([200, 40, 90]))
        .write_to(&mut png, image::ImageFormat::Png)
        .expect("a picture can be written");
    png.into_inner()
}

#[tokio::test]
async fn a_photo_goes_in_and_comes_back_as_a_reply() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let _bot = parrot(&world).await;

    let question = ann.says(&general, ("@bot who is this?", Photo::png("cat.png", picture())));
    let reply = world.wait_for_reply(&question).await;

    assert_eq!(reply.content, format!("{} who is this?", world.bot().mention()));
    assert_eq!(*reply.attachments[0].bytes, picture());
    assert_eq!(reply.attachments[0].description.as_deref(), Some("a copy"));
    assert_eq!(reply.attachments[0].size, Some((4, 3)));
    assert!(reply.pings.users.contains(&ann.id()));
}
