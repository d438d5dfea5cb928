//! The journal's promises: nothing acknowledged is lost, no reply is repeated, and what is
//! forgotten is gone.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use shutterbug::dialogue::Timings;
use shutterbug::journal::{
    Acceptance, Answer, AuthorId, BlobId, ChannelId, Explanation, Forgotten, GuildId, Heard,
    Journal, Key, Message, MessageId, Outcome, Piece, Place, Reason, Recorded, Request, Seen,
    State, Whose,
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
        notes: Vec::new(),
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
        journal.seen(GARDEN, MessageId(id), Place::Server).expect("noted");
    }
    journal.seen(KITCHEN, MessageId(2), Place::Direct).expect("noted");
    assert_eq!(journal.last_seen(GARDEN).expect("reads"), Some(MessageId(9)));
    let everywhere = journal.last_seen_everywhere().expect("reads");
    assert_eq!(
        everywhere,
        [(GARDEN, MessageId(9), Place::Server), (KITCHEN, MessageId(2), Place::Direct)]
    );
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
    assert_eq!(receipt, Forgotten { messages: 3, exchanges: 1, photos: 1 });
    for gone in [101, 102, 103] {
        assert_eq!(journal.message(MessageId(gone)).expect("reads"), None);
    }
    // On Discord the reply can still be read, but nothing of it is kept again.
    let reread = said(102, BOT, GARDEN, vec![text("mine is a dog")]);
    assert_eq!(journal.hear(&reread, 5).expect("heard"), Heard::Deleted);
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
fn what_is_prepared_outlives_a_kill_and_goes_with_its_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    let reply = Answer {
        notes: vec!["a note".to_owned()],
        ..answer(&[1], &[], vec![text("yes"), photo(DOG)])
    };
    let prepare = |journal: &Journal, trigger| {
        assert_eq!(
            journal.accept(&request(trigger, ANNA, GARDEN)).expect("accepted"),
            Acceptance::New
        );
        assert_eq!(journal.prepare(MessageId(trigger), &reply, 5).expect("kept"), Recorded::Kept);
    };
    for trigger in 1..=4 {
        prepare(&journal, trigger);
    }
    drop(journal);

    let journal = open(folder.path());
    let found = journal.prepared(MessageId(1)).expect("reads").expect("is there");
    let caption = Some("a caption".to_owned());
    assert_eq!(found.pieces, [text("yes"), Piece::Photo { photo: BlobId::of(DOG), caption }]);
    assert_eq!((found.notes, found.seed), (reply.notes.clone(), reply.seed));
    assert_eq!(journal.unfinished().expect("reads").len(), 4);
    assert_whole(&journal);

    let delivered = Answer { sent: vec![MessageId(9)], ..reply.clone() };
    assert_eq!(journal.answered(MessageId(1), &delivered).expect("kept"), Recorded::Kept);
    let given_up = Explanation { reason: Reason::Cancelled, sent: vec![], finished_ms: 6 };
    assert_eq!(journal.explained(MessageId(2), &given_up).expect("kept"), Recorded::Kept);
    journal.forget(Whose::Message(MessageId(3)), 6).expect("forgets");
    for finished in 1..=3 {
        assert_eq!(journal.prepared(MessageId(finished)).expect("reads"), None);
    }
    assert!(journal.photo(BlobId::of(DOG)).is_ok());
    let other = answer(&[4], &[], vec![text("no"), photo(CAT)]);
    assert_eq!(journal.answered(MessageId(4), &other).expect("kept"), Recorded::Kept);
    journal.forget(Whose::Message(MessageId(1)), 7).expect("forgets");
    assert!(journal.photo(BlobId::of(DOG)).is_err(), "nothing refers to it any more");
    journal.compact().expect("compacts");
    assert!(!anywhere(folder.path(), b"yes"));
    assert_whole(&journal);
}

#[test]
fn a_reply_that_is_seen_before_it_is_recorded_goes_with_its_question() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = open(folder.path());
    journal.accept(&request(1, ANNA, GARDEN)).expect("accepted");
    journal.sent(MessageId(1), MessageId(2), 5).expect("noted");
    assert_eq!(journal.state(MessageId(1)).expect("reads"), Some(State::Accepted));
    journal.forget(Whose::Message(MessageId(1)), 5).expect("forgets");
    journal.sent(MessageId(1), MessageId(3), 5).expect("noted");
    for reply in [2, 3] {
        let heard = journal.hear(&said(reply, BOT, GARDEN, vec![text("hello")]), 5);
        assert_eq!(heard.expect("heard"), Heard::Deleted);
    }
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
        journal.seen(GARDEN, MessageId(103), Place::Server).expect("noted");
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

/// One thing that happens; ids are drawn from few, so that they meet.
#[derive(Debug, Clone)]
enum Event {
    Hear { id: u64, author: u64, channel: u64, text: u8, photo: Option<u8> },
    Accept { id: u64, author: u64, channel: u64 },
    Prepare { id: u64, photo: Option<u8> },
    Answer { id: u64, context: Vec<u64>, sent: u64, photo: Option<u8> },
    Explain { id: u64, sent: u64 },
    Forget(Whose),
    Compact,
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    let (id, author, channel) = (0..12u64, 0..3u64, 0..2u64);
    let photo = prop::option::of(0..3u8);
    let hear = (id.clone(), author.clone(), channel.clone(), 0..3u8, photo.clone());
    let answer = (id.clone(), prop::collection::vec(id.clone(), 0..4), id.clone(), photo.clone());
    let whose = prop_oneof![
        6 => id.clone().prop_map(|id| Whose::Message(MessageId(id))),
        2 => author.clone().prop_map(|id| Whose::Author(AuthorId(id))),
        1 => channel.clone().prop_map(|id| Whose::Channel(ChannelId(id))),
        1 => Just(Whose::Guild(HOME)),
    ];
    prop_oneof![
        8 => hear.prop_map(|(id, author, channel, text, photo)| {
            Event::Hear { id, author, channel, text, photo }
        }),
        5 => (id.clone(), author, channel)
            .prop_map(|(id, author, channel)| Event::Accept { id, author, channel }),
        4 => (id.clone(), photo).prop_map(|(id, photo)| Event::Prepare { id, photo }),
        5 => answer.prop_map(|(id, context, sent, photo)| {
            Event::Answer { id, context, sent, photo }
        }),
        1 => (id.clone(), id).prop_map(|(id, sent)| Event::Explain { id, sent }),
        3 => whose.prop_map(Event::Forget),
        1 => Just(Event::Compact),
        1 => Just(Event::Reopen),
    ]
}

fn photo_bytes(photo: Option<u8>) -> Vec<Piece<Vec<u8>>> {
    photo.iter().map(|&photo| self::photo(&[photo; 100])).collect()
}

fn live(journal: &Journal, event: &Event) {
    match event.clone() {
        Event::Hear { id, author, channel, text: said_text, photo } => {
            let pieces = [vec![text(&said_text.to_string())], photo_bytes(photo)].concat();
            let message = said(id, AuthorId(author), ChannelId(channel), pieces);
            journal.hear(&message, 5).expect("heard");
        }
        Event::Accept { id, author, channel } => {
            let request = request(id, AuthorId(author), ChannelId(channel));
            let known = journal.state(MessageId(id)).expect("reads");
            let acceptance = journal.accept(&request).expect("accepted");
            if let Some(state) = known {
                assert_eq!(acceptance, Acceptance::Known(state));
            }
        }
        Event::Prepare { id, photo } => {
            let was = journal.state(MessageId(id)).expect("reads");
            let answer = answer(&[id], &[], photo_bytes(photo));
            let recorded = journal.prepare(MessageId(id), &answer, 5).expect("recorded");
            assert_eq!(recorded == Recorded::Kept, was == Some(State::Accepted));
        }
        Event::Answer { id, context, sent, photo } => {
            let was = journal.state(MessageId(id)).expect("reads");
            let answer = answer(&context, &[sent], photo_bytes(photo));
            let recorded = journal.answered(MessageId(id), &answer).expect("recorded");
            assert_eq!(recorded == Recorded::Kept, was == Some(State::Accepted));
        }
        Event::Explain { id, sent } => {
            let explanation =
                Explanation { reason: Reason::Failed, sent: vec![MessageId(sent)], finished_ms: 1 };
            journal.explained(MessageId(id), &explanation).expect("recorded");
        }
        Event::Forget(whose) => {
            journal.forget(whose, 5).expect("forgets");
            assert_forgotten(journal, whose);
        }
        Event::Compact => journal.compact().expect("compacts"),
        Event::Reopen => {}
    }
}

/// No message and no exchange's contents of whom was forgotten can be read.
fn assert_forgotten(journal: &Journal, whose: Whose) {
    for id in (0..12).map(MessageId) {
        if let Some(message) = journal.message(id).expect("reads") {
            let gone = match whose {
                Whose::Message(forgotten) => forgotten == id,
                Whose::Author(author) => author == message.author,
                Whose::Channel(channel) => channel == message.channel,
                Whose::Guild(guild) => Some(guild) == message.guild,
            };
            assert!(!gone, "{message:?}");
        }
        if let Some(exchange) = journal.exchange(id).expect("reads") {
            let request = exchange.request;
            let gone = match (&whose, &exchange.outcome) {
                (Whose::Message(forgotten), Outcome::Answer(answer)) => {
                    *forgotten == id || answer.sent.contains(forgotten)
                }
                (Whose::Message(_), _) => false,
                (Whose::Author(author), _) => *author == request.asker,
                (Whose::Channel(channel), _) => *channel == request.channel,
                (Whose::Guild(guild), _) => Some(*guild) == request.guild,
            };
            assert!(!gone, "{exchange:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: every record decodes, every photo is referred to and
    /// every reference has its photo, and what is unfinished is exactly what is accepted.
    #[test]
    fn whatever_happens_the_journal_stays_whole(events in prop::collection::vec(event(), 1..50)) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut journal = Some(open(folder.path()));
        for event in &events {
            live(journal.as_ref().expect("is open"), event);
            if matches!(event, Event::Reopen) {
                drop(journal.take());
                journal = Some(open(folder.path()));
            }
        }
        let journal = journal.expect("is open");
        assert_whole(&journal);
        let accepted = (0..12).map(MessageId).filter(|&id| {
            journal.state(id).expect("reads") == Some(State::Accepted)
        });
        let unfinished = journal.unfinished().expect("reads");
        assert!(unfinished.iter().map(|request| request.trigger).eq(accepted));
    }
}
