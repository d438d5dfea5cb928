//! Damaged, truncated, locked, full: errors that name what and where, and findings that tell all.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use migrations_free_store::{
    Backend, BackendError, BlobId, Damage, Entry, Error, Finding, Key, Options, Order, Problem,
    Record, Schema, Store, Write, open_sled,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Post {
    text: String,
    #[serde(default)]
    photo: Option<BlobId>,
}

impl Record for Post {
    const KIND: &'static str = "post";
    const REVISION: u16 = 1;

    fn blobs(&self) -> Vec<BlobId> {
        self.photo.into_iter().collect()
    }
}

fn post(text: &str) -> Post {
    Post { text: text.to_owned(), photo: None }
}

fn open(folder: &Path, key: Option<u8>) -> Result<Store, Error> {
    let key = key.map(|byte| Key::from_bytes([byte; 32]));
    Store::open(folder, Options { key, ..Options::default() })
}

fn refused(folder: &Path, key: Option<u8>) -> Error {
    match open(folder, key) {
        Ok(_) => panic!("it opens"),
        Err(error) => error,
    }
}

/// Whether any file below `folder` holds `needle`.
fn anywhere(folder: &Path, needle: &[u8]) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            return anywhere(&path, needle);
        }
        let bytes = fs::read(&path).expect("a file");
        bytes.windows(needle.len()).any(|window| window == needle)
    })
}

#[test]
fn the_key_is_bound_to_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), Some(1)).expect("opens");
    store.put(b"id", &post("a secret that is long enough to find")).expect("puts");
    let photo = b"a photo that is long enough to find";
    let id = store.blobs().put(photo).expect("puts");
    store.flush().expect("flushes");
    assert!(!anywhere(folder.path(), b"a secret that is") && !anywhere(folder.path(), photo));
    let path = store.blobs().path(id);
    assert!(!path.to_string_lossy().contains(&id.to_string()), "the name doesn't tell the content");
    drop(store);

    let shown = |error: Error| error.to_string();
    let wrong = refused(folder.path(), Some(2));
    assert!(matches!(wrong, Error::WrongKey { .. }));
    assert!(shown(wrong).contains(&folder.path().display().to_string()));
    assert!(matches!(refused(folder.path(), None), Error::KeyMissing { .. }));
    let store = open(folder.path(), Some(1)).expect("opens");
    assert_eq!(store.blobs().get(id).expect("reads"), photo);
    drop(store);

    let plain = tempfile::tempdir().expect("a folder");
    drop(open(plain.path(), None).expect("opens"));
    assert!(matches!(refused(plain.path(), Some(1)), Error::NotSealed { .. }));
}

#[test]
fn keys_are_read_from_hexadecimal_and_never_shown() {
    let key = Key::generate();
    let read = Key::from_hex(&format!(" {}\n", key.to_hex())).expect("reads");
    assert_eq!(read, key);
    assert_ne!(Key::generate(), key);
    assert_eq!(format!("{key:?}"), "Key(…)");
    for wrong in ["", "00", &"0".repeat(63), &"g".repeat(64), &"é".repeat(32), &"0".repeat(66)] {
        assert!(matches!(Key::from_hex(wrong), Err(Error::KeyFormat)), "{wrong}");
    }
}

#[test]
fn one_store_one_opener() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).expect("opens");
    let error = refused(folder.path(), None);
    assert!(matches!(error, Error::Locked { .. }));
    assert!(error.to_string().contains(&folder.path().display().to_string()));
    drop(store);
    open(folder.path(), None).expect("opens");
}

/// The engine's log.
fn log_of(folder: &Path) -> PathBuf {
    folder.join("records-1").join("db")
}

#[test]
fn a_truncated_store_is_an_error_and_not_a_smaller_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).expect("opens");
    for number in 0..200u64 {
        store.put(&number.to_be_bytes(), &post(&"text ".repeat(20))).expect("puts");
        store.flush().expect("flushes");
    }
    drop(store);
    let whole = fs::read(log_of(folder.path())).expect("reads");
    let kept = folder.path().with_extension("kept");
    copy(folder.path(), &kept);
    for share in [1, 10, 50, 90, 99] {
        fs::remove_dir_all(folder.path()).expect("removes");
        copy(&kept, folder.path());
        let log = File::options().write(true).open(log_of(folder.path())).expect("opens");
        log.set_len(whole.len() as u64 * share / 100).expect("truncates");
        let error = refused(folder.path(), None);
        let folder = folder.path().display().to_string();
        assert!(
            matches!(error, Error::Truncated { acknowledged: 200, .. } | Error::Backend { .. }),
            "{share} %: {error}"
        );
        assert!(error.to_string().contains(&folder), "{error}");
    }
    fs::remove_dir_all(folder.path()).expect("removes");
    copy(&kept, folder.path());
    fs::remove_dir_all(folder.path().join("records-1")).expect("removes");
    let error = refused(folder.path(), None);
    assert!(matches!(error, Error::Truncated { acknowledged: 200, found: 0, .. }), "{error}");
    fs::remove_dir_all(kept).expect("removes");
}

#[test]
fn a_changed_byte_in_the_engine_gives_an_error_and_never_another_record() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).expect("opens");
    for number in 0..60u64 {
        store.put(&number.to_be_bytes(), &post(&format!("{number} ").repeat(30))).expect("puts");
        store.flush().expect("flushes");
    }
    drop(store);
    let whole = fs::read(log_of(folder.path())).expect("reads");
    let kept = folder.path().with_extension("kept");
    copy(folder.path(), &kept);
    let used = whole.iter().rposition(|&byte| byte != 0).expect("isn't empty");
    let mut noticed = 0;
    for position in (7..used).step_by(used / 24) {
        fs::remove_dir_all(folder.path()).expect("removes");
        copy(&kept, folder.path());
        let mut changed = whole.clone();
        changed[position] ^= 0x40;
        fs::write(log_of(folder.path()), changed).expect("writes");
        let Ok(store) = open(folder.path(), None) else {
            noticed += 1;
            continue;
        };
        for number in 0..60u64 {
            match store.get::<Post>(&number.to_be_bytes()) {
                Ok(found) => assert_eq!(found, Some(post(&format!("{number} ").repeat(30)))),
                Err(_) => noticed += 1,
            }
        }
    }
    assert!(noticed > 0);
    fs::remove_dir_all(kept).expect("removes");
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("creates");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copies");
        }
    }
}

#[test]
fn a_manifest_that_is_lost_broken_or_newer_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).expect("opens");
    store.put(b"id", &post("kept")).expect("puts");
    store.flush().expect("flushes");
    drop(store);
    let manifest = folder.path().join("store.json");
    let whole = fs::read(&manifest).expect("reads");
    for broken in [&b""[..], b"{", br#"{"format":2,"generation":1}"#, br#"{"format":1}"#] {
        fs::write(&manifest, broken).expect("writes");
        let error = refused(folder.path(), None);
        assert!(matches!(error, Error::Manifest { .. }), "{error}");
        assert!(error.to_string().contains("store.json"), "{error}");
    }
    fs::remove_file(&manifest).expect("removes");
    assert!(matches!(refused(folder.path(), None), Error::Manifest { .. }));
    fs::write(&manifest, whole).expect("writes");
    let store = open(folder.path(), None).expect("opens");
    assert_eq!(store.get(b"id").expect("reads"), Some(post("kept")));
}

#[test]
fn a_missing_or_damaged_blob_is_named() {
    for key in [None, Some(5)] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path(), key).expect("opens");
        let id = store.blobs().put(b"a photo").expect("puts");
        let path = store.blobs().path(id);
        let whole = fs::read(&path).expect("reads");
        for position in 0..whole.len() {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            for broken in [&changed[..], &whole[..position]] {
                fs::write(&path, broken).expect("writes");
                let error = store.blobs().get(id).expect_err("is damaged");
                assert!(matches!(error, Error::BlobCorrupt { .. }), "{error}");
                assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            }
        }
        fs::remove_file(&path).expect("removes");
        let error = store.blobs().get(id).expect_err("is missing");
        assert!(matches!(error, Error::BlobMissing { .. }), "{error}");
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
}

#[test]
fn a_record_that_belongs_into_a_blob_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).expect("opens");
    let error = store.put(b"id", &post(&"x".repeat(300_000))).expect_err("is too large");
    assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    assert_eq!(store.get::<Post>(b"id").expect("reads"), None);
}

/// `Post` as another program writes it.
#[derive(Serialize, Deserialize)]
struct Strange {
    number: u64,
}

impl Record for Strange {
    const KIND: &'static str = "post";
    const REVISION: u16 = 1;
}

#[derive(Serialize, Deserialize)]
struct Unknown {}

impl Record for Unknown {
    const KIND: &'static str = "unknown";
    const REVISION: u16 = 1;
}

#[test]
fn verify_tells_everything_that_is_wrong() {
    for key in [None, Some(6)] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path(), key).expect("opens");
        let blobs = store.blobs();
        let put = |content: &[u8]| blobs.put(content).expect("puts");
        let (whole, dangling, damaged, orphan) =
            (put(b"whole"), put(b"dangling"), put(b"damaged"), put(b"orphan"));
        for photo in [whole, dangling, damaged] {
            let record = Post { text: "a text".to_owned(), photo: Some(photo) };
            store.put(&photo.as_bytes()[..4], &record).expect("puts");
        }
        let schema = || Schema::default().with::<Post>();
        let orphans = |report: &[Finding]| {
            report.iter().all(|finding| matches!(finding, Finding::Orphan(id) if *id == orphan))
        };
        let report = store.verify(&schema()).expect("verifies");
        assert_eq!((report.records, report.blobs, report.findings.len()), (3, 4, 1));
        assert!(orphans(&report.findings), "{:?}", report.findings);

        blobs.delete(dangling).expect("deletes");
        fs::write(blobs.path(damaged), b"something else").expect("writes");
        store.put(b"strange", &Strange { number: 1 }).expect("puts");
        store.put(b"unknown", &Unknown {}).expect("puts");
        let report = store.verify(&schema()).expect("verifies");
        assert_eq!((report.records, report.blobs), (5, 2));
        let mut dangles = Vec::new();
        let (mut fields, mut kinds, mut files) = (0, 0, 0);
        for finding in &report.findings {
            match finding {
                Finding::Dangling { blob, by } => {
                    assert_eq!(by.id, &blob.as_bytes()[..4]);
                    dangles.push(*blob);
                }
                Finding::Record(Error::Corrupt { key, damage: Damage::Fields { .. } }) => {
                    assert_eq!(key.id, b"strange");
                    fields += 1;
                }
                Finding::UnknownKind(key) => {
                    assert_eq!((key.kind.as_str(), &key.id[..]), ("unknown", &b"unknown"[..]));
                    kinds += 1;
                }
                Finding::Blob(Error::BlobCorrupt { path, .. }) => {
                    assert_eq!(*path, blobs.path(damaged));
                    files += 1;
                }
                Finding::Orphan(id) => assert_eq!(*id, orphan),
                other => panic!("{other}"),
            }
        }
        dangles.sort_unstable();
        let mut expected = [dangling, damaged];
        expected.sort_unstable();
        assert_eq!((dangles, fields, kinds, files), (expected.to_vec(), 1, 1, 1));
        assert_eq!(report.findings.len(), 6);
    }
}

#[test]
fn an_import_that_is_broken_says_at_which_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).expect("opens");
    for id in [b"a", b"b"] {
        store.put(id, &post("hello")).expect("puts");
    }
    store.blobs().put(b"photo").expect("puts");
    let mut export = Vec::new();
    store.export(&mut export).expect("exports");
    let export = String::from_utf8(export).expect("JSON is UTF-8");
    let lines: Vec<&str> = export.lines().collect();
    assert_eq!(lines.len(), 5);
    assert_eq!(
        lines[1],
        r#"{"kind":"post","id":"61","revision":1,"fields":{"photo":null,"text":"hello"}}"#
    );

    let import = |lines: &[&str]| {
        let folder = tempfile::tempdir().expect("a folder");
        open(folder.path(), Some(1)).expect("opens").import(lines.join("\n").as_bytes())
    };
    import(&lines).expect("the whole one is fine");
    let line_of = |lines: &[&str]| match import(lines) {
        Err(Error::Import { line, .. }) => line,
        other => panic!("{other:?}"),
    };
    assert_eq!(line_of(&lines[1..]), 1, "no header");
    assert_eq!(line_of(&lines[..4]), 5, "cut short");
    assert_eq!(line_of(&[]), 1, "empty");
    assert_eq!(line_of(&[lines[0], lines[1], lines[3], lines[4]]), 4, "a line is missing");
    assert_eq!(line_of(&[lines[0], lines[0]]), 2, "two headers");
    assert_eq!(line_of(&[&lines[..], &lines[1..2]].concat()), 6, "behind the end");
    let other = lines[0].replace("migrations-free", "another");
    assert_eq!(line_of(&[&other]), 1, "another program's");
    for broken in ["{", "secret", r#"{"kind":"store.sequence","id":"","revision":1,"fields":{}}"#] {
        assert_eq!(line_of(&[lines[0], lines[1], broken]), 3);
        let error = import(&[lines[0], lines[1], broken]).expect_err("is broken");
        assert!(!format!("{error} {error:?}").contains("secret"));
    }
    let swapped = lines[3].replace("cGhvdG8=", "cGhvdG9z");
    assert_eq!(line_of(&[lines[0], &swapped]), 2, "a blob that isn't its hash");
}

static FULL: AtomicBool = AtomicBool::new(false);

/// sled on a disk that is full while [`FULL`] is set.
struct Filling(Box<dyn Backend>);

fn open_filling(folder: &Path) -> Result<Box<dyn Backend>, BackendError> {
    Ok(Box::new(Filling(open_sled(folder)?)))
}

impl Backend for Filling {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, BackendError> {
        self.0.get(key)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        order: Order,
        limit: usize,
    ) -> Result<Vec<Entry>, BackendError> {
        self.0.scan(prefix, after, order, limit)
    }

    fn batch(&self, writes: Vec<Write>) -> Result<(), BackendError> {
        self.0.batch(writes)
    }

    fn flush(&self) -> Result<(), BackendError> {
        if FULL.load(SeqCst) {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull).into();
            return Err(BackendError { problem: Problem::DiskFull, source });
        }
        self.0.flush()
    }
}

#[test]
fn a_full_disk_acknowledges_nothing_and_a_compaction_in_it_changes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { backend: open_filling, ..Options::default() };
    let store = Store::open(folder.path(), options).expect("opens");
    store.put(b"id", &post("kept")).expect("puts");
    store.flush().expect("flushes");
    FULL.store(true, SeqCst);
    for full in [store.flush(), store.compact()] {
        let error = full.expect_err("the disk is full");
        assert!(matches!(error, Error::DiskFull { .. }), "{error}");
        assert!(error.to_string().contains("records-"), "{error}");
    }
    FULL.store(false, SeqCst);
    assert_eq!(store.get(b"id").expect("reads"), Some(post("kept")));
    assert!(log_of(folder.path()).exists() && !folder.path().join("records-2").exists());
    store.compact().expect("compacts");
    assert_eq!(store.get(b"id").expect("reads"), Some(post("kept")));
}

#[test]
fn after_a_compaction_deleted_and_replaced_bytes_are_in_no_file() {
    for key in [None, Some(8)] {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path(), key).expect("opens");
        for number in 0..500u64 {
            let text = format!("record number {number:04} is here");
            store.put(&number.to_be_bytes(), &post(&text)).expect("puts");
        }
        store.flush().expect("flushes");
        for number in 0..250u64 {
            store.delete::<Post>(&number.to_be_bytes()).expect("deletes");
        }
        store.put(&499u64.to_be_bytes(), &post("replaced")).expect("puts");
        let photo = store.blobs().put(b"the bytes of a photo").expect("puts");
        store.blobs().delete(photo).expect("deletes");
        store.flush().expect("flushes");
        let plain = key.is_none();
        assert_eq!(anywhere(folder.path(), b"record number 0007 is here"), plain, "is a log");

        store.compact().expect("compacts");
        for number in (0..250).chain([499]) {
            let needle = format!("record number {number:04} is here");
            assert!(!anywhere(folder.path(), needle.as_bytes()), "{needle}");
        }
        assert!(!anywhere(folder.path(), b"the bytes of a photo"));
        assert_eq!(anywhere(folder.path(), b"record number 0250 is here"), plain);
        assert_eq!(store.scan::<Post>(&[], Order::Ascending).count(), 250);
        drop(store);
        let store = open(folder.path(), key).expect("opens");
        assert_eq!(store.scan::<Post>(&[], Order::Ascending).count(), 250);
        assert!(!anywhere(folder.path(), b"record number 0007 is here"));
    }
}

#[test]
fn readers_and_writers_live_through_compactions() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path(), None).expect("opens");
    std::thread::scope(|scope| {
        for writer in 0..2u64 {
            let store = &store;
            scope.spawn(move || {
                for number in 0..150u64 {
                    let id = [writer.to_be_bytes(), number.to_be_bytes()].concat();
                    store.put(&id, &post("during")).expect("puts");
                    store.flush().expect("flushes");
                    assert_eq!(store.get(&id).expect("reads"), Some(post("during")));
                }
            });
        }
        for _ in 0..5 {
            store.compact().expect("compacts");
        }
    });
    drop(store);
    let store = open(folder.path(), None).expect("opens");
    assert_eq!(store.scan::<Post>(&[], Order::Ascending).count(), 300);
}
