//! Discord's rate limits: obeyed before they are met, and waited for where they are.

use std::time::{Duration, Instant};

use crate::bot::Scene;
use crate::fake_discord::{RestFault, World};

const SEND: &str = "POST /channels/{channel_id}/messages";

/// How the first three tries to send were answered.
async fn statuses(world: &World) -> Vec<u16> {
    let sent = world.wait_for_requests(SEND, 3).await;
    sent.iter().filter_map(|exchange| exchange.status).collect()
}

#[tokio::test]
async fn an_empty_bucket_is_waited_for_and_never_run_into() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, .. } = &scene;
    world.faults().limit_bucket(SEND, 2, Duration::from_millis(1500));
    scene.ask("@bot one").await;
    scene.ask("@bot two").await;
    let start = Instant::now();
    let third = ann.says(channel, "@bot three");
    world.wait_for_reply(&third).await;
    assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    assert_eq!(statuses(world).await, [200, 200, 200]);
}

#[tokio::test]
async fn a_limited_route_is_left_alone_for_as_long_as_discord_says_and_others_are_not() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, .. } = &scene;
    let elsewhere = world.guild("dog club").text_channel("general");
    world.faults().rate_limit(SEND, 1, Duration::from_millis(1500));
    let limited = ann.says(channel, "@bot here");
    world.wait_for_requests(SEND, 1).await;
    let start = Instant::now();
    let free = ann.says(&elsewhere, "@bot there");
    world.wait_for_reply(&free).await;
    assert!(start.elapsed() < Duration::from_millis(1400), "{:?}", start.elapsed());
    assert!(world.replies_to(&limited).is_empty());
    world.wait_for_reply(&limited).await;
    assert!(start.elapsed() > Duration::from_millis(1400), "{:?}", start.elapsed());
    assert_eq!(statuses(world).await, [429, 200, 200]);
}

#[tokio::test]
async fn while_the_whole_bot_is_limited_nothing_is_asked() {
    let scene = Scene::hello().await;
    let Scene { world, channel, ann, .. } = &scene;
    let elsewhere = world.guild("dog club").text_channel("general");
    let limit = RestFault::RateLimitedGlobally(Duration::from_millis(1500));
    world.faults().plan(SEND, 1, limit);
    let first = ann.says(channel, "@bot here");
    world.wait_for_requests(SEND, 1).await;
    let start = Instant::now();
    let second = ann.says(&elsewhere, "@bot there");
    let asked = world.all_requests().len();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(world.all_requests().len(), asked);
    world.wait_for_reply(&first).await;
    world.wait_for_reply(&second).await;
    assert!(start.elapsed() > Duration::from_millis(1400), "{:?}", start.elapsed());
    assert_eq!(statuses(world).await, [429, 200, 200]);
}
