//! Restarts: nothing accepted is lost, nothing is said twice.

use std::time::Duration;

use serenity::model::Permissions;
use shutterbug::journal::{MessageId, Outcome, Piece, Reason};

use crate::bot::{Bot, Scene, a_moment, reopen, until};
use crate::fake_discord::{Message, RestFault, World};
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

/// A bot that was killed before it learned that Discord has its answer, and that comes back when
/// Discord has forgotten the nonce and the answer has hundreds of messages around it: on neither
/// side is it within reach of the first hundred. With it, the question that it had answered.
async fn back_behind_hundreds_of_messages(scene: Scene) -> (World, Message, Bot) {
    let Scene { world, channel, ann, bot } = scene;
    let ben = world.person("ben");
    let chatter = || (0..150).for_each(|_| drop(ben.says(&channel, "chatter")));
    world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_secs(30)));
    let question = ann.says(&channel, "@bot hi");
    chatter();
    world.wait_for_reply(&question).await;
    let folder = bot.vanish().await;
    world.advance(Duration::from_secs(1200));
    chatter();
    let again = Bot::start(&world, folder, "", |_| Line::text("hello")).await;
    (world, question, again)
}

#[tokio::test]
async fn a_reply_is_found_behind_hundreds_of_messages() {
    let (world, question, again) = back_behind_hundreds_of_messages(Scene::hello().await).await;
    let Outcome::Answer(answer) = again.outcome(&question).await else { panic!("no answer") };
    assert_eq!(answer.sent.len(), 1);
    a_moment().await;
    assert_eq!(world.replies_to(&question).len(), 1);
    assert!(again.stage.asked().is_empty(), "the reply was in the journal");
    again.stop().await;
}

#[tokio::test]
async fn a_note_is_found_behind_hundreds_of_messages_too() {
    let scene = Scene::with("", |_| Line::Fail).await;
    let (world, question, again) = back_behind_hundreds_of_messages(scene).await;
    let Outcome::Explanation(why) = again.outcome(&question).await else { panic!("no reason") };
    assert_eq!((why.reason, why.sent.len()), (Reason::Other, 1));
    a_moment().await;
    assert_eq!(world.replies_to(&question).len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn what_discord_would_not_take_is_sent_later_and_not_written_again() {
    let settings = "retries_max = 0";
    let script = |_: &_| Line::photo("here", "a cat");
    let Scene { world, channel, ann, bot } = Scene::with(settings, script).await;
    world.faults().server_error(SEND, 1, 503);
    let question = ann.says(&channel, "@bot show me");
    world.wait_for_requests(SEND, 1).await;
    a_moment().await;
    let folder = bot.vanish().await;
    assert!(world.replies_to(&question).is_empty());

    let again = Bot::start(&world, folder, settings, |_| Line::text("something else")).await;
    let reply = world.wait_for_reply(&question).await;
    assert_eq!((reply.content.as_str(), reply.attachments.len()), ("here", 1));
    let Outcome::Answer(answer) = again.outcome(&question).await else { panic!("no answer") };
    let Piece::Photo { photo, .. } = answer.pieces[1] else { panic!("no photo") };
    assert_eq!(again.journal.photo(photo).unwrap(), **reply.attachments[0].bytes);
    assert!(again.stage.asked().is_empty(), "the model had worked already");
    again.stop().await;
}

#[tokio::test]
async fn what_was_prepared_is_not_sent_once_its_question_is_gone() {
    let settings = "retries_max = 0";
    let Scene { world, channel, ann, bot } =
        Scene::with(settings, |_| Line::text("about your secret")).await;
    world.faults().server_error(SEND, 1, 503);
    let question = ann.says(&channel, "@bot a secret");
    world.wait_for_requests(SEND, 1).await;
    a_moment().await;
    let folder = bot.vanish().await;
    ann.deletes(&question);
    let again = Bot::start(&world, folder, settings, |_| Line::text("hello")).await;
    assert_eq!(again.outcome(&question).await, Outcome::Withdrawn);
    assert!(world.said_by_bot(&channel).is_empty());
    assert_eq!(again.journal.prepared(MessageId(question.id.0)).unwrap(), None);
    again.stop().await;
}

#[tokio::test]
async fn a_reply_that_lost_its_photo_on_the_way_is_not_sent_again() {
    let script = |_: &_| Line::photo("here", "a cat");
    let Scene { world, channel, ann, bot } = Scene::with("", script).await;
    world.faults().plan(SEND, 1, RestFault::Refused(403, 50013, "Missing Permissions"));
    world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_secs(30)));
    let question = ann.says(&channel, "@bot show me");
    let reply = world.wait_for_reply(&question).await;
    assert!(reply.attachments.is_empty());
    let folder = bot.vanish().await;
    world.advance(Duration::from_secs(1200));
    let again = Bot::start(&world, folder, "", script).await;
    let Outcome::Answer(answer) = again.outcome(&question).await else { panic!("no answer") };
    assert_eq!(answer.sent, [MessageId(reply.id.0)]);
    assert_eq!(answer.pieces.len(), 2, "the record keeps the photo");
    let sent = || again.journal.message(MessageId(reply.id.0)).unwrap();
    let sent = until("the reply is kept as it was sent", sent).await;
    assert_eq!(sent.pieces, [Piece::Text(reply.content)]);
    a_moment().await;
    assert_eq!(world.replies_to(&question).len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn the_rest_of_a_reply_that_was_broken_off_follows() {
    let long = "All work and no play makes Jack a dull boy. ".repeat(100);
    let script = move |_: &_| Line::photo(&long, "a hotel");
    let Scene { world, channel, ann, bot } = Scene::with("", script.clone()).await;
    world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_secs(30)));
    let question = ann.says(&channel, "@bot tell me a story");
    world.wait_for_reply(&question).await;
    let folder = bot.vanish().await;
    world.advance(Duration::from_secs(1200));
    let again = Bot::start(&world, folder, "", script).await;
    let parts = world.wait_for_messages(&channel, 3).await;
    let photos: Vec<usize> = parts.iter().map(|part| part.attachments.len()).collect();
    assert_eq!(photos, [0, 0, 1]);
    let Outcome::Answer(answer) = again.outcome(&question).await else { panic!("no answer") };
    assert_eq!(answer.sent.len(), 3);
    a_moment().await;
    assert_eq!(world.replies_to(&question).len(), 3);
    again.stop().await;
}

#[tokio::test]
async fn a_missing_permission_is_told_once_however_often_the_bot_is_killed() {
    let Scene { world, channel, ann, bot } = Scene::hello().await;
    channel.denies(&world.bot(), Permissions::READ_MESSAGE_HISTORY);
    world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_secs(30)));
    let question = ann.says(&channel, "@bot hi");
    world.wait_for_messages(&channel, 1).await;
    let folder = bot.vanish().await;
    world.advance(Duration::from_secs(1200));
    let again = Bot::start(&world, folder, "", |_| Line::text("hello")).await;
    let Outcome::Explanation(why) = again.outcome(&question).await else { panic!("no reason") };
    assert_eq!(why.reason, Reason::NotPermitted);
    a_moment().await;
    assert_eq!(world.said_by_bot(&channel).len(), 1);
    again.stop().await;
}

#[tokio::test]
async fn what_was_deleted_while_the_bot_was_away_is_gone_with_the_next_look() {
    let Scene { world, channel, ann, bot } = Scene::hello().await;
    let first = ann.says(&channel, "@bot my secret");
    let Outcome::Answer(answer) = bot.outcome(&first).await else { panic!("no answer") };
    let kept = ann.says(&channel, "@bot keep this");
    bot.outcome(&kept).await;
    let folder = bot.stop().await;
    ann.deletes(&first);
    let again = Bot::start(&world, folder, "", |_| Line::text("hello")).await;
    let heard = |id| again.journal.message(id).unwrap();
    assert!(heard(MessageId(first.id.0)).is_some(), "nobody told the bot");
    let next = ann.says(&channel, "@bot hi again");
    again.outcome(&next).await;
    assert!(heard(MessageId(first.id.0)).is_none());
    assert!(heard(answer.sent[0]).is_none());
    assert!(heard(MessageId(kept.id.0)).is_some());
    again.stop().await;
}
