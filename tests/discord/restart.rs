//! Restarts: nothing accepted is lost, nothing is said twice.

use std::time::Duration;

use shutterbug::journal::{MessageId, Outcome};

use crate::bot::{Bot, Scene, a_moment, reopen};
use crate::fake_discord::RestFault;
use crate::scripted::Line;

const SEND: &str = "POST /channels/{channel_id}/messages";

#[tokio::test]
async fn a_stop_lets_a_reply_that_has_begun_finish_and_hands_the_others_back() {
    let Scene { world, channel, ann, bot } = Scene::hello().await;
    bot.stage.hold();
    let begun = ann.says(&channel, "@bot first");
    bot.stage.wait_until_asked(1).await;
    let waiting = world.person("ben").says(&channel, "@bot second");
    a_moment().await;
    let stage = bot.stage.clone();
    tokio::spawn(async move {
        a_moment().await;
        stage.release();
    });
    let folder = bot.stop().await;
    assert_eq!(world.replies_to(&begun).len(), 1);
    assert!(world.replies_to(&waiting).is_empty());
    let journal = reopen(folder.path()).await;
    assert!(matches!(
        journal.exchange(MessageId(begun.id.0)).unwrap().unwrap().outcome,
        Outcome::Answer(_)
    ));
    assert_eq!(journal.unfinished().unwrap().len(), 1);
    drop(journal);

    let missed = ann.says(&channel, "@bot third, while nobody listens");
    let again = Bot::start(&world, folder, "", |_| Line::text("hello again")).await;
    assert_eq!(world.wait_for_reply(&waiting).await.content, "hello again");
    assert_eq!(world.wait_for_reply(&missed).await.content, "hello again");
    a_moment().await;
    assert_eq!(world.replies_to(&begun).len(), 1);
    assert_eq!(world.replies_to(&waiting).len(), 1);
    assert_eq!(world.replies_to(&missed).len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn a_reply_that_was_sent_and_not_recorded_is_found_and_not_sent_again() {
    let Scene { world, channel, ann, bot } = Scene::hello().await;
    // The answer to the request is lost together with the process.
    world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_secs(30)));
    let question = ann.says(&channel, "@bot hi");
    world.wait_for_reply(&question).await;
    let folder = bot.vanish().await;
    assert_eq!(reopen(folder.path()).await.unfinished().unwrap().len(), 1);
    // So late that Discord has forgotten the nonce.
    world.advance(Duration::from_secs(1200));
    let again = Bot::start(&world, folder, "", |_| Line::text("hello")).await;
    let Outcome::Answer(answer) = again.outcome(&question).await else { panic!("no answer") };
    assert_eq!(answer.sent.len(), 1);
    a_moment().await;
    assert_eq!(world.replies_to(&question).len(), 1);
    again.stop().await;
}
