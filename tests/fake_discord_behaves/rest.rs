//! REST, request by request.

use std::time::{Duration, Instant};

use serde_json::json;
use serenity::all::{ChannelId, CreateAttachment, CreateMessage, GatewayIntents, Permissions};

use crate::client::{Api, picture, probing_http};
use crate::fake_discord::{DownloadFault, Photo, RestFault, World};

const CREATE: &str = "POST /channels/{channel_id}/messages";

#[tokio::test]
async fn a_wrong_token_is_unauthorised() {
    let world = World::start();
    let (status, error) = Api::with_token(&world, "wrong").get("/users/@me").await;
    assert_eq!((status, &error["code"]), (401, &json!(0)));
    assert_eq!(Api::new(&world).get("/users/@me").await.1["bot"], true);
}

#[tokio::test]
async fn what_the_bot_may_not_do_has_its_code() {
    let world = World::start();
    let guild = world.guild("cat club");
    let (general, forum) = (guild.text_channel("general"), guild.forum("posts"));
    let (bot, ann) = (world.bot(), world.person("ann"));
    let hers = ann.says(&general, "mine");
    let api = Api::new(&world);
    let channel = format!("/channels/{}", general.id());
    let messages = format!("{channel}/messages");
    let hers = format!("{messages}/{}", hers.id);

    let say = |text: &str| json!({ "content": text });
    for (path, body, expected) in [
        ("/channels/1/messages".to_owned(), say("hi"), (404, 10003)),
        ("/channels/x/messages".to_owned(), say("hi"), (400, 50035)),
        (messages.clone(), say("  "), (400, 50006)),
        (messages.clone(), say(&"é".repeat(2001)), (400, 50035)),
        (format!("/channels/{}/messages", forum.id()), say("hi"), (400, 50008)),
    ] {
        let (status, error) = api.post(&path, body).await;
        assert_eq!((status, error["code"].as_u64()), (expected.0, Some(expected.1)), "{path}");
    }
    assert_eq!(api.post(&messages, say(&"é".repeat(2000))).await.0, 200);
    assert_eq!(api.get(&format!("{messages}/1")).await.1["code"], 10008);
    assert_eq!(api.ask("PATCH", &hers, say("yours")).await.1["code"], 50005);
    assert_eq!(api.ask("DELETE", &hers, json!(null)).await.1["code"], 50013);

    general.denies(&bot, Permissions::SEND_MESSAGES);
    assert_eq!(api.post(&messages, say("hi")).await.1["code"], 50013);
    general.denies(&bot, Permissions::VIEW_CHANNEL);
    assert_eq!(api.post(&messages, say("hi")).await.1["code"], 50001);
    assert_eq!(api.get(&channel).await.1["code"], 50001);
    general.denies(&bot, Permissions::READ_MESSAGE_HISTORY);
    assert_eq!(api.get(&messages).await, (200, json!([])));
    general.allows(&bot, Permissions::MANAGE_MESSAGES);
    assert_eq!(api.ask("DELETE", &hers, json!(null)).await.0, 204);
}

#[tokio::test]
async fn a_photo_needs_the_right_to_attach_and_its_limits() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let http = probing_http(&world);
    let channel = ChannelId::new(general.id().0);
    let send = async |files: Vec<CreateAttachment>| {
        let message = CreateMessage::new().files(files);
        channel.send_message(&http, message).await.map_err(|error| code_of(&error))
    };
    let photo = || CreateAttachment::bytes(picture(), "a cat.png").description("a cat");

    let sent = send(vec![photo(), photo()]).await.expect("two photos go");
    assert_eq!(sent.attachments[1].filename, "a_cat.png");
    assert_eq!(sent.attachments[1].description.as_deref(), Some("a cat"));
    let big = CreateAttachment::bytes(vec![0; 10 * 1024 * 1024 + 1], "big.bin");
    assert_eq!(send(vec![big]).await.map(|_| ()), Err(40005));
    assert_eq!(send((0..11).map(|_| photo()).collect()).await.map(|_| ()), Err(50035));
    let wordy = photo().description("d".repeat(1025));
    assert_eq!(send(vec![wordy]).await.map(|_| ()), Err(50035));
    general.denies(&world.bot(), Permissions::ATTACH_FILES);
    assert_eq!(send(vec![photo()]).await.map(|_| ()), Err(50013));
}

/// Discord's JSON code inside serenity's error.
fn code_of(error: &serenity::Error) -> isize {
    match error {
        serenity::Error::Http(serenity::http::HttpError::UnsuccessfulRequest(answer)) => {
            answer.error.code
        }
        other => panic!("not an answer: {other}"),
    }
}

#[tokio::test]
async fn an_enforced_nonce_sends_once() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let api = Api::new(&world);
    let path = format!("/channels/{}/messages", general.id());
    let body =
        |enforced: bool| json!({ "content": "hi", "nonce": "n1", "enforce_nonce": enforced });

    let (_, first) = api.post(&path, body(true)).await;
    let (_, second) = api.post(&path, body(true)).await;
    assert_eq!((&first["id"], &first["nonce"]), (&second["id"], &json!("n1")));
    api.post(&path, body(false)).await;
    assert_eq!(general.history().len(), 2);
    world.advance(Duration::from_secs(600));
    api.post(&path, body(true)).await;
    assert_eq!(general.history().len(), 3);
}

#[tokio::test]
async fn a_reply_to_nothing_fails_only_if_it_should() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let api = Api::new(&world);
    let path = format!("/channels/{}/messages", general.id());
    let question = ann.says(&general, "hm?");
    let reply = |fail: bool| {
        let reference = json!({ "message_id": question.id, "fail_if_not_exists": fail });
        json!({ "content": "hm", "message_reference": reference })
    };
    let (_, there) = api.post(&path, reply(true)).await;
    assert_eq!(
        (&there["type"], &there["referenced_message"]["content"]),
        (&json!(19), &json!("hm?"))
    );

    ann.deletes(&question);
    let (status, error) = api.post(&path, reply(true)).await;
    assert_eq!((status, &error["code"]), (400, &json!(50035)));
    let (_, plain) = api.post(&path, reply(false)).await;
    assert_eq!((&plain["type"], &plain["message_reference"]), (&json!(0), &json!(null)));
    let (_, earlier) = api.get(&format!("{path}/{}", there["id"].as_str().expect("an id"))).await;
    assert_eq!(earlier["referenced_message"], json!(null));
    general.denies(&world.bot(), Permissions::READ_MESSAGE_HISTORY);
    assert_eq!(api.post(&path, reply(false)).await.1["code"], 160_002);
}

#[tokio::test]
async fn only_allowed_mentions_ping() {
    let world = World::start();
    let guild = world.guild("cat club");
    let general = guild.text_channel("general");
    let (ann, ben) = (world.person("ann"), world.person("ben"));
    let moderators = guild.role("moderators", Permissions::empty());
    let question = ann.says(&general, "who?");
    let api = Api::new(&world);
    let path = format!("/channels/{}/messages", general.id());
    let text = format!("@everyone {} <@&{moderators}>", ben.mention());
    let pings = async |allowed| {
        let reference = json!({ "message_id": question.id });
        let mut body = json!({ "content": text, "message_reference": reference });
        if let Some(allowed) = allowed {
            body["allowed_mentions"] = allowed;
        }
        let (status, _) = api.post(&path, body).await;
        (status, general.history().last().expect("a message").pings.clone())
    };

    let (_, all) = pings(None).await;
    assert_eq!(all.users, [ann.id(), ben.id()].into());
    assert!(all.everyone && all.roles.contains(&moderators));
    let (_, none) = pings(Some(json!({ "parse": [] }))).await;
    assert!(none.users.is_empty() && none.roles.is_empty() && !none.everyone);
    let (_, asker) = pings(Some(json!({ "parse": [], "replied_user": true }))).await;
    assert_eq!(asker.users, [ann.id()].into());
    let (_, one) = pings(Some(json!({ "users": [ben.id()] }))).await;
    assert_eq!(one.users, [ben.id()].into());
    let both = json!({ "parse": ["users"], "users": [ben.id()] });
    assert_eq!(pings(Some(both)).await.0, 400);
    general.denies(&world.bot(), Permissions::MENTION_EVERYONE);
    let (_, unprivileged) = pings(None).await;
    assert!(!unprivileged.everyone && unprivileged.roles.is_empty());
}

#[tokio::test]
async fn history_is_paged() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let said: Vec<_> = (0..120).map(|n| ann.says(&general, n.to_string())).collect();
    let api = Api::new(&world);
    let page = async |query: String| {
        let (status, page) = api.get(&format!("/channels/{}/messages{query}", general.id())).await;
        let contents = page.as_array().into_iter().flatten().map(|m| m["content"].clone());
        (status, contents.map(|c| c.as_str().unwrap_or_default().parse().unwrap_or(0)).collect())
    };
    let newest: Vec<u64> = page(String::new()).await.1;
    assert_eq!((newest.len(), newest[0], newest[49]), (50, 119, 70));
    let id = said[60].id;
    assert_eq!(page(format!("?limit=3&before={id}")).await.1, [59, 58, 57]);
    assert_eq!(page(format!("?limit=3&after={id}")).await.1, [63, 62, 61]);
    assert_eq!(page(format!("?limit=5&around={id}")).await.1, [62, 61, 60, 59, 58]);
    assert_eq!(page("?limit=101".into()).await.0, 400);
}

#[tokio::test]
async fn rate_limits_say_when_to_come_again() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let api = Api::new(&world);
    let path = format!("/channels/{}/messages", general.id());
    let send =
        async || api.response("POST", &path, &json!({ "content": "hi" })).await.expect("an answer");
    let header = |response: &reqwest::Response, name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };

    world.faults().rate_limit(CREATE, 1, Duration::from_millis(1500));
    let limited = send().await;
    assert_eq!(limited.status().as_u16(), 429);
    assert_eq!(header(&limited, "retry-after").as_deref(), Some("2"));
    assert_eq!(header(&limited, "x-ratelimit-scope").as_deref(), Some("user"));
    let body: serde_json::Value = limited.text().await.expect("text").parse().expect("JSON");
    assert_eq!((&body["retry_after"], &body["global"]), (&json!(1.5), &json!(false)));

    world.faults().rate_limit_globally(1, Duration::from_secs(3));
    let limited = send().await;
    assert_eq!(header(&limited, "x-ratelimit-global").as_deref(), Some("true"));

    world.faults().limit_bucket(CREATE, 2, Duration::from_millis(400));
    assert_eq!(header(&send().await, "x-ratelimit-remaining").as_deref(), Some("1"));
    send().await;
    assert_eq!(send().await.status().as_u16(), 429);
    tokio::time::sleep(Duration::from_millis(450)).await;
    assert_eq!(send().await.status().as_u16(), 200);
    assert_eq!(general.history().len(), 3);
}

#[tokio::test]
async fn requests_fail_stall_and_break_on_demand() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let api = Api::new(&world);
    let path = format!("/channels/{}/messages", general.id());
    let send = async || api.response("POST", &path, &json!({ "content": "hi" })).await;

    world.faults().server_error(CREATE, 1, 503);
    assert_eq!(send().await.expect("an answer").status().as_u16(), 503);
    world.faults().plan(CREATE, 1, RestFault::Refused(403, 20009, "Explicit content"));
    assert_eq!(send().await.expect("an answer").status().as_u16(), 403);
    world.faults().plan(CREATE, 1, RestFault::DroppedBefore);
    assert!(send().await.is_err());
    assert_eq!(general.history().len(), 0);
    world.faults().plan(CREATE, 1, RestFault::DroppedAfter);
    assert!(send().await.is_err());
    assert_eq!(general.history().len(), 1);

    world.faults().plan("*", 1, RestFault::Stalled(Duration::from_millis(300)));
    let begun = Instant::now();
    assert!(send().await.is_ok() && begun.elapsed() >= Duration::from_millis(300));
    let statuses: Vec<_> = world.requests(CREATE).iter().map(|e| e.status).collect();
    assert_eq!(statuses, [Some(503), Some(403), None, Some(200)]);
}

#[tokio::test]
async fn files_expire_stall_break_and_live_elsewhere() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let photo = Photo::png("cat.png", picture()).described("a cat");
    let said = ann.says(&general, ("look", photo.clone()));
    let api = Api::new(&world);
    let path = format!("/channels/{}/messages/{}", general.id(), said.id);
    let address = async || {
        let (_, message) = api.get(&path).await;
        message["attachments"][0]["url"].as_str().expect("an address").to_owned()
    };
    let fetch = async |url: &str| reqwest::get(url).await.expect("an answer");

    let url = address().await;
    assert_eq!(fetch(&url).await.bytes().await.expect("the photo"), picture());
    assert_eq!(fetch(&url.replace("hm=", "hm=0")).await.status().as_u16(), 404);
    world.advance(Duration::from_secs(25 * 3600));
    assert_eq!(fetch(&url).await.status().as_u16(), 404);
    let url = address().await;
    world.faults().downloads(1, DownloadFault::Truncated);
    assert!(fetch(&url).await.bytes().await.is_err());
    world.faults().downloads(1, DownloadFault::Stalled);
    let stalled = fetch(&url).await;
    let limit = Duration::from_millis(200);
    assert!(tokio::time::timeout(limit, stalled.bytes()).await.is_err());
    world.faults().downloads(1, DownloadFault::ServerError(502));
    assert_eq!(fetch(&url).await.status().as_u16(), 502);

    let strange = ann.says(&general, photo.hosted_elsewhere());
    let path = format!("/channels/{}/messages/{}", general.id(), strange.id);
    let url = api.get(&path).await.1["attachments"][0]["url"].as_str().expect("one").to_owned();
    assert!(!url.contains(&world.cdn_host()));
    fetch(&url).await;
    assert!(world.downloads().last().expect("a download").host.starts_with("localhost"));
}

#[tokio::test]
async fn direct_channels_threads_and_guilds_are_managed() {
    let world = World::start();
    let guild = world.guild("cat club");
    let (general, forum) = (guild.text_channel("general"), guild.forum("posts"));
    let ann = world.person("ann");
    guild.admits(&ann);
    let api = Api::new(&world);

    let (_, direct) = api.post("/users/@me/channels", json!({ "recipient_id": ann.id() })).await;
    assert_eq!(direct["recipients"][0]["username"], "ann");
    let path = format!("/channels/{}/messages", direct["id"].as_str().expect("an id"));
    assert_eq!(api.post(&path, json!({ "content": "hi" })).await.0, 200);
    ann.closes_direct_messages();
    assert_eq!(api.post(&path, json!({ "content": "hi" })).await.1["code"], 50007);

    let body = json!({ "name": "talk", "type": 11 });
    let (status, thread) = api.post(&format!("/channels/{}/threads", general.id()), body).await;
    assert_eq!((status, &thread["parent_id"]), (201, &json!(general.id())));
    let body = json!({ "name": "a post", "message": { "content": "look" } });
    let (status, post) = api.post(&format!("/channels/{}/threads", forum.id()), body).await;
    assert_eq!((status, &post["message"]["content"]), (201, &json!("look")));
    let said = ann.says(&general, "a topic");
    let path = format!("/channels/{}/messages/{}/threads", general.id(), said.id);
    assert_eq!(api.post(&path, json!({ "name": "on it" })).await.1["id"], json!(said.id));
    let (_, active) = api.get(&format!("/guilds/{}/threads/active", guild.id())).await;
    assert_eq!(active["threads"].as_array().map(Vec::len), Some(3));

    let (_, channels) = api.get(&format!("/guilds/{}/channels", guild.id())).await;
    assert_eq!(channels.as_array().map(Vec::len), Some(2));
    let (_, member) = api.get(&format!("/guilds/{}/members/{}", guild.id(), ann.id())).await;
    assert_eq!(member["user"]["username"], "ann");
    assert_eq!(api.get("/applications/@me").await.1["flags"], 1 << 19);
    let leave = format!("/users/@me/guilds/{}", guild.id());
    assert_eq!(api.ask("DELETE", &leave, json!(null)).await.0, 204);
    assert_eq!(api.get(&format!("/guilds/{}", guild.id())).await.1["code"], 10004);
}

#[tokio::test]
async fn reactions_edits_deletions_and_typing_reach_the_channel() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let said = ann.says(&general, "hi");
    let api = Api::new(&world);
    let channel = format!("/channels/{}", general.id());

    let reaction = format!("{channel}/messages/{}/reactions/%F0%9F%91%8D", said.id);
    assert_eq!(api.ask("PUT", &format!("{reaction}/@me"), json!(null)).await.0, 204);
    assert_eq!(api.get(&reaction).await.1[0]["username"], "bot");
    assert_eq!(world.message(said.id).reactions[0].emoji, "👍");
    api.ask("DELETE", &format!("{reaction}/@me"), json!(null)).await;
    assert!(world.message(said.id).reactions.is_empty());

    assert_eq!(api.post(&format!("{channel}/typing"), json!(null)).await.0, 204);
    assert!(world.bot_is_typing(&general));
    let (_, mine) = api.post(&format!("{channel}/messages"), json!({ "content": "one" })).await;
    assert!(!world.bot_is_typing(&general));
    let path = format!("{channel}/messages/{}", mine["id"].as_str().expect("an id"));
    let (_, edited) = api.ask("PATCH", &path, json!({ "content": "two" })).await;
    assert!(edited["content"] == "two" && edited["edited_timestamp"].is_string());
    assert_eq!(api.ask("PATCH", &path, json!({ "content": "" })).await.1["code"], 50006);

    general.allows(&world.bot(), Permissions::MANAGE_MESSAGES);
    let bulk = json!({ "messages": [said.id, mine["id"]] });
    assert_eq!(api.post(&format!("{channel}/messages/bulk-delete"), bulk).await.0, 204);
    assert!(general.history().is_empty());
    let one = json!({ "messages": [said.id] });
    let (_, error) = api.post(&format!("{channel}/messages/bulk-delete"), one).await;
    assert_eq!(error["code"], 50016);
}

#[tokio::test]
async fn what_is_there_can_be_looked_up() {
    let world = World::start();
    let guild = world.guild("cat club");
    let general = guild.text_channel("general");
    let ann = world.person("ann");
    guild.admits(&ann);
    let thread = ann.starts_thread(&ann.says(&general, "a topic"), "on it");
    let api = Api::new(&world);
    let (of_guild, of_thread) =
        (format!("/guilds/{}", guild.id()), format!("/channels/{}", thread.id()));

    let (_, gateway) = api.get("/gateway/bot").await;
    assert_eq!(gateway["url"], json!(format!("ws://{}", world.cdn_host())));
    assert_eq!(api.get(&format!("/users/{}", ann.id())).await.1["username"], "ann");
    assert_eq!(api.get("/users/1").await.1["code"], 10013);
    assert_eq!(api.get("/users/@me/guilds").await.1[0]["name"], "cat club");
    assert_eq!(
        api.get(&format!("{of_guild}?with_counts=true")).await.1["approximate_member_count"],
        3
    );
    assert_eq!(api.get(&format!("{of_guild}/roles")).await.1[0]["name"], "@everyone");
    assert_eq!(api.get(&format!("{of_guild}/members")).await.1["code"], 50001);
    world.grant_intents(GatewayIntents::GUILD_MEMBERS);
    let members = api.get(&format!("{of_guild}/members?limit=10")).await.1;
    assert_eq!(members.as_array().map(Vec::len), Some(3));
    assert_eq!(api.get(&format!("{of_guild}/members/1")).await.1["code"], 10013);

    let join = format!("{of_thread}/thread-members/@me");
    assert_eq!(api.ask("PUT", &join, json!(null)).await.0, 204);
    let people = api.get(&format!("{of_thread}/thread-members")).await.1;
    assert_eq!(people.as_array().map(Vec::len), Some(2));
    assert_eq!(api.ask("DELETE", &join, json!(null)).await.0, 204);
    assert_eq!(api.ask("PATCH", &of_thread, json!({ "archived": true })).await.1["code"], 50013);
    general.allows(&world.bot(), Permissions::MANAGE_THREADS | Permissions::MANAGE_CHANNELS);
    let (_, archived) = api.ask("PATCH", &of_thread, json!({ "archived": true })).await;
    assert_eq!(archived["thread_metadata"]["archived"], true);
    let old = api.get(&format!("/channels/{}/threads/archived/public", general.id())).await.1;
    assert_eq!(old["threads"][0]["id"], json!(thread.id()));
    assert_eq!(api.ask("DELETE", &of_thread, json!(null)).await.0, 200);
    assert_eq!(api.get(&of_thread).await.1["code"], 10003);
    assert_eq!(api.get("/no/such/route").await.0, 404);
    assert_eq!(api.ask("PUT", "/gateway", json!(null)).await.0, 405);
}

#[tokio::test]
async fn a_locked_thread_and_an_age_restricted_channel_are_seen_as_such() {
    let world = World::start();
    let guild = world.guild("cat club");
    let general = guild.text_channel("general");
    let ann = world.person("ann");
    let thread = ann.starts_thread(&ann.says(&general, "a topic"), "on it");
    let api = Api::new(&world);
    general.is_age_restricted(true);
    assert_eq!(api.get(&format!("/channels/{}", general.id())).await.1["nsfw"], true);

    let path = format!("/channels/{}/messages", thread.id());
    assert_eq!(api.post(&path, json!({ "content": "hi" })).await.0, 200);
    thread.is_locked();
    assert_eq!(api.post(&path, json!({ "content": "hi" })).await.1["code"], 50083);
    general.denies(&world.bot(), Permissions::SEND_MESSAGES_IN_THREADS);
    assert_eq!(api.post(&path, json!({ "content": "hi" })).await.1["code"], 50013);
    let webhook = general.webhook_says("news", "@bot read this");
    let (_, seen) = api.get(&format!("/channels/{}/messages/{}", general.id(), webhook.id)).await;
    assert!(seen["webhook_id"].is_string());
}

#[tokio::test]
async fn reactions_of_others_are_a_moderator_s() {
    let world = World::start();
    let general = world.guild("cat club").text_channel("general");
    let ann = world.person("ann");
    let said = ann.says(&general, "hi");
    ann.reacts(&said, "👍");
    let api = Api::new(&world);
    let reactions = format!("/channels/{}/messages/{}/reactions", general.id(), said.id);
    let thumb = format!("{reactions}/%F0%9F%91%8D");
    let of_ann = format!("{thumb}/{}", ann.id());

    assert_eq!(
        api.ask("PUT", &format!("{reactions}/thumbs/@me"), json!(null)).await.1["code"],
        10014
    );
    assert_eq!(api.ask("DELETE", &of_ann, json!(null)).await.1["code"], 50013);
    general.allows(&world.bot(), Permissions::MANAGE_MESSAGES);
    assert_eq!(api.ask("DELETE", &of_ann, json!(null)).await.0, 204);
    general.denies(&world.bot(), Permissions::ADD_REACTIONS);
    assert_eq!(api.ask("PUT", &format!("{thumb}/@me"), json!(null)).await.1["code"], 50013);
    ann.reacts(&said, "👎");
    general.allows(&world.bot(), Permissions::MANAGE_MESSAGES);
    assert_eq!(api.ask("DELETE", &reactions, json!(null)).await.0, 204);
    assert!(world.message(said.id).reactions.is_empty());
}
