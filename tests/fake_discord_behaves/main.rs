//! The fake Discord keeps Discord's rules, seen by a plain serenity client and by raw requests.

#[path = "../fake_discord/mod.rs"]
mod fake_discord;

mod client;
mod gateway;
mod interactions;
mod rest;

use client::{Parrot, picture};
use fake_discord::{Photo, World, a_moment};

#[tokio::test]
async fn a_photo_goes_in_and_comes_back_as_a_reply() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let _bot = Parrot::joins(&world).await;

    let question = ann.says(&general, ("@bot who is this?", Photo::png("cat.png", picture())));
    let reply = world.wait_for_reply(&question).await;

    assert_eq!(reply.content, format!("{} who is this?", world.bot().mention()));
    assert_eq!(*reply.attachments[0].bytes, picture());
    assert_eq!(reply.attachments[0].description.as_deref(), Some("a copy"));
    assert_eq!(reply.attachments[0].size, Some((4, 3)));
    assert!(reply.pings.users.contains(&ann.id()));
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_the_gateway_drops() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let _bot = Parrot::joins(&world).await;
    let first = ann.says(&general, "@bot one");
    world.wait_for_reply(&first).await;

    world.faults().drop_gateway();
    let missed = ann.says(&general, "@bot two");
    world.wait_for_reply(&missed).await;
    world.faults().ask_reconnect();
    let later = ann.says(&general, "@bot three");
    world.wait_for_reply(&later).await;

    a_moment().await;
    for question in [&first, &missed, &later] {
        assert_eq!(world.replies_to(question).len(), 1);
    }
    assert_eq!((world.identifies(), world.resumes()), (1, 2));
}

#[tokio::test]
async fn a_session_that_is_forgotten_begins_anew() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let _bot = Parrot::joins(&world).await;

    world.faults().invalidate();
    world.wait_for("a second session", || (world.identifies() == 2).then_some(())).await;
    let question = ann.says(&general, "@bot still there?");
    world.wait_for_reply(&question).await;
}

#[tokio::test]
async fn people_talk_privately_in_threads_and_in_forum_posts() {
    let world = World::start();
    let guild = world.guild("cat club");
    let general = guild.text_channel("general");
    let forum = guild.forum("pictures");
    let ann = world.person("ann");
    let _bot = Parrot::joins(&world).await;

    let private = ann.writes_to_bot("@bot psst");
    let topic = ann.says(&general, "cats");
    let thread = ann.starts_thread(&topic, "about cats");
    let in_thread = ann.says(&thread, "@bot here?");
    let (post, opening) = ann.opens_post(&forum, "my cat", "@bot look");

    for question in [&private, &in_thread, &opening] {
        let reply = world.wait_for_reply(question).await;
        assert_eq!(reply.channel, question.channel);
    }
    assert_eq!(post.history().len(), 2);
}

#[tokio::test]
async fn what_people_do_is_seen_and_undone() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let (ann, ben) = (world.person("ann"), world.person("ben"));
    let message = ann.says(&general, "@ben hi");
    assert!(message.pings.users.contains(&ben.id()));

    let edited = ann.edits(&message, "bye");
    assert!(edited.edited.is_some() && edited.pings.users.is_empty());
    ben.reacts(&message, "👍");
    ann.reacts(&message, "👍");
    ben.takes_back_reaction(&message, "👍");
    assert_eq!(world.message(message.id).reactions[0].users, [ann.id()]);
    ann.deletes(&message);
    assert!(general.history().is_empty());
    assert_eq!(world.message(message.id).content, "bye");
}
