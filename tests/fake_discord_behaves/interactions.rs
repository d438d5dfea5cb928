//! Commands, buttons and forms.

use std::time::Duration;

use serde_json::{Value, json};
use serenity::all::GatewayIntents;

use crate::client::{Api, Wire};
use crate::fake_discord::{Guild, NotOffered, World};

/// A world with `/photos mode:(on|off)` for moderators, a message command and a listening bot.
async fn world() -> (World, Guild, Wire) {
    let world = World::start();
    let guild = world.guild("cat club");
    let commands = json!([
        {
            "name": "photos",
            "description": "Whether photos are shared",
            "default_member_permissions": "32",
            "contexts": [0],
            "options": [{
                "type": 1,
                "name": "set",
                "description": "Sets it",
                "options": [
                    {
                        "type": 3,
                        "name": "mode",
                        "description": "on or off",
                        "required": true,
                        "choices": [{ "name": "Off", "value": "off" }, { "name": "On", "value": "on" }],
                    },
                    { "type": 6, "name": "for", "description": "Whom it concerns" },
                    { "type": 4, "name": "minutes", "description": "For how long" },
                ],
            }],
        },
        { "name": "Why this photo?", "type": 3 },
    ]);
    let path = format!("/applications/{}/commands", world.application_id());
    let (status, registered) = Api::new(&world).ask("PUT", &path, commands).await;
    assert_eq!((status, registered.as_array().map(Vec::len)), (200, Some(2)));
    let (wire, _) = Wire::identified(&world, GatewayIntents::GUILDS).await;
    (world, guild, wire)
}

fn callback(interaction: &Value) -> String {
    let text = |field: &str| interaction[field].as_str().expect("a string").to_owned();
    format!("/interactions/{}/{}/callback", text("id"), text("token"))
}

fn webhook(world: &World, interaction: &Value, tail: &str) -> String {
    let token = interaction["token"].as_str().expect("a token");
    format!("/webhooks/{}/{token}{tail}", world.application_id())
}

#[tokio::test]
async fn a_command_is_typed_deferred_answered_and_followed_up() {
    let (world, guild, mut wire) = world().await;
    let general = guild.text_channel("general");
    let (ann, ben) = (world.person("ann"), world.person("ben"));
    guild.gives(guild.role("moderators", serenity::all::Permissions::MANAGE_GUILD), &ann);
    wire.event("CHANNEL_CREATE").await;
    let asked = ann.runs_command(&general, "/photos set mode:Off for:@ben minutes:5");

    let interaction = wire.event("INTERACTION_CREATE").await;
    let set = &interaction["data"]["options"][0];
    assert_eq!(set["name"], "set");
    assert_eq!(set["options"][0]["value"], "off");
    assert_eq!(set["options"][1]["value"], json!(ben.id()));
    assert_eq!(set["options"][2]["value"], 5);
    let ben_id = ben.id().to_string();
    assert_eq!(interaction["data"]["resolved"]["users"][ben_id]["username"], "ben");
    assert_eq!(interaction["member"]["user"]["username"], "ann");

    let api = Api::new(&world);
    let early = webhook(&world, &interaction, "");
    assert_eq!(api.post(&early, json!({ "content": "too early" })).await.1["code"], 10015);
    let path = callback(&interaction);
    let defer = json!({ "type": 5, "data": { "flags": 64 } });
    assert_eq!(api.post(&path, defer.clone()).await, (204, json!(null)));
    assert_eq!(api.post(&path, defer).await.1["code"], 40060);
    assert!(asked.answer().is_none() && asked.responded_after().is_some());

    let original = webhook(&world, &interaction, "/messages/@original");
    let (_, edited) = api.ask("PATCH", &original, json!({ "content": "off" })).await;
    assert_eq!((&edited["flags"], &edited["content"]), (&json!(64), &json!("off")));
    assert!(world.wait_for_answer(&asked).await.is_ephemeral());
    let (_, more) = api.post(&early, json!({ "content": "for all to see" })).await;
    assert_eq!(more["webhook_id"], json!(world.application_id()));
    assert_eq!(asked.followups()[0].content, "for all to see");
    let seen = api.get(&format!("/channels/{}/messages", general.id())).await.1;
    assert_eq!(seen.as_array().map(Vec::len), Some(1), "nobody else sees an ephemeral answer");

    assert_eq!(api.ask("DELETE", &original, json!(null)).await.0, 204);
    assert_eq!(api.get(&original).await.1["code"], 10008);
    world.advance(Duration::from_secs(16 * 60));
    assert_eq!(api.post(&early, json!({ "content": "late" })).await.1["code"], 50027);
}

#[tokio::test]
async fn three_seconds_are_the_limit() {
    let (world, guild, mut wire) = world().await;
    let general = guild.text_channel("general");
    wire.event("CHANNEL_CREATE").await;
    let ann = world.person("ann");
    let said = ann.says(&general, "look");
    let asked = ann.uses_message_command("Why this photo?", &said).expect("it is offered");
    let interaction = wire.event("INTERACTION_CREATE").await;
    let target = &interaction["data"]["resolved"]["messages"][said.id.to_string()];
    assert_eq!(target["content"], "look");
    assert!(!asked.has_failed());
    world.advance(Duration::from_millis(3100));
    let (status, error) = Api::new(&world)
        .post(&callback(&interaction), json!({ "type": 4, "data": { "content": "because" } }))
        .await;
    assert_eq!((status, &error["code"]), (404, &json!(10062)));
    assert!(asked.has_failed());
}

#[tokio::test]
async fn commands_are_offered_by_permission_place_and_lifted_defaults() {
    let (world, guild, _wire) = world().await;
    let general = guild.text_channel("general");
    let ann = world.person("ann");
    let tries = |typed: &str| ann.tries_command(&general, typed).map(|_| ());
    let refused = |what: &str| Err(NotOffered::Command(what.into()));
    assert_eq!(tries("/photos set mode:on"), refused("photos"));
    guild.lets_everyone_use("photos");
    assert_eq!(tries("/photos set mode:on"), Ok(()));
    assert_eq!(tries("/photos toggle"), refused("toggle"));
    assert_eq!(tries("/photos set"), Err(NotOffered::Option("\"mode\"".into())));
    assert_eq!(tries("/nothing"), refused("nothing"));
    let private = ann.direct_channel();
    let alone = ann.tries_command(&private, "/photos set mode:on").map(|_| ());
    assert_eq!(alone, refused("photos"));
}

#[tokio::test]
async fn buttons_update_their_message_and_open_forms() {
    let (world, guild, mut wire) = world().await;
    let general = guild.text_channel("general");
    wire.event("CHANNEL_CREATE").await;
    let ann = world.person("ann");
    let api = Api::new(&world);
    let button = |label: &str| json!({ "type": 2, "style": 1, "label": label, "custom_id": label });
    let row = json!([{ "type": 1, "components": [button("more"), button("why")] }]);
    let path = format!("/channels/{}/messages", general.id());
    api.post(&path, json!({ "content": "a photo", "components": row })).await;
    let photo = general.history().pop().expect("the message");

    let pressed = ann.presses("more", &photo).expect("there is such a button");
    let interaction = wire.event("INTERACTION_CREATE").await;
    assert_eq!(interaction["data"]["custom_id"], "more");
    assert_eq!(interaction["message"]["id"], json!(photo.id));
    let update = json!({ "type": 7, "data": { "content": "another", "components": [] } });
    assert_eq!(api.post(&callback(&interaction), update).await.0, 204);
    assert_eq!(world.wait_for_answer(&pressed).await.content, "another");
    assert!(matches!(ann.presses("more", &photo), Err(NotOffered::Button(_))));

    let why = ann.uses_message_command("Why this photo?", &photo).expect("it is offered");
    let interaction = wire.event("INTERACTION_CREATE").await;
    let input = json!({ "type": 4, "style": 1, "label": "Why?", "custom_id": "reason" });
    let rows = json!([{ "type": 1, "components": [input] }]);
    let form = json!({ "custom_id": "ask", "title": "Why?", "components": rows });
    assert_eq!(api.post(&callback(&interaction), json!({ "type": 9, "data": form })).await.0, 204);
    assert_eq!(why.form().expect("a form")["custom_id"], "ask");
    let sent = ann.submits(&why, &[("reason", "because")]);
    let interaction = wire.event("INTERACTION_CREATE").await;
    assert_eq!(interaction["data"]["components"][0]["components"][0]["value"], "because");
    let path = format!("{}?with_response=true", callback(&interaction));
    let thanks = json!({ "type": 4, "data": { "content": "thanks" } });
    let (status, answer) = api.post(&path, thanks).await;
    assert_eq!((status, &answer["resource"]["message"]["content"]), (200, &json!("thanks")));
    assert_eq!(sent.answer().expect("an answer").content, "thanks");
}

#[tokio::test]
async fn commands_are_checked_counted_and_replaced() {
    let (world, guild, _wire) = world().await;
    let api = Api::new(&world);
    let here = format!("/applications/{}/guilds/{}/commands", world.application_id(), guild.id());
    let help = json!({ "name": "help", "description": "Helps" });
    let (status, first) = api.post(&here, help.clone()).await;
    assert_eq!((status, &first["guild_id"]), (201, &json!(guild.id())));
    assert_eq!(api.post(&here, help).await.1["id"], first["id"]);
    for wrong in [
        json!({ "name": "Help", "description": "Helps" }),
        json!({ "name": "help" }),
        json!({ "name": "help", "description": "x".repeat(101) }),
        json!({ "name": "A menu", "type": 3, "description": "none allowed" }),
    ] {
        assert_eq!(api.post(&here, wrong.clone()).await.1["code"], 50035, "{wrong}");
    }
    let one = format!("{here}/{}", first["id"].as_str().expect("an id"));
    let (_, changed) = api.ask("PATCH", &one, json!({ "description": "Helps more" })).await;
    assert_eq!(changed["description"], "Helps more");
    assert_ne!(changed["version"], first["version"]);
    let many: Vec<_> =
        (0..101).map(|n| json!({ "name": format!("c{n}"), "description": "d" })).collect();
    assert_eq!(api.ask("PUT", &here, json!(many)).await.1["code"], 30032);
    assert_eq!(api.get(&here).await.1.as_array().map(Vec::len), Some(1), "all or nothing");
    assert_eq!(api.ask("DELETE", &one, json!(null)).await.0, 204);
    assert_eq!(api.get(&one).await.1["code"], 10063);
    assert_eq!(world.commands(), ["photos", "Why this photo?"]);
}

#[tokio::test]
async fn an_option_completes_itself() {
    let (world, guild, mut wire) = world().await;
    let general = guild.text_channel("general");
    wire.event("CHANNEL_CREATE").await;
    guild.lets_everyone_use("photos");
    let typing = world.person("ann").begins_to_type(&general, "/photos set minutes:1");
    let interaction = wire.event("INTERACTION_CREATE").await;
    assert_eq!(interaction["type"], 4);
    assert_eq!(interaction["data"]["options"][0]["options"][0]["focused"], true);
    let api = Api::new(&world);
    let message = json!({ "type": 4, "data": { "content": "no" } });
    assert_eq!(api.post(&callback(&interaction), message).await.1["code"], 50035);
    let choices = json!([{ "name": "ten", "value": 10 }]);
    let answer = json!({ "type": 8, "data": { "choices": choices } });
    assert_eq!(api.post(&callback(&interaction), answer).await.0, 204);
    assert_eq!(typing.choices(), Some(choices));
}
