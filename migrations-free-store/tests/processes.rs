//! Other processes: ones that are killed, ones that hold the lock, one whose disk is full.
//!
//! This binary starts itself again as the process that works on a store; it tells on stdout what
//! was acknowledged to it, and everything that it told must be there afterwards.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use migrations_free_store::{BlobId, Error, Finding, Key, Options, Order, Record, Schema, Store};
use serde::{Deserialize, Serialize};

/// Kills in the middle of writes.
const WRITE_KILLS: u64 = 220;
/// Kills in the middle of compactions.
const COMPACT_KILLS: u64 = 40;
const WRITERS: u64 = 3;
/// Each writer keeps this many entries and deletes the one before in the same batch.
const KEPT: u64 = 24;

/// One entry of one writer.
#[derive(Serialize, Deserialize)]
struct Entry {
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<BlobId>,
}

impl Record for Entry {
    const KIND: &'static str = "entry";
    const REVISION: u16 = 1;

    fn blobs(&self) -> Vec<BlobId> {
        self.blob.into_iter().collect()
    }
}

/// How far a writer has come.
#[derive(Serialize, Deserialize)]
struct Newest {
    number: u64,
}

impl Record for Newest {
    const KIND: &'static str = "newest";
    const REVISION: u16 = 1;
}

fn text_of(writer: u64, number: u64) -> String {
    format!("writer {writer} wrote entry {number}; ").repeat(1 + (number % 7) as usize * 4)
}

fn blob_of(writer: u64, number: u64) -> Vec<u8> {
    format!("photo {number} of writer {writer}").repeat(50).into_bytes()
}

fn id_of(writer: u64, number: u64) -> Vec<u8> {
    [writer.to_be_bytes(), number.to_be_bytes()].concat()
}

fn key_of(sealing: &str) -> Option<Key> {
    (sealing == "sealed").then(|| Key::from_bytes([9; 32]))
}

fn open(folder: &Path, sealing: &str) -> Result<Store, Error> {
    Store::open(folder, Options { key: key_of(sealing), ..Options::default() })
}

/// Writes entry after entry; `acknowledged` hears of each after its flush.
fn write_on(
    store: &Store,
    writer: u64,
    mut acknowledged: impl FnMut(u64) -> io::Result<()>,
) -> Result<(), Error> {
    let newest = store.get::<Newest>(&writer.to_be_bytes())?.map_or(0, |newest| newest.number);
    for number in newest + 1.. {
        let blob =
            if number % 8 == 0 { Some(store.blobs().put(&blob_of(writer, number))?) } else { None };
        let mut batch = store.batch();
        batch.put(&id_of(writer, number), &Entry { text: text_of(writer, number), blob })?;
        batch.put(&writer.to_be_bytes(), &Newest { number })?;
        if number > KEPT {
            batch.delete::<Entry>(&id_of(writer, number - KEPT));
        }
        batch.apply()?;
        store.flush()?;
        if acknowledged(number).is_err() {
            break;
        }
    }
    Ok(())
}

/// The process to be killed: opens the store, checks that all of `acknowledged` is there, tells
/// so, and works on.
fn work(folder: &Path, job: &str, sealing: &str, acknowledged: &str) -> Result<(), Error> {
    let store = open(folder, sealing)?;
    check(
        &store,
        &acknowledged.split(',').map(|n| n.parse().expect("a number")).collect::<Vec<_>>(),
    );
    let tell = |line: String| io::stdout().write_all(line.as_bytes());
    if tell("checked\n".to_owned()).is_err() {
        return Ok(());
    }
    thread::scope(|scope| {
        let writers = if job == "fill" { 1 } else { WRITERS };
        let running: Vec<_> = (0..writers)
            .map(|writer| {
                let store = &store;
                let tell = move |number| tell(format!("{writer} {number}\n"));
                scope.spawn(move || write_on(store, writer, tell))
            })
            .collect();
        if job == "compact" {
            loop {
                store.compact()?;
            }
        }
        running.into_iter().try_for_each(|writer| writer.join().expect("a writer doesn't panic"))
    })
}

/// Numbers below `n`, the same ones every time (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % n
    }
}

fn start(folder: &Path, job: &str, sealing: &str, acknowledged: &[u64]) -> Child {
    Command::new(std::env::current_exe().expect("this test is a file"))
        .args(["work", job, sealing, &list(acknowledged)])
        .arg(folder)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test starts itself")
}

fn list(acknowledged: &[u64]) -> String {
    acknowledged.iter().map(u64::to_string).collect::<Vec<_>>().join(",")
}

/// Collects what is acknowledged to a process until it ends; `heard` gets a sign for each line,
/// the first of which says that the store is open and checked.
fn listen(child: &mut Child, heard: Sender<()>) -> thread::JoinHandle<Vec<(u64, u64)>> {
    let told = BufReader::new(child.stdout.take().expect("is piped"));
    thread::spawn(move || {
        let mut acknowledged = Vec::new();
        for line in told.lines().map_while(Result::ok) {
            if let Some((writer, number)) = line.split_once(' ') {
                let parse = |text: &str| text.parse().expect("a number");
                acknowledged.push((parse(writer), parse(number)));
            }
            let _ = heard.send(()); // nobody may be waiting any more
        }
        acknowledged
    })
}

/// Everything acknowledged is there, and batches are there whole or not at all.
fn check(store: &Store, acknowledged: &[u64]) {
    for (writer, &told) in (0u64..).zip(acknowledged) {
        let newest = store.get::<Newest>(&writer.to_be_bytes()).expect("reads");
        let newest = newest.map_or(0, |newest| newest.number);
        assert!(newest >= told, "entry {told} of writer {writer} was lost, {newest} is the newest");
        let entries = store.scan::<Entry>(&writer.to_be_bytes(), Order::Ascending);
        let entries: Vec<_> = entries.map(|entry| entry.expect("decodes")).collect();
        let expected: Vec<u64> = (newest.saturating_sub(KEPT) + 1..=newest).collect();
        let ids: Vec<_> = expected.iter().map(|&number| id_of(writer, number)).collect();
        assert!(entries.iter().map(|(id, _)| id).eq(&ids), "a batch of {writer} was torn");
        for (number, (_, entry)) in expected.into_iter().zip(entries) {
            assert_eq!(entry.text, text_of(writer, number));
            if let Some(blob) = entry.blob {
                let content = store.blobs().get(blob).expect("a blob is there before its record");
                assert_eq!(content, blob_of(writer, number));
            }
        }
    }
}

fn schema() -> Schema {
    Schema::default().with::<Entry>().with::<Newest>()
}

/// Kills a process again and again; each one checks what the last one left.
fn kill_again_and_again(job: &str, sealing: &str, kills: u64, seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dice = Dice(seed);
    // Writers wait for compactions, so lines come slowly beside them.
    let lines_max = if job == "compact" { 5 } else { 24 };
    let mut acknowledged = vec![0; WRITERS as usize];
    let (mut in_the_middle, mut in_a_swap) = (0, 0);
    for _ in 0..kills {
        let mut child = start(folder.path(), job, sealing, &acknowledged);
        let (hear, heard) = channel();
        let told = listen(&mut child, hear);
        // Most die while they write, after some lines and a moment; some while they open.
        if dice.below(4) > 0 {
            for _ in 0..dice.below(lines_max) + 2 {
                let heard = heard.recv_timeout(Duration::from_secs(30));
                heard.expect("the process finds everything that was acknowledged and goes on");
            }
            thread::sleep(Duration::from_micros(dice.below(4_000)));
        } else {
            thread::sleep(Duration::from_micros(dice.below(60_000)));
        }
        child.kill().expect("is there");
        let status = child.wait().expect("is dead");
        assert_eq!(status.signal(), Some(9), "it didn't live until it was killed");
        let told = told.join().expect("listens");
        in_the_middle += u64::from(!told.is_empty());
        for (writer, number) in told {
            acknowledged[writer as usize] = number;
        }
        in_a_swap += u64::from(generations(folder.path()) > 1);
    }
    let store = open(folder.path(), sealing).expect("opens");
    assert_eq!(generations(folder.path()), 1, "opening removes what a compaction left");
    check(&store, &acknowledged);
    let report = store.verify(&schema()).expect("verifies");
    let orphans = report.findings.iter().filter(|finding| matches!(finding, Finding::Orphan(_)));
    assert_eq!(orphans.count(), report.findings.len(), "{:?}", report.findings);
    assert!(in_the_middle > kills / 2, "only {in_the_middle} of {kills} kills hit a writer");
    if job == "compact" {
        assert!(in_a_swap > kills / 10, "only {in_a_swap} of {kills} kills hit a compaction");
    }
    println!(
        "{kills} kills ({job}, {sealing}): {in_the_middle} after acknowledgements, {in_a_swap} \
         inside a compaction; {acknowledged:?} entries acknowledged, none lost"
    );
}

fn generations(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let names = entries.map(|entry| entry.expect("an entry").file_name());
    names.filter(|name| name.to_string_lossy().starts_with("records-")).count()
}

fn another_process_holds_the_lock() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = start(folder.path(), "write", "open", &[0]);
    let (hear, heard) = channel();
    let told = listen(&mut child, hear);
    heard.recv().expect("it works");
    match open(folder.path(), "open") {
        Err(error @ Error::Locked { .. }) => {
            assert!(error.to_string().contains("in use by another process"), "{error}");
        }
        Err(error) => panic!("should be locked: {error}"),
        Ok(_) => panic!("two processes have it open"),
    }
    child.kill().expect("is running");
    child.wait().expect("is dead");
    told.join().expect("listens");
    open(folder.path(), "open").expect("a dead process holds no lock");
}

/// A limit on file sizes stands for a full disk: writing fails, whatever was acknowledged stays.
fn a_full_disk_is_an_error_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 4096; exec "$0" work fill open 0 "$1""#])
        .arg(std::env::current_exe().expect("this test is a file"))
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a shell");
    let told = listen(&mut child, channel().0);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no space is left to write"), "it said: {said}");
    let acknowledged = told.join().expect("listens");
    let &(_, newest) = acknowledged.last().expect("some room was left");
    assert!(newest > 10);
    check(&open(folder.path(), "open").expect("opens"), &[newest]);
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, job, sealing, acknowledged, folder] = &arguments[..]
        && command == "work"
    {
        return match work(Path::new(folder), job, sealing, acknowledged) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        };
    }
    let tests: [(&str, fn()); 5] = [
        ("another_process_holds_the_lock", another_process_holds_the_lock),
        ("a_full_disk_is_an_error_and_loses_nothing", a_full_disk_is_an_error_and_loses_nothing),
        ("kills_in_the_middle_of_writes", || {
            kill_again_and_again("write", "open", WRITE_KILLS / 2, 1);
        }),
        ("kills_in_the_middle_of_sealed_writes", || {
            kill_again_and_again("write", "sealed", WRITE_KILLS / 2, 2);
        }),
        ("kills_in_the_middle_of_compactions", || {
            kill_again_and_again("compact", "open", COMPACT_KILLS, 3);
        }),
    ];
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    thread::scope(|scope| {
        for (name, test) in tests.into_iter().filter(|(name, _)| chosen(name)) {
            scope.spawn(move || {
                let start = Instant::now();
                test();
                println!("test {name} ... ok ({:.1} s)", start.elapsed().as_secs_f64());
            });
        }
    });
    ExitCode::SUCCESS
}
