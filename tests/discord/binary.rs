//! The real binary with the tiny model: killed without mercy, stopped in order, refused.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use serenity::model::gateway::GatewayIntents;
use shutterbug::journal::{Journal, MessageId, Outcome, Piece};
use tempfile::TempDir;

use crate::bot::{a_moment, reopen};
use crate::fake_discord::{Channel, Message, Photo, RestFault, World};

const SEND: &str = "POST /channels/{channel_id}/messages";
const READ: &str = "GET /channels/{channel_id}/messages";
/// What nobody may find in a log.
const TYPED: &str = "my secret is a purple elephant";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shutterbug() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shutterbug"));
    command.env_remove("SHUTTERBUG_CONFIG");
    command
}

/// A folder with the tiny model, the settings and the journal.
struct Place {
    folder: TempDir,
    world: World,
}

impl Place {
    fn new(world: &World) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let converted = shutterbug()
            .args(["models", "convert", "--llama"])
            .arg(root("tests/fixtures/tiny/llama"))
            .arg("--diffusion")
            .arg(root("tests/fixtures/tiny/diffusion"))
            .arg("--out")
            .arg(folder.path().join("model"))
            .output()
            .unwrap();
        assert!(converted.status.success(), "{}", String::from_utf8_lossy(&converted.stderr));
        Self { folder, world: world.clone() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn journal_folder(&self) -> PathBuf {
        self.path("store")
    }

    /// `shutterbug run` with everything logged; the model shares a photo whenever it can.
    fn command(&self, token: Option<&str>) -> Command {
        let settings = format!(
            "[model]\ndirectory = '{}'\ndevice = 'cpu'\n[store]\ndirectory = '{}'\n\
             [reply]\nnew_tokens_max = 12\nshare_bias = 1e4\n[drawing]\nsteps = 2\n\
             [log]\nlevel = 'trace'\n[attachments]\nhosts = ['{}']\n[discord]\napi_url = '{}'\n",
            self.path("model").display(),
            self.journal_folder().display(),
            self.world.cdn_host(),
            self.world.url(),
        );
        fs::write(self.path("settings.toml"), settings).unwrap();
        let mut command = shutterbug();
        command.arg("--config").arg(self.path("settings.toml")).arg("run");
        command.env_remove("SHUTTERBUG_DISCORD_TOKEN").env_remove("CREDENTIALS_DIRECTORY");
        command.envs(token.map(|token| ("SHUTTERBUG_DISCORD_TOKEN", token)));
        // Into a file, which unlike a pipe takes any amount that nobody reads.
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        command.stdout(log.try_clone().unwrap()).stderr(log);
        command
    }

    /// What was written to stdout and stderr so far.
    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    async fn start(&self) -> Child {
        let before = self.world.identifies();
        let child = self.command(Some(&self.world.token())).spawn().unwrap();
        self.world
            .wait_for("the bot's session", || (self.world.identifies() > before).then_some(()))
            .await;
        child
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn stop(mut child: Child) -> ExitStatus {
    let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(told.success());
    child.wait().unwrap()
}

/// Ann shows a real photo.
fn question(world: &World, channel: &Channel) -> Message {
    let file = fs::read(root("assets/photos/grace_hopper.jpg")).unwrap();
    let text = format!("@bot {TYPED}");
    world.person("ann").says(channel, (text.as_str(), Photo::jpeg("hopper.jpg", file)))
}

fn answer_in(journal: &Journal, question: &Message) -> (Vec<Piece<Vec<u8>>>, Vec<MessageId>) {
    let exchange = journal.exchange(MessageId(question.id.0)).unwrap().expect("an exchange");
    let Outcome::Answer(answer) = exchange.outcome else { panic!("{:?}", exchange.outcome) };
    let pieces = answer.pieces.into_iter().map(|piece| match piece {
        Piece::Text(text) => Piece::Text(text),
        Piece::Photo { photo, caption } => {
            Piece::Photo { photo: journal.photo(photo).unwrap(), caption }
        }
    });
    (pieces.collect(), answer.sent)
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_reply_loses_nothing_and_repeats_nothing() {
    let world = World::start();
    world.patience(Duration::from_secs(120));
    let channel = world.guild("cat club").text_channel("general");
    let place = Place::new(&world);

    // Killed while the reply is being worked on …
    let child = place.start().await;
    world.faults().plan(READ, 1, RestFault::Stalled(Duration::from_secs(60)));
    let first = question(&world, &channel);
    world.wait_for_typing(&channel).await;
    kill(child);
    world.faults().end();
    // … and, after a restart, when it is sent and not yet recorded.
    world.faults().plan(SEND, 1, RestFault::Stalled(Duration::from_secs(60)));
    let child = place.start().await;
    let reply = world.wait_for_reply(&first).await;
    kill(child);
    world.faults().end();
    // So late that the nonce protects no more.
    world.advance(Duration::from_secs(1200));

    let child = place.start().await;
    let second = question(&world, &channel);
    world.wait_for_reply(&second).await;
    a_moment().await;
    let ended = stop(child);
    let log = place.log();
    assert_eq!(ended.code(), Some(0), "{log}");

    assert_eq!(world.replies_to(&first).len(), 1);
    assert_eq!(world.replies_to(&second).len(), 1);
    let journal = reopen(&place.journal_folder()).await;
    assert!(journal.unfinished().unwrap().is_empty());
    assert!(journal.verify().unwrap().findings.is_empty());
    answer_in(&journal, &second);
    let (pieces, sent) = answer_in(&journal, &first);
    assert_eq!(sent, [MessageId(reply.id.0)]);
    // The picture was kept before it was sent: it is the one that was sent.
    let drawn = pieces.into_iter().find_map(|piece| match piece {
        Piece::Photo { photo, caption } => Some((photo, caption)),
        Piece::Text(_) => None,
    });
    let (photo, caption) = drawn.expect("a photo was shared");
    let delivered = reply.attachments.first().expect("a photo was sent");
    assert_eq!(photo, **delivered.bytes);
    assert_eq!(caption, delivered.description);

    for hidden in [TYPED, "elephant", world.token().as_str(), "/attachments/", "hopper.jpg"] {
        assert!(!log.contains(hidden), "the log shows {hidden}");
    }
    assert!(log.contains("answered"), "{log}");
}

#[tokio::test]
async fn without_a_token_with_a_wrong_one_and_without_the_intent_it_says_what_to_do() {
    let world = World::start();
    let place = Place::new(&world);
    let run = |token: Option<&str>| {
        let status = place.command(token).status().unwrap();
        (status.code(), place.log())
    };
    let (status, log) = run(None);
    assert_eq!(status, Some(2));
    assert!(log.contains("set SHUTTERBUG_DISCORD_TOKEN"), "{log}");

    let (status, log) = run(Some("not.the.token"));
    assert_eq!(status, Some(1));
    assert!(log.contains("make a new one in the developer portal"), "{log}");
    assert!(!log.contains("not.the.token"), "{log}");
    assert_eq!(world.all_requests().len(), 1, "a refused token is not tried again");

    world.grant_intents(GatewayIntents::empty());
    let (status, log) = run(Some(&world.token()));
    assert_eq!(status, Some(1));
    assert!(log.contains("turn on “Message Content Intent”"), "{log}");
}
