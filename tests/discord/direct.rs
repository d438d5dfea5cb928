//! Private messages, where the operator allows them.

use std::time::Duration;

use shutterbug::journal::{MessageId, Outcome};

use crate::bot::{Bot, Scene, a_moment};
use crate::fake_discord::RestFault;
use crate::scripted::{Line, told};

const SEND: &str = "POST /channels/{channel_id}/messages";
const ON: &str = "direct_messages = \"on\"";

#[tokio::test]
async fn private_messages_are_not_listened_to_unless_they_are_allowed() {
    let scene = Scene::hello().await;
    let question = scene.ann.writes_to_bot("hello?");
    a_moment().await;
    assert!(scene.world.replies_to(&question).is_empty());
    assert!(scene.bot.stage.asked().is_empty());
}

#[tokio::test]
async fn a_private_message_needs_no_mention_and_is_a_dialogue_of_its_own() {
    let scene = Scene::with(ON, |_| Line::text("hello")).await;
    let Scene { world, channel, ann, bot } = &scene;
    ann.says(channel, "said in public");
    let question = ann.writes_to_bot("hello?");
    assert_eq!(world.wait_for_reply(&question).await.content, "hello");
    insta::assert_snapshot!(told(&bot.stage.asked()[0]), @"B: hello?");
    assert!(matches!(bot.outcome(&question).await, Outcome::Answer(_)));
    let heard = bot.journal.message(MessageId(question.id.0)).unwrap().expect("it is kept");
    assert_eq!(heard.guild, None);
    a_moment().await;
    assert_eq!(world.replies_to(&question).len(), 1, "not its own");
}

#[tokio::test]
async fn private_messages_outlive_a_restart_and_missed_ones_are_read() {
    let Scene { world, ann, bot, .. } = Scene::with(ON, |_| Line::text("hello")).await;
    world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_secs(30)));
    let first = ann.writes_to_bot("first");
    world.wait_for_reply(&first).await;
    let folder = bot.vanish().await;
    let missed = ann.writes_to_bot("second");
    world.advance(Duration::from_secs(1200));
    let again = Bot::start(&world, folder, ON, |_| Line::text("hello again")).await;
    assert_eq!(world.wait_for_reply(&missed).await.content, "hello again");
    assert!(matches!(again.outcome(&first).await, Outcome::Answer(_)));
    a_moment().await;
    assert_eq!(world.replies_to(&first).len(), 1);
    assert_eq!(world.replies_to(&missed).len(), 1);
    again.stop().await;
}
