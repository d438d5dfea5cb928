//! Commands: what they change, for whom, and from when on.

use serenity::model::Permissions;
use shutterbug::discord::commands::Scope;
use shutterbug::discord::wording;
use shutterbug::systems::PhotoSharing;

use crate::bot::{Bot, Scene, a_moment};
use crate::fake_discord::{Channel, Guild, Person};
use crate::scripted::Line;

/// A scene in a server with a moderator, whose model always shares a photo if it can.
struct Club {
    scene: Scene,
    guild: Guild,
    general: Channel,
    moderator: Person,
}

impl Club {
    async fn new(settings: &str) -> Self {
        let scene = Scene::with(settings, |_| Line::photo("here", "a cat")).await;
        scene.world.wait_for_command("photos").await;
        let guild = scene.world.guild("dog club");
        let general = guild.text_channel("general");
        let moderator = scene.world.person("mia");
        guild.gives(guild.role("moderators", Permissions::MANAGE_GUILD), &moderator);
        Self { scene, guild, general, moderator }
    }

    /// What a command is answered; it must be quick and seen by nobody else.
    async fn says(&self, person: &Person, channel: &Channel, command: &str) -> String {
        let asked = person.runs_command(channel, command);
        let answer = self.scene.world.wait_for_answer(&asked).await;
        assert!(answer.is_ephemeral(), "{command}");
        answer.content
    }

    async fn photos_in(&self, channel: &Channel) -> usize {
        let question = self.scene.ann.says(channel, "@bot show me");
        self.scene.world.wait_for_reply(&question).await.attachments.len()
    }
}

#[tokio::test]
async fn the_commands_are_known_and_tell_about_the_bot() {
    let club = Club::new("privacy_policy_url = \"https://example.org/privacy\"").await;
    assert_eq!(club.scene.world.commands(), ["help", "photos", "privacy"]);
    let ann = &club.scene.ann;
    insta::assert_snapshot!(club.says(ann, &club.general, "/help").await, @"
    I'm bot. Mention me or reply to me, and I answer; I see the photos of the last messages and sometimes share one that I draw myself.
    Moderators say with `/photos` whether I may share photos in a channel or in the server.
    `/privacy` tells what I keep of what you write.
    ");
    insta::assert_snapshot!(club.says(ann, &ann.direct_channel(), "/privacy").await, @"
    When I answer you, I keep your message, the messages before it that I read for the answer, their photos, and my answer, so that I don't answer twice and my operator can see how an answer came about. Nothing else of what is written is kept, and nothing of it trains a model.
    I keep that until you delete the message: then it is gone from my records at once, with my answer to it, and from the disk within 12 hours. If you delete it while I'm away, it goes when I next read that part of the channel.
    The full policy: <https://example.org/privacy>
    ");
}

#[tokio::test]
async fn photos_are_turned_off_and_on_for_a_channel_or_the_whole_server() {
    let club = Club::new("").await;
    let (mia, general) = (&club.moderator, &club.general);
    let random = club.guild.text_channel("random");
    let question = club.scene.ann.says(general, "@bot a thread, please");
    let thread = club.scene.ann.starts_thread(&question, "photos");
    assert_eq!(club.says(mia, general, "/photos status").await, wording::photos_are_on());

    let said = club.says(mia, general, "/photos off").await;
    assert_eq!(said, wording::photos_turned_off(Scope::Channel));
    assert_eq!(club.says(mia, general, "/photos status").await, wording::photos_are_off());
    for (channel, photos) in [(general, 0), (&thread, 0), (&random, 1)] {
        assert_eq!(club.photos_in(channel).await, photos);
    }
    let asked = club.scene.bot.stage.asked();
    assert!(asked.iter().any(|request| request.photos == PhotoSharing::Off), "by the grammar");

    let said = club.says(mia, &random, "/photos off where:server").await;
    assert_eq!(said, wording::photos_turned_off(Scope::Server));
    let said = club.says(mia, general, "/photos on").await;
    assert_eq!(said, wording::photos_turned_on(Scope::Channel));
    for (channel, photos) in [(general, 1), (&thread, 1), (&random, 0)] {
        assert_eq!(club.photos_in(channel).await, photos);
    }
    assert_eq!(club.photos_in(&club.scene.channel).await, 1, "another server is not concerned");
}

#[tokio::test]
async fn photos_turned_off_concern_what_waits_and_what_is_being_written() {
    let club = Club::new("").await;
    let Scene { world, ann, bot, .. } = &club.scene;
    bot.stage.hold();
    let running = ann.says(&club.general, "@bot first");
    bot.stage.wait_until_asked(1).await;
    let waiting = world.person("ben").says(&club.general, "@bot second");
    a_moment().await;
    club.says(&club.moderator, &club.general, "/photos off").await;
    bot.stage.release();
    let reply = world.wait_for_reply(&running).await;
    assert_eq!(reply.attachments.len(), 0);
    assert_eq!(reply.content, format!("here\n{}", wording::photo_held_back()));
    let reply = world.wait_for_reply(&waiting).await;
    assert_eq!((reply.content.as_str(), reply.attachments.len()), ("here", 0));
    let photos: Vec<_> = bot.stage.asked().iter().map(|request| request.photos).collect();
    assert_eq!(photos, [PhotoSharing::On, PhotoSharing::Off]);
    bot.outcome(&running).await;
    bot.outcome(&waiting).await;
    assert!(bot.journal.verify().unwrap().findings.is_empty());
}

#[tokio::test]
async fn without_the_right_nothing_changes_even_where_the_command_is_offered() {
    let club = Club::new("").await;
    let ann = &club.scene.ann;
    club.guild.admits(ann);
    assert!(ann.tries_command(&club.general, "/photos off").is_err(), "not offered");
    club.guild.lets_everyone_use("photos");
    for command in ["/photos off", "/photos off where:server", "/photos on"] {
        assert_eq!(club.says(ann, &club.general, command).await, wording::not_a_moderator());
    }
    assert_eq!(club.photos_in(&club.general).await, 1);
}

#[tokio::test]
async fn settings_outlive_a_restart_and_the_operator_has_the_last_word() {
    let Club { scene, guild: _guild, general, moderator } = Club::new("").await;
    let Scene { world, ann, bot, .. } = scene;
    let asked = moderator.runs_command(&general, "/photos off");
    world.wait_for_answer(&asked).await;
    let folder = bot.stop().await;
    let again = Bot::start(&world, folder, "", |_| Line::photo("here", "a cat")).await;
    let question = ann.says(&general, "@bot show me");
    assert_eq!(world.wait_for_reply(&question).await.attachments.len(), 0);
    let folder = again.stop().await;

    let off = "[reply]\nphotos = \"off\"";
    let again = Bot::start(&world, folder, off, |_| Line::photo("here", "a cat")).await;
    let asked = moderator.runs_command(&general, "/photos on");
    assert_eq!(world.wait_for_answer(&asked).await.content, wording::photos_off_everywhere());
    let question = ann.says(&general, "@bot show me");
    assert_eq!(world.wait_for_reply(&question).await.attachments.len(), 0);
    again.stop().await;
}
