//! The journal's promises: nothing acknowledged is lost, no reply is repeated, and what is
//! forgotten is gone.

use std::fs;
use std::path::Path;

use shutterbug::dialogue::Timings;
use shutterbug::journal::{
    Acceptance, Answer, AuthorId, BlobId, ChannelId, Explanation, Forgotten, GuildId, Heard,
    Journal, Key, Message, MessageId, Outcome, Piece, Reason, Recorded, Request, Seen, State,
    Whose,
};

const BOT: AuthorId = AuthorId(1);
const ANNA: AuthorId = AuthorId(2);
const BEN: AuthorId = AuthorId(3);
const GARDEN: ChannelId = ChannelId(20);
const KITCHEN: ChannelId = ChannelId(21);
const HOME: GuildId = GuildId(30);
const CAT: &[u8] = b"the bytes of a photo of a cat";
const DOG: &[u8] = b"the bytes of a photo of a dog";

fn text<P>(text: &str) -> Piece<P> {
    Piece::Text(text.to_owned())
}

fn photo(bytes: &[u8]) -> Piece<Vec<u8>> {
    Piece::Photo { photo: bytes.to_vec(), caption: Some("a caption".to_owned()) }
}

fn said(
    id: u64,
    author: AuthorId,
    channel: ChannelId,
    pieces: Vec<Piece<Vec<u8>>>,
) -> Message<Vec<u8>> {
    Message {
        id: MessageId(id),
        channel,
        guild: Some(HOME),
        author,
        author_name: "somebody".to_owned(),
        replies_to: None,
        said_ms: id * 10,
        pieces,
    }
}

fn request(trigger: u64, asker: AuthorId, channel: ChannelId) -> Request {
    let trigger = MessageId(trigger);
    Request { trigger, channel, guild: Some(HOME), asker, accepted_ms: 1000 }
}

fn answer(context: &[u64], sent: &[u64], pieces: Vec<Piece<Vec<u8>>>) -> Answer<Vec<u8>> {
    Answer {
        context: context.iter().copied().map(MessageId).collect(),
        pieces,
        sent: sent.iter().copied().map(MessageId).collect(),
        seed: u64::MAX - 1,
        share_probability: Some(0.1 + 0.2),
        model: "model-1".to_owned(),
        adapter: None,
        timings: Timings { perceive_ms: 1.5, prefill_ms: 2.0, decode_ms: 30.25, draw_ms: 400.0 },
        finished_ms: 2000,
    }
}

/// Anna shows her cat in the garden and gets a photo of a dog; Ben says something there, too, and
/// gets an answer in the kitchen with the same photo.
fn live_a_little(journal: &Journal) {
    let hear = |message| assert_eq!(journal.hear(&message, 5).expect("heard"), Heard::New);
    hear(said(100, BEN, GARDEN, vec![text("ben was here")]));
    hear(said(101, ANNA, GARDEN, vec![text("anna's cat"), photo(CAT)]));
    let anna = request(101, ANNA, GARDEN);
    assert_eq!(journal.accept(&anna).expect("accepted"), Acceptance::New);
    let reply = vec![text("mine is a dog"), photo(DOG)];
    let anna = answer(&[100, 101], &[102, 103], reply.clone());
    assert_eq!(journal.answered(MessageId(101), &anna).expect("kept"), Recorded::Kept);
    hear(said(102, BOT, GARDEN, vec![text("mine is a dog")]));
    hear(said(103, BOT, GARDEN, vec![photo(DOG)]));

    hear(said(110, BEN, KITCHEN, vec![text("ben asks")]));
    let ben = request(110, BEN, KITCHEN);
    assert_eq!(journal.accept(&ben).expect("accepted"), Acceptance::New);
    let ben = answer(&[110], &[111], vec![text("for ben"), photo(DOG)]);
    assert_eq!(journal.answered(MessageId(110), &ben).expect("kept"), Recorded::Kept);
}

fn open(folder: &Path) -> Journal {
    Journal::open(folder, None).expect("the journal opens")
}

fn assert_whole(journal: &Journal) {
    let report = journal.verify().expect("verifies");
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[test]
fn an_exchange_comes_back_as_it_was_after_reopening() {
    let folder = tempfile::tempdir().expect("a folder");
    live_a_little(&open(folder.path()));

    let journal = open(folder.path());
    let exchange = journal.exchange(MessageId(101)).expect("reads").expect("is there");
    assert_eq!(exchange.request, request(101, ANNA, GARDEN));
    assert_eq!(
        exchange.context,
        [Seen::Unchanged(MessageId(100)), Seen::Unchanged(MessageId(101))]
    );
    let expected = answer(&[100, 101], &[102, 103], vec![]);
    let Outcome::Answer(found) = exchange.outcome.clone() else { panic!("was answered") };
    let caption = Some("a caption".to_owned());
    let pieces = vec![text("mine is a dog"), Piece::Photo { photo: BlobId::of(DOG), caption }];
    assert_eq!(found.pieces, pieces);
    assert_eq!(
        (found.context, found.sent, found.seed, found.share_probability),
        (expected.context, expected.sent, expected.seed, expected.share_probability)
    );
    assert_eq!(
        (found.model, found.adapter, found.timings, found.finished_ms),
        (expected.model, expected.adapter, expected.timings, expected.finished_ms)
    );
    for reply in [102, 103] {
        let by_reply = journal.exchange_by_reply(MessageId(reply)).expect("reads");
        assert_eq!(by_reply.as_ref(), Some(&exchange));
    }
    assert_eq!(journal.exchange_by_reply(MessageId(101)).expect("reads"), None);
    assert_eq!(journal.photo(BlobId::of(CAT)).expect("is there"), CAT);
    let message = journal.message(MessageId(101)).expect("reads").expect("is there");
    assert_eq!((message.author, message.pieces.len()), (ANNA, 2));
    assert_whole(&journal);
}

#[test]
fn what_was_accepted_and_not_finished_is_listed_until_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    for trigger in [7, 300, 5] {
        let request = request(trigger, ANNA, GARDEN);
        assert_eq!(journal.accept(&request).expect("accepted"), Acceptance::New);
    }
    drop(journal);
    let journal = open(folder.path());
    let again = journal.accept(&request(7, ANNA, GARDEN)).expect("reads");
    assert_eq!(again, Acceptance::Known(State::Accepted));
    let unfinished = || {
        let unfinished = journal.unfinished().expect("reads");
        unfinished.iter().map(|request| request.trigger.0).collect::<Vec<_>>()
    };
    assert_eq!(unfinished(), [5, 7, 300]);

    let explanation =
        Explanation { reason: Reason::Overloaded, sent: vec![MessageId(8)], finished_ms: 9 };
    assert_eq!(journal.explained(MessageId(7), &explanation).expect("kept"), Recorded::Kept);
    assert_eq!(journal.explained(MessageId(7), &explanation).expect("kept"), Recorded::Already);
    let late = answer(&[], &[], vec![text("late")]);
    assert_eq!(journal.answered(MessageId(7), &late).expect("reads"), Recorded::Already);
    assert_eq!(journal.state(MessageId(7)).expect("reads"), Some(State::Explained));
    let exchange = journal.exchange_by_reply(MessageId(8)).expect("reads").expect("is there");
    assert_eq!(exchange.outcome, Outcome::Explanation(explanation));
    let answered = journal.answered(MessageId(5), &answer(&[], &[6], vec![text("yes")]));
    assert_eq!(answered.expect("kept"), Recorded::Kept);
    assert_eq!(unfinished(), [300]);
    assert_eq!(journal.state(MessageId(1)).expect("reads"), None);
}

#[test]
fn of_many_callers_one_gets_the_work() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    let new = std::thread::scope(|scope| {
        let accept = || journal.clone().accept(&request(1, ANNA, GARDEN)).expect("accepted");
        let callers: Vec<_> = (0..8).map(|_| scope.spawn(accept)).collect();
        let outcomes = callers.into_iter().map(|caller| caller.join().expect("no panic"));
        outcomes.filter(|outcome| *outcome == Acceptance::New).count()
    });
    assert_eq!(new, 1);
}

#[test]
fn the_newest_messages_of_a_channel_and_the_last_seen_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    for id in 1..=600 {
        let channel = if id % 3 == 0 { KITCHEN } else { GARDEN };
        journal.hear(&said(id, ANNA, channel, vec![text("x")]), 5).expect("heard");
    }
    let ids = |before: Option<u64>, limit| {
        let found = journal.messages(KITCHEN, before.map(MessageId), limit).expect("reads");
        found.iter().map(|message| message.id.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, 3), [600, 597, 594]);
    assert_eq!(ids(Some(597), 2), [594, 591]);
    assert_eq!(ids(Some(7), 9), [6, 3]);
    assert_eq!(ids(None, 1000).len(), 200);

    for id in [5, 9, 7] {
        journal.seen(GARDEN, MessageId(id)).expect("noted");
    }
    journal.seen(KITCHEN, MessageId(2)).expect("noted");
    assert_eq!(journal.last_seen(GARDEN).expect("reads"), Some(MessageId(9)));
    let everywhere = journal.last_seen_everywhere().expect("reads");
    assert_eq!(everywhere, [(GARDEN, MessageId(9)), (KITCHEN, MessageId(2))]);
}

#[test]
fn an_edit_takes_the_place_of_the_text_and_the_exchange_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    live_a_little(&journal);
    let same = said(101, ANNA, GARDEN, vec![text("anna's cat"), photo(CAT)]);
    assert_eq!(journal.hear(&same, 5).expect("heard"), Heard::Same);
    assert_eq!(journal.stale_since().expect("reads"), None);
    let edited = said(101, ANNA, GARDEN, vec![text("nothing to see")]);
    assert_eq!(journal.hear(&edited, 77).expect("heard"), Heard::Edited);
    let exchange = journal.exchange(MessageId(101)).expect("reads").expect("is there");
    assert_eq!(exchange.context[1], Seen::Edited(MessageId(101)));
    assert!(journal.photo(BlobId::of(CAT)).is_err(), "the photo went with the edit");
    assert_eq!(journal.stale_since().expect("reads"), Some(77));
    assert_whole(&journal);
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
fn a_deleted_message_is_gone_and_stays_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    live_a_little(&journal);
    let receipt = journal.forget(Whose::Message(MessageId(101)), 5).expect("forgets");
    assert_eq!(receipt, Forgotten { messages: 1, exchanges: 1, photos: 1 });
    assert_eq!(journal.message(MessageId(101)).expect("reads"), None);
    assert!(journal.photo(BlobId::of(CAT)).is_err());
    assert_eq!(journal.photo(BlobId::of(DOG)).expect("two others refer to it"), DOG);
    let exchange = journal.exchange(MessageId(101)).expect("reads").expect("is there");
    assert_eq!((exchange.outcome, exchange.context), (Outcome::Withdrawn, vec![]));
    let late = said(101, ANNA, GARDEN, vec![text("anna's cat")]);
    assert_eq!(journal.hear(&late, 5).expect("heard"), Heard::Deleted);
    let again = journal.accept(&request(101, ANNA, GARDEN)).expect("reads");
    assert_eq!(again, Acceptance::Known(State::Withdrawn));
    assert_whole(&journal);
}

#[test]
fn a_message_deleted_while_the_model_works_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    journal.hear(&said(1, ANNA, GARDEN, vec![text("hi")]), 5).expect("heard");
    journal.accept(&request(1, ANNA, GARDEN)).expect("accepted");
    journal.forget(Whose::Message(MessageId(1)), 5).expect("forgets");
    assert_eq!(journal.unfinished().expect("reads"), []);
    let late = answer(&[1], &[2], vec![text("hello"), photo(CAT)]);
    assert_eq!(journal.answered(MessageId(1), &late).expect("reads"), Recorded::Withdrawn);
    assert!(journal.photo(BlobId::of(CAT)).is_err());

    journal.accept(&request(3, ANNA, GARDEN)).expect("accepted");
    journal.forget(Whose::Author(ANNA), 5).expect("forgets");
    let late = journal.answered(MessageId(3), &late).expect("reads");
    assert_eq!((late, journal.state(MessageId(3)).expect("reads")), (Recorded::Withdrawn, None));
    assert_whole(&journal);
}

#[test]
fn a_removed_reply_withdraws_its_exchange() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    live_a_little(&journal);
    journal.forget(Whose::Message(MessageId(103)), 5).expect("forgets");
    let exchange = journal.exchange_by_reply(MessageId(102)).expect("reads").expect("is there");
    assert_eq!(exchange.outcome, Outcome::Withdrawn);
    assert_eq!(journal.photo(BlobId::of(DOG)).expect("ben's reply has it"), DOG);
    journal.forget(Whose::Message(MessageId(111)), 5).expect("forgets");
    assert!(journal.photo(BlobId::of(DOG)).is_err(), "nothing refers to it any more");
    assert_whole(&journal);
}

#[test]
fn a_forgotten_person_is_in_no_raw_file_after_compaction() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    live_a_little(&journal);
    assert!(anywhere(folder.path(), b"anna's cat") && anywhere(folder.path(), CAT));
    let receipt = journal.forget(Whose::Author(ANNA), 99).expect("forgets");
    assert_eq!(receipt, Forgotten { messages: 3, exchanges: 1, photos: 1 });
    assert_eq!(journal.exchange(MessageId(101)).expect("reads"), None);
    assert_eq!(journal.exchange_by_reply(MessageId(102)).expect("reads"), None);
    assert!(!anywhere(folder.path(), CAT), "photos go at once");
    assert_eq!(journal.stale_since().expect("reads"), Some(99));
    journal.compact().expect("compacts");
    assert_eq!(journal.stale_since().expect("reads"), None);
    for gone in [&b"anna's cat"[..], b"mine is a dog", CAT] {
        assert!(!anywhere(folder.path(), gone));
    }
    for kept in [&b"ben was here"[..], b"for ben", DOG] {
        assert!(anywhere(folder.path(), kept));
    }
    assert_whole(&journal);
}

#[test]
fn a_channel_and_a_server_go_whole() {
    for (whose, messages, exchanges, photos) in [
        (Whose::Channel(GARDEN), 4, 1, 1),
        (Whose::Guild(HOME), 5, 2, 2),
        (Whose::Channel(ChannelId(99)), 0, 0, 0),
        (Whose::Guild(GuildId(99)), 0, 0, 0),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = open(folder.path());
        live_a_little(&journal);
        journal.seen(GARDEN, MessageId(103)).expect("noted");
        let receipt = journal.forget(whose, 5).expect("forgets");
        assert_eq!(receipt, Forgotten { messages, exchanges, photos }, "{whose:?}");
        let garden_is_gone = exchanges > 0;
        assert_eq!(journal.last_seen(GARDEN).expect("reads").is_none(), garden_is_gone);
        assert_eq!(journal.messages(GARDEN, None, 9).expect("reads").is_empty(), garden_is_gone);
        assert_whole(&journal);
    }
}

#[test]
fn a_sealed_journal_shows_nothing_and_moves_by_export() {
    let folder = tempfile::tempdir().expect("a folder");
    let key = Key::from_bytes([7; 32]);
    let journal = Journal::open(folder.path(), Some(key.clone())).expect("opens");
    live_a_little(&journal);
    for secret in [&b"anna's cat"[..], b"somebody", b"a caption", CAT, DOG] {
        assert!(!anywhere(folder.path(), secret));
    }
    let mut export = Vec::new();
    let carried = journal.export(&mut export).expect("exports");
    let exchange = journal.exchange(MessageId(101)).expect("reads");
    drop(journal);
    assert!(Journal::open(folder.path(), Some(Key::from_bytes([8; 32]))).is_err());
    Journal::open(folder.path(), Some(key)).expect("opens with its key");

    let other = tempfile::tempdir().expect("a folder");
    let journal = open(other.path());
    assert_eq!(journal.import(&export[..]).expect("imports"), carried);
    assert_eq!(journal.exchange(MessageId(101)).expect("reads"), exchange);
    assert_eq!(journal.photo(BlobId::of(CAT)).expect("is there"), CAT);
    assert_whole(&journal);
}

#[test]
fn photos_that_a_kill_left_behind_are_swept_at_opening() {
    let folder = tempfile::tempdir().expect("a folder");
    live_a_little(&open(folder.path()));
    let orphan = BlobId::of(b"orphan").to_string();
    let shelf = folder.path().join("blobs").join(&orphan[..2]);
    fs::create_dir_all(&shelf).expect("a shelf");
    fs::write(shelf.join(&orphan), b"orphan").expect("written");
    let journal = open(folder.path());
    assert!(!anywhere(folder.path(), b"orphan"));
    assert_eq!(journal.photo(BlobId::of(CAT)).expect("is there"), CAT);
    assert_whole(&journal);
}

#[test]
fn nothing_that_was_typed_shows_in_debug_output() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    live_a_little(&journal);
    let exchange = journal.exchange(MessageId(101)).expect("reads");
    let message = journal.message(MessageId(101)).expect("reads");
    let shown = format!("{exchange:?} {message:?}");
    assert!(shown.contains("Text") && shown.contains("Photo"));
    for typed in ["anna", "somebody", "dog", "caption: Some"] {
        assert!(!shown.contains(typed), "{shown}");
    }
}
