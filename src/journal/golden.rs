//! The bytes of every record that ever shipped, for ever. Add to this file; never change a golden
//! value and never remove one: journals with these bytes exist.

use migrations_free_store::{BlobId, Record, decode, encode};

use super::index::{Index, IndexRecord};
use super::nouns::{
    Answer, AuthorId, ChannelId, Explanation, GuildId, Message, MessageId, Outcome, Piece, Reason,
    Request,
};
use super::records::{
    ContextRecord, ExchangeRecord, LastSeenRecord, MessageRecord, StaleRecord, store_pieces,
};
use super::settings::{PhotoRuleRecord, Realm, SettingsRecord};
use crate::dialogue::Timings;

const ID: &[u8] = &0x0102_0304_0506_0708_u64.to_be_bytes();

/// The stored bytes: the envelope's header and checksum, then the fields.
fn value(header: &str, fields: &str) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).expect("a hexadecimal digit") as u8;
    let header = header.as_bytes().chunks(2).map(|pair| digit(&pair[0]) << 4 | digit(&pair[1]));
    header.chain(fields.bytes()).collect()
}

fn read<R: Record>((header, fields): (&str, &str)) -> R {
    decode(ID, &value(header, fields), None).expect("golden bytes are readable for ever")
}

fn assert_written<R: Record>(record: &R, (header, fields): (&str, &str)) {
    let written = encode(ID, record, None).expect("encodes");
    // The fields first, as they can be read in a failure.
    let payload = &written[header.len() / 2..];
    assert_eq!(String::from_utf8_lossy(payload), fields);
    assert_eq!(written, value(header, fields));
}

fn message() -> Message<BlobId> {
    Message {
        id: MessageId(0x0102_0304_0506_0708),
        channel: ChannelId(u64::MAX),
        guild: Some(GuildId(7)),
        author: AuthorId(8),
        author_name: "Zoë".to_owned(),
        replies_to: Some(MessageId(9)),
        said_ms: 1_790_000_000_000,
        pieces: pieces(),
    }
}

fn pieces() -> Vec<Piece<BlobId>> {
    vec![
        Piece::Text("look \"here\"".to_owned()),
        Piece::Photo { photo: BlobId::of(b"cat"), caption: Some("a cat".to_owned()) },
        Piece::Photo { photo: BlobId::of(b"dog"), caption: None },
    ]
}

fn request() -> Request {
    Request {
        trigger: MessageId(0x0102_0304_0506_0708),
        channel: ChannelId(6),
        guild: None,
        asker: AuthorId(8),
        accepted_ms: 1_790_000_000_000,
    }
}

fn answer() -> Answer<BlobId> {
    Answer {
        context: vec![MessageId(5), MessageId(9)],
        pieces: pieces(),
        notes: Vec::new(),
        sent: vec![MessageId(11), MessageId(12)],
        seed: u64::MAX,
        share_probability: Some(0.1 + 0.2),
        model: "model-1".to_owned(),
        adapter: Some("adapter-2".to_owned()),
        timings: Timings { perceive_ms: 1.5, prefill_ms: 20.0, decode_ms: 300.25, draw_ms: 4e3 },
        finished_ms: 1_790_000_005_000,
    }
}

const MESSAGE_1: (&str, &str) = (
    "01000100076d6573736167651ac82ca7c3db3f80",
    concat!(
        r#"{"channel":18446744073709551615,"guild":7,"author":8,"author_name":"Zoë","replies_to"#,
        r#"":9,"said_ms":1790000000000,"edits":3,"pieces":[{"text":"look \"here\""},{"photo":{""#,
        r#"blob":"e81a77c11bbb24daa3d9a3d0edf857f38255b27f408822cc2b71770871241f1b","caption":""#,
        r#"a cat"}},{"photo":{"blob":"2d7f6617d22887cc91deffe89ff46d85436b3f7cd528157691832d846"#,
        r#"26a7e5c"}}]}"#,
    ),
);
const ACCEPTED_1: (&str, &str) = (
    "010001000865786368616e676511359b77feb8b874",
    r#"{"channel":6,"asker":8,"accepted_ms":1790000000000,"state":"accepted"}"#,
);
const ANSWERED_1: (&str, &str) = (
    "010001000865786368616e676597e20d7b57c96a6d",
    concat!(
        r#"{"channel":6,"asker":8,"accepted_ms":1790000000000,"state":"answered","finished_ms":"#,
        r#"1790000005000,"sent":[11,12],"answer":{"context":[{"message":5,"edits":0},{"message""#,
        r#":9,"edits":2}],"pieces":[{"text":"look \"here\""},{"photo":{"blob":"e81a77c11bbb24da"#,
        r#"a3d9a3d0edf857f38255b27f408822cc2b71770871241f1b","caption":"a cat"}},{"photo":{"blo"#,
        r#"b":"2d7f6617d22887cc91deffe89ff46d85436b3f7cd528157691832d84626a7e5c"}}],"seed":1844"#,
        r#"6744073709551615,"share_probability":0.30000000000000004,"model":"model-1","adapter""#,
        r#":"adapter-2","timings_ms":{"perceive":1.5,"prefill":20.0,"decode":300.25,"draw":4000"#,
        r#".0}}}"#,
    ),
);
const PREPARED_1: (&str, &str) = (
    "010001000865786368616e67659e534abdeac87e7a",
    concat!(
        r#"{"channel":6,"asker":8,"accepted_ms":1790000000000,"state":"accepted","answer":{"con"#,
        r#"text":[],"pieces":[{"text":"look \"here\""},{"photo":{"blob":"e81a77c11bbb24daa3d9a3"#,
        r#"d0edf857f38255b27f408822cc2b71770871241f1b","caption":"a cat"}},{"photo":{"blob":"2d"#,
        r#"7f6617d22887cc91deffe89ff46d85436b3f7cd528157691832d84626a7e5c"}}],"notes":["-# a no"#,
        r#"te"],"seed":18446744073709551615,"share_probability":0.30000000000000004,"model":"mo"#,
        r#"del-1","adapter":"adapter-2","timings_ms":{"perceive":1.5,"prefill":20.0,"decode":30"#,
        r#"0.25,"draw":4000.0}}}"#,
    ),
);
const EXPLAINED_1: (&str, &str) = (
    "010001000865786368616e676547ef6fb8066c9e86",
    concat!(
        r#"{"channel":6,"asker":8,"accepted_ms":1790000000000,"state":"explained","finished_ms""#,
        r#":12,"sent":[11],"reason":"not_permitted"}"#,
    ),
);
const WITHDRAWN_1: (&str, &str) = (
    "010001000865786368616e67652871a8ca8dbffba1",
    concat!(
        r#"{"channel":6,"asker":8,"accepted_ms":1790000000000,"state":"withdrawn","finished_ms""#,
        r#":1790000005000,"sent":[11,12]}"#,
    ),
);
const LAST_SEEN_1: (&str, &str) =
    ("01000100096c6173745f7365656e2b37f99d8379580c", r#"{"message":18446744073709551615}"#);
const LAST_SEEN_DIRECT_1: (&str, &str) = (
    "01000100096c6173745f7365656e363bc0e3b7e53b24",
    r#"{"message":18446744073709551615,"direct":true}"#,
);
const SETTINGS_1: (&str, &str) = (
    "010001000873657474696e6773d811c05d0edcd5fd",
    r#"{"photos":"off","changed_by":8,"changed_ms":1790000000000}"#,
);
const STALE_1: (&str, &str) =
    ("01000100057374616c65bc4a5b476baa31fb", r#"{"since_ms":1790000000000}"#);
const INDEX_1: (&str, &str) = ("0100010005696e646578205de4c5a1b54550", "{}");

fn answered() -> ExchangeRecord {
    let mut record = ExchangeRecord::accepted(&request());
    let context =
        vec![ContextRecord { message: 5, edits: 0 }, ContextRecord { message: 9, edits: 2 }];
    record.answer(&answer(), context, store_pieces(pieces()));
    record
}

fn prepared() -> ExchangeRecord {
    let mut record = ExchangeRecord::accepted(&request());
    let answer = Answer { notes: vec!["-# a note".to_owned()], ..answer() };
    record.prepare(&answer, Vec::new(), store_pieces(pieces()));
    record
}

fn settings() -> SettingsRecord {
    SettingsRecord {
        photos: Some(PhotoRuleRecord::Off),
        changed_by: Some(8),
        changed_ms: Some(1_790_000_000_000),
    }
}

fn explanation() -> Explanation {
    Explanation { reason: Reason::NotPermitted, sent: vec![MessageId(11)], finished_ms: 12 }
}

#[test]
fn what_is_written_now_is_golden() {
    assert_written(&MessageRecord::new(&message(), store_pieces(pieces()), 3), MESSAGE_1);
    let accepted = ExchangeRecord::accepted(&request());
    assert_written(&accepted, ACCEPTED_1);
    assert_written(&answered(), ANSWERED_1);
    assert_written(&prepared(), PREPARED_1);
    let mut explained = accepted.clone();
    explained.explain(&explanation());
    assert_written(&explained, EXPLAINED_1);
    let mut withdrawn = answered();
    withdrawn.withdraw();
    assert_written(&withdrawn, WITHDRAWN_1);
    let seen = |direct| LastSeenRecord { message: u64::MAX, direct };
    assert_written(&seen(false), LAST_SEEN_1);
    assert_written(&seen(true), LAST_SEEN_DIRECT_1);
    assert_written(&settings(), SETTINGS_1);
    assert_written(&StaleRecord { since_ms: 1_790_000_000_000 }, STALE_1);
    assert_written(&IndexRecord {}, INDEX_1);
}

#[test]
fn every_message_ever_written_is_read() {
    let record: MessageRecord = read(MESSAGE_1);
    assert_eq!(record.edits, 3);
    assert!(record.into_message(message().id) == message());
}

#[test]
fn every_exchange_ever_written_is_read() {
    let outcome = |golden| {
        let exchange = read::<ExchangeRecord>(golden).into_exchange(request().trigger, vec![]);
        assert_eq!(exchange.request, request());
        exchange.outcome
    };
    assert_eq!(outcome(ACCEPTED_1), Outcome::Pending);
    assert_eq!(outcome(ANSWERED_1), Outcome::Answer(answer()));
    assert_eq!(outcome(PREPARED_1), Outcome::Pending);
    let prepared = read::<ExchangeRecord>(PREPARED_1).into_prepared().expect("is prepared");
    assert_eq!((prepared.notes, prepared.pieces), (vec!["-# a note".to_owned()], pieces()));
    assert_eq!(outcome(EXPLAINED_1), Outcome::Explanation(explanation()));
    assert_eq!(outcome(WITHDRAWN_1), Outcome::Withdrawn);
    let seen = read::<ExchangeRecord>(ANSWERED_1);
    let seen: Vec<_> = seen.context().iter().map(|seen| (seen.message, seen.edits)).collect();
    assert_eq!(seen, [(5, 0), (9, 2)]);
}

#[test]
fn every_other_record_ever_written_is_read() {
    let seen = read::<LastSeenRecord>(LAST_SEEN_1);
    assert_eq!((seen.message, seen.direct), (u64::MAX, false));
    assert!(read::<LastSeenRecord>(LAST_SEEN_DIRECT_1).direct);
    assert_eq!(read::<StaleRecord>(STALE_1).since_ms, 1_790_000_000_000);
    read::<IndexRecord>(INDEX_1);
    let settings = read::<SettingsRecord>(SETTINGS_1);
    assert!(matches!(settings.photos, Some(PhotoRuleRecord::Off)));
    assert_eq!(settings.changed_by, Some(8));
}

#[test]
fn what_a_newer_program_adds_is_ignored() {
    let fields = r#"{"channel":1,"author":2,"author_name":"","said_ms":3,"stickers":[1],"pieces":[{"poll":{}},{"text":"x","bold":true}]}"#;
    let record: MessageRecord = serde_json::from_str(fields).expect("fits");
    assert_eq!(record.into_message(MessageId(1)).pieces, [Piece::Text("x".to_owned())]);
    let fields =
        r#"{"channel":1,"asker":2,"accepted_ms":3,"state":"explained","reason":"eclipse"}"#;
    let record: ExchangeRecord = serde_json::from_str(fields).expect("fits");
    let explanation = Explanation { reason: Reason::Other, sent: vec![], finished_ms: 3 };
    let outcome = record.into_exchange(MessageId(1), vec![]).outcome;
    assert_eq!(outcome, Outcome::Explanation(explanation));
}

#[test]
fn golden_index_keys() {
    let blob = BlobId::from([0xab; 32]);
    let entries = [
        (Index::MessagesOfAuthor(AuthorId(1)), "010000000000000001"),
        (Index::MessagesOfChannel(ChannelId(2)), "020000000000000002"),
        (Index::MessagesOfGuild(GuildId(3)), "030000000000000003"),
        (Index::ExchangesOfAsker(AuthorId(4)), "040000000000000004"),
        (Index::ExchangesOfChannel(ChannelId(5)), "050000000000000005"),
        (Index::ExchangesOfGuild(GuildId(6)), "060000000000000006"),
        (Index::ExchangeOfReply(MessageId(7)), "070000000000000007"),
        (Index::Unfinished, "08"),
        (Index::DeletedMessages, "09"),
        (Index::BlobInMessages(blob), &format!("0a{}", "ab".repeat(32))),
        (Index::BlobInExchanges(blob), &format!("0b{}", "ab".repeat(32))),
    ];
    assert_eq!(Realm::Channel(ChannelId(2)).key(), value("010000000000000002", ""));
    assert_eq!(Realm::Guild(GuildId(3)).key(), value("020000000000000003", ""));
    for (index, prefix) in entries {
        let expected = value(&format!("{prefix}0102030405060708"), "");
        assert_eq!(index.entry(MessageId(0x0102_0304_0506_0708)), expected);
    }
}
