//! Discord in trouble: nothing is lost, nothing is said twice.

use std::time::Duration;

use serenity::model::Permissions;
use serenity::model::gateway::GatewayIntents;
use shutterbug::config::Secret;
use shutterbug::daemon::{self, Parts};
use shutterbug::discord::{Need, wording};
use shutterbug::engine::QueueLimits;
use shutterbug::journal::{Journal, MessageId, Outcome, Reason};

use crate::bot::{Bot, Scene, a_moment, settings, until};
use crate::fake_discord::{RestFault, World};
use crate::scripted::{Line, Stage};

const SEND: &str = "POST /channels/{channel_id}/messages";
const READ: &str = "GET /channels/{channel_id}/messages";

#[tokio::test]
async fn a_gateway_that_drops_in_the_middle_of_a_reply_costs_nothing() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, bot } = &scene;
    bot.stage.hold();
    let first = ann.says(channel, "@bot first");
    bot.stage.wait_until_asked(1).await;
    world.faults().drop_gateway();
    let second = world.person("ben").says(channel, "@bot while you are away");
    world.wait_for("a resume", || (world.resumes() > 0).then_some(())).await;
    bot.stage.release();
    world.wait_for_reply(&first).await;
    world.wait_for_reply(&second).await;
    a_moment().await;
    assert_eq!(world.replies_to(&first).len(), 1);
    assert_eq!(world.replies_to(&second).len(), 1);
}

#[tokio::test]
async fn after_a_lost_session_missed_messages_are_fetched_and_answered_once() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, .. } = &scene;
    let (first, _) = scene.ask("@bot first").await;
    world.faults().invalidate();
    let missed = ann.says(channel, "@bot while you were away");
    world.wait_for_reply(&missed).await;
    a_moment().await;
    assert!(world.identifies() >= 2);
    assert_eq!(world.replies_to(&first).len(), 1);
    assert_eq!(world.replies_to(&missed).len(), 1);
}

#[tokio::test]
async fn sending_is_tried_again_and_never_doubles() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, .. } = &scene;
    for fault in [
        RestFault::ServerError(502),
        RestFault::RateLimited(Duration::from_millis(100)),
        RestFault::DroppedBefore,
        RestFault::DroppedAfter,
    ] {
        world.faults().plan(SEND, 1, fault.clone());
        let question = ann.says(channel, "@bot hi");
        scene.bot.outcome(&question).await;
        assert_eq!(world.replies_to(&question).len(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn reading_the_history_is_tried_again() {
    let scene = Scene::hello().await;
    scene.world.faults().server_error(READ, 2, 500);
    let (question, _) = scene.ask("@bot hi").await;
    assert!(matches!(scene.bot.outcome(&question).await, Outcome::Answer(_)));
}

#[tokio::test]
async fn a_missing_permission_is_found_before_the_model_works() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, bot } = &scene;
    channel.denies(&world.bot(), Permissions::READ_MESSAGE_HISTORY);
    let question = ann.says(channel, "@bot hi");
    let said = world.wait_for_messages(channel, 1).await;
    assert_eq!(said[0].content, wording::not_allowed(Need::ReadHistory, ann.id().0));
    assert!(said[0].pings.users.contains(&ann.id()));
    let Outcome::Explanation(why) = bot.outcome(&question).await else { panic!("no reason") };
    assert_eq!(why.reason, Reason::NotPermitted);

    channel.denies(&world.bot(), Permissions::SEND_MESSAGES);
    let question = ann.says(channel, "@bot hi");
    let Outcome::Explanation(why) = bot.outcome(&question).await else { panic!("no reason") };
    assert_eq!((why.reason, why.sent.len()), (Reason::NotPermitted, 0));
    assert!(bot.stage.asked().is_empty(), "the model was not asked");
    assert_eq!(world.said_by_bot(channel).len(), 1);
}

#[tokio::test]
async fn a_photo_that_is_refused_after_all_leaves_the_text() {
    let scene = Scene::with("", |_| Line::photo("here", "a cat")).await;
    let refused = RestFault::Refused(403, 50013, "Missing Permissions");
    scene.world.faults().plan(SEND, 1, refused);
    let (question, reply) = scene.ask("@bot show me").await;
    assert_eq!(reply.content, format!("here\n{}", wording::photo_not_taken()));
    assert!(reply.attachments.is_empty());
    let Outcome::Answer(answer) = scene.bot.outcome(&question).await else { panic!("lost") };
    assert_eq!(answer.pieces.len(), 2, "the record keeps the photo");
}

#[tokio::test]
async fn a_channel_that_is_gone_ends_the_work() {
    let scene = Scene::hello().await;
    scene.bot.stage.hold();
    let question = scene.ann.says(&scene.channel, "@bot hi");
    scene.bot.stage.wait_until_asked(1).await;
    scene.channel.is_removed();
    let id = MessageId(question.id.0);
    let gone = || scene.bot.journal.exchange(id).unwrap().is_none().then_some(());
    until("nothing of the channel stays", gone).await;
    scene.bot.stage.release();
    a_moment().await;
    assert!(scene.bot.journal.message(id).unwrap().is_none());
    assert!(scene.world.requests(SEND).is_empty());
}

#[tokio::test]
async fn a_full_queue_and_a_model_that_fails_are_explained() {
    let scene = Scene::with("", |request| {
        let said = crate::scripted::told(request);
        match said.rsplit(' ').next() {
            Some("fail") => Line::Fail,
            Some("panic") => Line::Panic,
            Some("refuse") => Line::Refuse("It is too long for me.".to_owned()),
            _ => Line::text("hello"),
        }
    })
    .await;
    let Scene { world, channel, ann, bot } = &scene;
    for (word, expected) in [
        ("fail", wording::failed()),
        ("panic", wording::failed()),
        ("refuse", wording::refused("It is too long for me.")),
        ("go", "hello".to_owned()),
    ] {
        let (_, reply) = scene.ask(&format!("@bot {word}")).await;
        assert_eq!(reply.content, expected);
    }

    bot.stage.hold();
    let running = ann.says(channel, "@bot go");
    bot.stage.wait_until_asked(5).await;
    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(ann.says(channel, "@bot go"));
        a_moment().await;
    }
    let (_, reply) = scene.ask("@bot go").await;
    assert_eq!(reply.content, wording::person_limit(2));
    for name in ["ben", "cyd", "dan"] {
        waiting.push(world.person(name).says(channel, "@bot go"));
        a_moment().await;
    }
    let turned_away = waiting.pop().unwrap();
    let read = world.requests(READ).len();
    assert_eq!(world.wait_for_reply(&turned_away).await.content, wording::queue_full(4));
    let asked = world.person("eve").says(channel, "@bot go");
    assert_eq!(world.wait_for_reply(&asked).await.content, wording::queue_full(4));
    assert_eq!(world.requests(READ).len(), read, "nothing is read in vain");
    bot.stage.release();
    for question in waiting.iter().chain([&running]) {
        assert_eq!(world.wait_for_reply(question).await.content, "hello");
    }
}

#[tokio::test]
async fn what_discord_refuses_is_explained_to_the_person_and_recorded() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, bot } = &scene;
    let bad_request = RestFault::Refused(400, 50035, "Invalid Form Body");
    for (route, expected) in [(READ, wording::failed()), (SEND, wording::reply_not_taken())] {
        world.faults().plan(route, 1, bad_request.clone());
        let (question, reply) = scene.ask("@bot hi").await;
        assert_eq!(reply.content, expected);
        let Outcome::Explanation(why) = bot.outcome(&question).await else { panic!("no reason") };
        assert_eq!((why.reason, why.sent.len()), (Reason::Failed, 1));
    }
    // A permission that the gateway did not tell of.
    let forbidden = RestFault::Refused(403, 50001, "Missing Access");
    world.faults().plan(READ, 1, forbidden.clone());
    let before = world.said_by_bot(channel).len();
    let question = ann.says(channel, "@bot hi");
    let said = world.wait_for_messages(channel, before + 1).await;
    let expected = wording::not_allowed(Need::ReadHistory, ann.id().0);
    assert_eq!(said.last().unwrap().content, expected);
    let Outcome::Explanation(why) = bot.outcome(&question).await else { panic!("no reason") };
    assert_eq!(why.reason, Reason::NotPermitted);

    world.faults().plan(SEND, 1, forbidden);
    let question = ann.says(channel, "@bot hi");
    let Outcome::Explanation(why) = bot.outcome(&question).await else { panic!("no reason") };
    assert_eq!((why.reason, why.sent.len()), (Reason::NotPermitted, 0));
    assert_eq!(bot.journal.prepared(MessageId(question.id.0)).unwrap(), None);
    assert!(bot.journal.unfinished().unwrap().is_empty());
}

#[tokio::test]
async fn a_photo_that_is_too_large_after_all_leaves_the_text() {
    let scene = Scene::with("", |_| Line::photo("here", "a cat")).await;
    for (status, code) in [(413, 0), (400, 40005)] {
        let refused = RestFault::Refused(status, code, "Request entity too large");
        scene.world.faults().plan(SEND, 1, refused);
        let (question, reply) = scene.ask("@bot show me").await;
        assert_eq!(reply.content, format!("here\n{}", wording::photo_not_taken()));
        assert!(matches!(scene.bot.outcome(&question).await, Outcome::Answer(_)));
    }
}

#[tokio::test]
async fn when_the_rest_of_a_reply_is_refused_the_person_is_told_and_what_was_sent_is_kept() {
    let long = "All work and no play makes Jack a dull boy. ".repeat(60);
    let scene = Scene::with("", move |_| Line::text(&long)).await;
    let (question, _) = {
        scene.world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_millis(300)));
        let question = scene.ann.says(&scene.channel, "@bot tell me a story");
        let reply = scene.world.wait_for_reply(&question).await;
        let refused = RestFault::Refused(400, 20009, "Explicit content");
        scene.world.faults().plan(SEND, 1, refused);
        (question, reply)
    };
    let said = scene.world.wait_for_messages(&scene.channel, 2).await;
    assert!(said[0].content.ends_with("boy."));
    assert_eq!(said[1].content, wording::rest_not_taken());
    let Outcome::Answer(answer) = scene.bot.outcome(&question).await else { panic!("lost") };
    assert_eq!(answer.sent, [MessageId(said[0].id.0), MessageId(said[1].id.0)]);
}

#[tokio::test]
async fn a_journal_that_can_t_be_written_stops_the_bot_and_loses_nothing() {
    let scene = Scene::with("", |_| Line::photo("here", "a cat")).await;
    let Scene { world, channel, ann, bot } = scene;
    let blobs = bot.folder().join("blobs");
    std::fs::remove_dir_all(&blobs).unwrap();
    std::fs::write(&blobs, "in the way").unwrap();
    let question = ann.says(&channel, "@bot show me");
    let (error, folder) = bot.ends().await;
    assert!(error.to_string().contains("see that store.directory can be written"), "{error}");
    assert!(world.replies_to(&question).is_empty(), "nothing is sent that can't be kept");

    std::fs::remove_file(&blobs).unwrap();
    let again = Bot::start(&world, folder, "", |_| Line::photo("here", "a cat")).await;
    world.wait_for_reply(&question).await;
    assert!(matches!(again.outcome(&question).await, Outcome::Answer(_)));
    again.stop().await;
}

/// The error with which the daemon ends at once.
async fn refusal(world: &World, token: String) -> String {
    let folder = tempfile::tempdir().unwrap();
    let (engine, _stage) = Stage::engine(QueueLimits::default(), |_| Line::text("hello"));
    let parts = Parts {
        settings: settings(world, ""),
        token: Secret::new(token),
        engine,
        adapter: None,
        journal: Journal::open(folder.path(), None).unwrap(),
    };
    let ended = daemon::run(parts, std::future::pending()).await;
    ended.expect_err("the daemon is refused").to_string()
}

#[tokio::test]
async fn a_refused_token_and_a_refused_intent_say_what_to_do() {
    let world = World::start();
    let error = refusal(&world, "no.such.token".to_owned()).await;
    assert!(error.contains("refuses the bot token") && !error.contains("no.such"), "{error}");

    world.grant_intents(GatewayIntents::empty());
    let error = refusal(&world, world.token()).await;
    assert!(error.contains("Message Content Intent"), "{error}");
}
