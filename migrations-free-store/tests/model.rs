//! The store against a `BTreeMap`: whatever is done to it, it holds what the map holds.

use std::collections::BTreeMap;

use migrations_free_store::{
    BlobId, Deleted, Key, Options, Order, Record, Schema, Store, Transferred,
};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
    weight: f64,
    number: u64,
}

impl Record for Note {
    const KIND: &'static str = "note";
    const REVISION: u16 = 1;
}

/// Lies between `note` and its ids in the engine's order: `note.more` begins like `note`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Other {
    flag: Option<bool>,
}

impl Record for Other {
    const KIND: &'static str = "note.more";
    const REVISION: u16 = 1;
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>, Note),
    PutOther(Vec<u8>, Other),
    Delete(Vec<u8>),
    /// Together: `None` deletes.
    Batch(Vec<(Vec<u8>, Option<Note>)>),
    PutBlob(Vec<u8>),
    DeleteBlob(Vec<u8>),
    Flush,
    Compact,
    Reopen,
    /// Into a fresh store that goes on in its place.
    Move,
}

#[derive(Default)]
struct Model {
    notes: BTreeMap<Vec<u8>, Note>,
    others: BTreeMap<Vec<u8>, Other>,
    blobs: BTreeMap<BlobId, Vec<u8>>,
}

fn id() -> impl Strategy<Value = Vec<u8>> {
    // Few and short, with the bytes at both ends of the order.
    prop::collection::vec(prop::sample::select(vec![0, 1, 0x7f, 0xfe, 0xff]), 0..3)
}

fn note() -> impl Strategy<Value = Note> {
    (".{0,20}", -1e300..1e300, any::<u64>()).prop_map(|(text, weight, number)| Note {
        text,
        weight,
        number,
    })
}

fn blob() -> impl Strategy<Value = Vec<u8>> {
    (0..6u8, 0..3usize).prop_map(|(byte, length)| vec![byte; length * 1000])
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (id(), note()).prop_map(|(id, note)| Step::Put(id, note)),
        2 => (id(), any::<Option<bool>>()).prop_map(|(id, flag)| Step::PutOther(id, Other { flag })),
        4 => id().prop_map(Step::Delete),
        3 => prop::collection::vec((id(), prop::option::of(note())), 0..5).prop_map(Step::Batch),
        2 => blob().prop_map(Step::PutBlob),
        1 => blob().prop_map(Step::DeleteBlob),
        1 => Just(Step::Flush),
        1 => Just(Step::Compact),
        1 => Just(Step::Reopen),
        1 => Just(Step::Move),
    ]
}

struct Subject {
    folder: tempfile::TempDir,
    /// `None` only while it is closed.
    store: Option<Store>,
    key: Option<Key>,
}

impl Subject {
    fn new(key: Option<Key>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut subject = Self { folder, store: None, key };
        subject.reopen();
        subject
    }

    fn reopen(&mut self) {
        self.store = None;
        let options = Options { key: self.key.clone(), ..Options::default() };
        self.store = Some(Store::open(self.folder.path(), options).expect("opens"));
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("is open")
    }

    fn apply(&mut self, step: Step, model: &mut Model) {
        match step {
            Step::Put(id, note) => {
                self.store().put(&id, &note).expect("puts");
                model.notes.insert(id, note);
            }
            Step::PutOther(id, other) => {
                self.store().put(&id, &other).expect("puts");
                model.others.insert(id, other);
            }
            Step::Delete(id) => {
                self.store().delete::<Note>(&id).expect("deletes");
                model.notes.remove(&id);
            }
            Step::Batch(writes) => self.apply_batch(writes, model),
            Step::PutBlob(content) => {
                let id = self.store().blobs().put(&content).expect("puts");
                model.blobs.insert(id, content);
            }
            Step::DeleteBlob(content) => {
                let id = BlobId::of(&content);
                let deleted = self.store().blobs().delete(id).expect("deletes");
                let removed = model.blobs.remove(&id).is_some();
                assert_eq!(deleted == Deleted::Removed, removed);
            }
            Step::Flush => self.store().flush().expect("flushes"),
            Step::Compact => self.store().compact().expect("compacts"),
            Step::Reopen => self.reopen(),
            Step::Move => self.move_by_export(model),
        }
    }

    fn apply_batch(&self, writes: Vec<(Vec<u8>, Option<Note>)>, model: &mut Model) {
        let mut batch = self.store().batch();
        for (id, note) in writes {
            if let Some(note) = note {
                batch.put(&id, &note).expect("encodes");
                model.notes.insert(id, note);
            } else {
                batch.delete::<Note>(&id);
                model.notes.remove(&id);
            }
        }
        batch.apply().expect("applies");
    }

    fn move_by_export(&mut self, model: &Model) {
        let mut export = Vec::new();
        let carried = self.store().export(&mut export).expect("exports");
        let records = (model.notes.len() + model.others.len()) as u64;
        assert_eq!(carried, Transferred { records, blobs: model.blobs.len() as u64 });
        let fresh = Self::new(self.key.clone());
        assert_eq!(fresh.store().import(&export[..]).expect("imports"), carried);
        *self = fresh;
    }

    fn assert_like(&self, model: &Model, prefix: &[u8]) {
        let found = |order| {
            let notes = self.store().scan::<Note>(prefix, order);
            notes.map(|note| note.expect("decodes")).collect::<Vec<_>>()
        };
        let under = model.notes.iter().filter(|(id, _)| id.starts_with(prefix));
        let mut expected: Vec<_> = under.map(|(id, note)| (id.clone(), note.clone())).collect();
        assert_eq!(found(Order::Ascending), expected);
        expected.reverse();
        assert_eq!(found(Order::Descending), expected);
        if let Some((middle, _)) = expected.get(expected.len() / 2) {
            let beyond = self.store().scan::<Note>(prefix, Order::Descending).beyond(middle);
            let beyond: Vec<_> = beyond.map(|note| note.expect("decodes")).collect();
            assert_eq!(beyond, expected[expected.len() / 2 + 1..]);
        }
        for id in [&[][..], &[0], prefix] {
            let note = self.store().get::<Note>(id).expect("reads");
            assert_eq!(note.as_ref(), model.notes.get(id));
            let contained = self.store().contains::<Other>(id).expect("reads");
            assert_eq!(contained, model.others.contains_key(id));
        }
        for (&id, content) in &model.blobs {
            assert_eq!(&self.store().blobs().get(id).expect("reads"), content);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn it_holds_what_the_map_holds(
        steps in prop::collection::vec(step(), 1..40),
        prefix in id(),
        sealed: bool,
    ) {
        let mut subject = Subject::new(sealed.then(|| Key::from_bytes([3; 32])));
        let mut model = Model::default();
        for step in steps {
            subject.apply(step, &mut model);
        }
        subject.assert_like(&model, &prefix);
        subject.reopen();
        subject.assert_like(&model, &prefix);
        let schema = Schema::default().with::<Note>().with::<Other>();
        let report = subject.store().verify(&schema).expect("verifies");
        assert_eq!(report.records, (model.notes.len() + model.others.len()) as u64);
        // No record here refers to a blob, so each is an orphan and nothing else is wrong.
        assert_eq!((report.blobs, report.findings.len()), (model.blobs.len() as u64, model.blobs.len()));
    }
}

#[test]
fn a_scan_reads_on_over_its_pages() {
    let subject = Subject::new(None);
    for number in 0..1000u64 {
        let note = Note { text: String::new(), weight: 0.0, number };
        subject.store().put(&number.to_be_bytes(), &note).expect("puts");
    }
    let numbers = |order| {
        let notes = subject.store().scan::<Note>(&[], order);
        notes.map(|note| note.expect("decodes").1.number).collect::<Vec<_>>()
    };
    assert!(numbers(Order::Ascending).into_iter().eq(0..1000));
    assert!(numbers(Order::Descending).into_iter().eq((0..1000).rev()));
    subject.store().compact().expect("compacts");
    assert!(numbers(Order::Ascending).into_iter().eq(0..1000));
}
