//! The gateway, seen frame by frame.

use std::time::Duration;

use serde_json::json;
use serenity::all::{GatewayIntents, Permissions};

use crate::client::{Wire, picture};
use crate::fake_discord::{Photo, World};

fn talk() -> GatewayIntents {
    GatewayIntents::GUILDS | GatewayIntents::GUILD_MESSAGES | GatewayIntents::MESSAGE_CONTENT
}

#[tokio::test]
async fn a_wrong_token_and_forbidden_intents_are_turned_away() {
    let world = World::start();
    let mut wire = Wire::open(&world, "").await;
    wire.next().await.expect("a hello");
    wire.identify("not the token", talk()).await;
    assert_eq!(wire.next().await, Err(4004));

    world.grant_intents(GatewayIntents::empty());
    let mut wire = Wire::open(&world, "").await;
    wire.next().await.expect("a hello");
    wire.identify(&world.token(), talk()).await;
    assert_eq!(wire.next().await, Err(4014));
    assert_eq!(world.identifies(), 0);
}

#[tokio::test]
async fn payloads_out_of_order_close_the_connection() {
    let world = World::start();
    for (op, data, code) in [
        (3, json!({}), 4003),
        (99, json!({}), 4001),
        (2, json!({ "token": world.token(), "intents": 1_u64 << 40 }), 4013),
        (2, json!({ "token": world.token(), "intents": 0, "shard": [2, 2] }), 4010),
        (2, json!("x".repeat(5000)), 4002),
    ] {
        let mut wire = Wire::open(&world, "").await;
        wire.next().await.expect("a hello");
        wire.say(op, data).await;
        assert_eq!(wire.next().await, Err(code));
    }
    let (mut wire, _) = Wire::identified(&world, talk()).await;
    wire.identify(&world.token(), talk()).await;
    assert_eq!(wire.next().await, Err(4005));
}

#[tokio::test]
async fn events_are_numbered_and_a_resume_replays_what_was_missed() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let (mut wire, ready) = Wire::identified(&world, talk()).await;
    assert_eq!(wire.sequence, 2);
    ann.says(&general, "one");
    assert_eq!(wire.event("MESSAGE_CREATE").await["content"], "one");
    assert_eq!(wire.sequence, 3);

    world.faults().drop_gateway();
    assert_eq!(wire.next().await, Err(0));
    ann.says(&general, "two");
    let gone = ann.says(&general, "three");
    ann.deletes(&gone);

    let mut again = Wire::open(&world, "").await;
    again.next().await.expect("a hello");
    let session = &ready["session_id"];
    again.say(6, json!({ "token": world.token(), "session_id": session, "seq": 3 })).await;
    assert_eq!(again.event("MESSAGE_CREATE").await["content"], "two");
    assert_eq!(again.event("MESSAGE_CREATE").await["content"], "three");
    assert_eq!(again.event("MESSAGE_DELETE").await["id"], json!(gone.id));
    again.event("RESUMED").await;
    assert_eq!((again.sequence, world.resumes(), world.identifies()), (7, 1, 1));
}

#[tokio::test]
async fn what_cannot_be_resumed_is_invalid() {
    let world = World::start();
    let (wire, ready) = Wire::identified(&world, talk()).await;
    let resume =
        |seq| json!({ "token": world.token(), "session_id": ready["session_id"], "seq": seq });
    let mut ahead = Wire::open(&world, "").await;
    ahead.next().await.expect("a hello");
    ahead.say(6, resume(99)).await;
    assert_eq!(ahead.next().await, Err(4007));

    world.faults().refuse_resumes(1);
    let mut refused = Wire::open(&world, "").await;
    refused.next().await.expect("a hello");
    refused.say(6, resume(wire.sequence)).await;
    let answer = refused.next().await.expect("an answer");
    assert_eq!((&answer["op"], &answer["d"]), (&json!(9), &json!(false)));
    refused.identify(&world.token(), talk()).await;
    assert_eq!(refused.next().await.expect("a ready")["t"], "READY");
}

#[tokio::test]
async fn clients_are_asked_to_reconnect_and_told_of_invalid_sessions() {
    let world = World::start();
    let (mut wire, _) = Wire::identified(&world, talk()).await;
    world.faults().ask_reconnect();
    assert_eq!(wire.next().await.expect("a word")["op"], 7);
    world.faults().invalidate_but_resumable();
    assert_eq!(wire.next().await.expect("a word")["d"], true);
    world.faults().close_gateway(4000);
    assert_eq!(wire.next().await, Err(4000));
    world.faults().refuse_connections(1);
    assert_eq!(Wire::open(&world, "").await.next().await, Err(0));
}

#[tokio::test]
async fn heartbeats_are_acknowledged_until_they_are_not() {
    let world = World::start();
    world.set_heartbeat_interval(Duration::from_millis(200));
    let mut wire = Wire::open(&world, "").await;
    assert_eq!(wire.next().await.expect("a hello")["d"]["heartbeat_interval"], 200);
    wire.say(1, json!(null)).await;
    assert_eq!(wire.next().await.expect("an acknowledgement")["op"], 11);
    world.faults().ignore_heartbeats();
    wire.say(1, json!(null)).await;
    // Nothing comes, and after two intervals without a word the gateway gives up.
    assert_eq!(wire.next().await, Err(4009));
}

#[tokio::test]
async fn a_zlib_stream_carries_the_same_events() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let mut wire = Wire::open(&world, "&compress=zlib-stream").await;
    assert_eq!(wire.next().await.expect("a hello")["op"], 10);
    wire.identify(&world.token(), talk()).await;
    wire.event("READY").await;
    wire.event("GUILD_CREATE").await;
    let ann = world.person("ann");
    for n in 0..50 {
        let text = format!("{n} {}", "é漢🐈".repeat(n));
        ann.says(&general, text.as_str());
        assert_eq!(wire.event("MESSAGE_CREATE").await["content"], text.trim_end());
    }
}

#[tokio::test]
async fn sessions_hear_what_their_intents_and_the_bot_s_rights_let_them() {
    let world = World::start();
    let guild = world.guild("cat club");
    let (general, secret) = (guild.text_channel("general"), guild.text_channel("secret"));
    let ann = world.person("ann");
    guild.admits(&ann);
    secret.denies(&world.bot(), Permissions::VIEW_CHANNEL);
    let (mut wire, _) = Wire::identified(&world, talk()).await;

    ann.types_in(&general);
    ann.says(&secret, "not for bots");
    ann.writes_to_bot("no intent for this");
    let heard = ann.says(&general, "for all");
    ann.reacts(&heard, "👍");
    ann.says(&general, "the end");

    assert_eq!(wire.event("MESSAGE_CREATE").await["content"], "for all");
    assert_eq!(wire.event("MESSAGE_CREATE").await["content"], "the end");
}

#[tokio::test]
async fn without_message_content_only_the_exceptions_are_readable() {
    let world = World::start();
    world.grant_intents(GatewayIntents::empty());
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let intents = GatewayIntents::non_privileged();
    let (mut wire, _) = Wire::identified(&world, intents).await;

    let plain = ann.says(&general, ("look", Photo::png("cat.png", picture())));
    let heard = wire.event("MESSAGE_CREATE").await;
    assert_eq!((&heard["content"], &heard["attachments"]), (&json!(""), &json!([])));

    let mentioning = ann.says(&general, ("@bot look", Photo::png("cat.png", picture())));
    let heard = wire.event("MESSAGE_CREATE").await;
    assert_eq!(heard["content"], mentioning.content);
    assert_eq!(heard["attachments"][0]["filename"], "cat.png");

    ann.replies_to(&plain, "@bot and this?");
    let heard = wire.event("MESSAGE_CREATE").await;
    assert_eq!(heard["referenced_message"]["content"], "");

    ann.writes_to_bot("in private");
    assert_eq!(wire.event("MESSAGE_CREATE").await["content"], "in private");
}

#[tokio::test]
async fn a_shard_hears_its_own_guilds() {
    let world = World::start();
    let guilds: Vec<_> = (0..6).map(|n| world.guild(&format!("club {n}"))).collect();
    let mut wire = Wire::open(&world, "").await;
    wire.next().await.expect("a hello");
    let data = json!({ "token": world.token(), "intents": talk().bits(), "shard": [1, 2] });
    wire.say(2, data).await;
    let ready = wire.event("READY").await;
    let here = ready["guilds"].as_array().expect("a list").len();
    let wanted = guilds.iter().filter(|guild| (guild.id().0 >> 22) % 2 == 1).count();
    assert_eq!((here, &ready["shard"]), (wanted, &json!([1, 2])));
}

#[tokio::test]
async fn a_link_s_preview_is_an_update_without_an_edit() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let (mut wire, _) = Wire::identified(&world, talk()).await;
    let link = ann.says(&general, "https://example.org");
    wire.event("MESSAGE_CREATE").await;
    world.unfurls(&link, "Example");
    let shown = wire.event("MESSAGE_UPDATE").await;
    assert_eq!(
        (&shown["edited_timestamp"], &shown["embeds"][0]["title"]),
        (&json!(null), &json!("Example"))
    );
    ann.edits(&link, "nothing");
    assert!(wire.event("MESSAGE_UPDATE").await["edited_timestamp"].is_string());
}
