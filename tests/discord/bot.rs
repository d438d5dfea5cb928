//! The daemon under test.

use std::path::Path;
use std::time::Duration;

use shutterbug::config::{Secret, Settings};
use shutterbug::daemon::{self, DaemonError, Parts};
use shutterbug::dialogue::Pixels;
use shutterbug::engine::QueueLimits;
use shutterbug::imaging;
use shutterbug::journal::{Journal, MessageId, Outcome};
use shutterbug::systems::ReplyRequest;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake_discord::{Channel, Message, Person, World};
use crate::scripted::{Line, Stage};

/// A world with one channel and one person, and the bot in it.
pub struct Scene {
    pub world: World,
    pub channel: Channel,
    pub ann: Person,
    pub bot: Bot,
}

impl Scene {
    /// The model says "hello" to everything.
    pub async fn hello() -> Self {
        Self::with("", |_| Line::text("hello")).await
    }

    /// With settings beside those that lead to the world.
    pub async fn with(
        settings: &str,
        script: impl Fn(&ReplyRequest) -> Line + Send + 'static,
    ) -> Self {
        let world = World::start();
        let channel = world.guild("cat club").text_channel("general");
        let ann = world.person("ann");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bot = Bot::start(&world, folder, settings, script).await;
        Self { world, channel, ann, bot }
    }

    /// Ann asks and the bot replies.
    pub async fn ask(&self, text: &str) -> (Message, Message) {
        let question = self.ann.says(&self.channel, text);
        let reply = self.world.wait_for_reply(&question).await;
        (question, reply)
    }
}

/// A daemon that runs beside the test.
pub struct Bot {
    pub stage: Stage,
    pub journal: Journal,
    folder: TempDir,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), DaemonError>>,
}

/// What leads the daemon to the world.
pub fn settings(world: &World, more: &str) -> Settings {
    // Tables must not be opened twice, so `more` begins with keys of [discord].
    Settings::from_toml(&format!(
        "[attachments]\nhosts = [\"{}\"]\nstall_seconds_max = 1.0\n[discord]\napi_url = \"{}\"\n{more}",
        world.cdn_host(),
        world.url(),
    ))
    .expect("valid settings")
}

impl Bot {
    /// Starts it and waits until it is connected.
    pub async fn start(
        world: &World,
        folder: TempDir,
        more: &str,
        script: impl Fn(&ReplyRequest) -> Line + Send + 'static,
    ) -> Self {
        let limits = QueueLimits { waiting_max: 4, waiting_per_person_max: 2 };
        let (engine, stage) = Stage::engine(limits, script);
        let journal = reopen(folder.path()).await;
        let (stop, stopped) = oneshot::channel();
        let parts = Parts {
            settings: settings(world, more),
            token: Secret::new(world.token()),
            engine,
            adapter: None,
            journal: journal.clone(),
        };
        let task = tokio::spawn(daemon::run(parts, async {
            let _ = stopped.await;
        }));
        world.wait_for_bot().await;
        Self { stage, journal, folder, stop, task }
    }

    /// Where its journal lies.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Tells it to stop, waits until it has, and gives the folder with its journal.
    pub async fn stop(self) -> TempDir {
        self.stop.send(()).expect("the daemon runs");
        self.task.await.expect("the daemon doesn't panic").expect("the daemon stops in order");
        self.folder
    }

    /// Waits for it to end by itself, and gives why and the folder with its journal.
    pub async fn ends(self) -> (DaemonError, TempDir) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task);
        let ended = ended.await.expect("it ends").expect("the daemon doesn't panic");
        (ended.expect_err("it can't go on"), self.folder)
    }

    /// Ends it without a word, as far as that is possible within one process.
    pub async fn vanish(self) -> TempDir {
        self.task.abort();
        assert!(self.task.await.expect_err("it is aborted").is_cancelled());
        self.folder
    }

    /// How a message's exchange ended; panics when it doesn't within seconds.
    pub async fn outcome(&self, question: &Message) -> Outcome {
        for _ in 0..500 {
            let exchange =
                self.journal.exchange(MessageId(question.id.0)).expect("a sound journal");
            match exchange.map(|exchange| exchange.outcome) {
                None | Some(Outcome::Pending) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                Some(outcome) => return outcome,
            }
        }
        panic!("message {} has no outcome", question.id);
    }
}

/// A PNG file of one colour.
pub fn png(width: u32, height: u32) -> Vec<u8> {
    let rgb = [200, 40, 90].repeat((width * height) as usize);
    imaging::encode_png(&Pixels { width, height, rgb })
}

/// Opens a journal once its daemon has let go of it.
pub async fn reopen(folder: &Path) -> Journal {
    for _ in 0..200 {
        match Journal::open(folder, None) {
            Ok(journal) => return journal,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    Journal::open(folder, None).expect("a sound journal")
}

/// Waits until `found` finds something; panics, naming `what`, when it doesn't within seconds.
pub async fn until<T>(what: &str, found: impl Fn() -> Option<T>) -> T {
    for _ in 0..1000 {
        if let Some(found) = found() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}

/// A pause that lets what must not happen happen.
pub async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}
