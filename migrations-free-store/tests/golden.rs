//! The bytes of every shape that ever shipped, for ever. Add to this file; never change a golden
//! value and never remove one: stores with these bytes exist.

use migrations_free_store::{Damage, Error, Key, Record, Unreadable, decode, encode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A record with a past: revision 1 had one `name`, revision 2 `given` and `family`, revision 3
/// counts `height_mm` where 2 had `height_cm`. `note` came later without a new revision.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Person {
    given: String,
    family: String,
    #[serde(default)]
    height_mm: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Record for Person {
    const KIND: &'static str = "person";
    const REVISION: u16 = 3;

    fn upgrade(revision: u16, mut fields: Value) -> Result<Value, Unreadable> {
        match revision {
            1 => {
                let name = fields["name"].as_str().ok_or(Unreadable { field: "name" })?;
                let (given, family) = name.split_once(' ').unwrap_or((name, ""));
                let (given, family) = (given.to_owned(), family.to_owned());
                fields["given"] = given.into();
                fields["family"] = family.into();
            }
            2 => {
                if let Some(height_cm) = fields["height_cm"].as_u64() {
                    fields["height_mm"] = (height_cm * 10).into();
                }
            }
            _ => {}
        }
        Ok(fields)
    }
}

/// `Person` as the first program knew it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct FirstPerson {
    name: String,
}

impl Record for FirstPerson {
    const KIND: &'static str = "person";
    const REVISION: u16 = 1;
}

const ID: &[u8] = &[0, 255, 7];

fn ada() -> Person {
    Person {
        given: "Ada".to_owned(),
        family: "Lovelace".to_owned(),
        height_mm: Some(1650),
        note: None,
    }
}

fn golden(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u8> = hexadecimal.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hexadecimal")
    };
    digits.chunks(2).map(byte).collect()
}

const REVISION_1: &str = "0100010006706572736f6e19c3689e374ffe577b226e616d65223a22416461204c6f76656c616365 \
     227d";
const REVISION_2: &str = "0100020006706572736f6e4b774fa0504279767b22676976656e223a22416461222c2266616d696c \
     79223a224c6f76656c616365222c226865696768745f636d223a3136357d";
const REVISION_3: &str = "0100030006706572736f6e6e3ada522f016a977b22676976656e223a22416461222c2266616d696c \
     79223a224c6f76656c616365222c226865696768745f6d6d223a313635307d";
const WITH_UNKNOWN_FIELDS: &str = "0100030006706572736f6e0fa2bddcabccc8f47b22676976656e223a22416461222c2266616d696c \
     79223a224c6f76656c616365222c226865696768745f6d6d223a313635302c226e6f7465223a2268 \
     69222c227469746c65223a22436f756e74657373222c2273636f726573223a5b312c325d7d";
const SEALED: &str = "0101030006706572736f6ed700dd68f8ca87abc09cdf4898f8c3db51a942960ac28a5520b3bbbfde \
     77859775eca9550daa18ed24b01d5f2212ab5e570818e3db2a3cb0c5f02c59dc5a838beea8501b27 \
     ed92d7c74b05549ecd994be95598a05ec73311fe445862";

fn key() -> Key {
    Key::from_bytes(*b"thirty-two bytes of a golden key")
}

#[test]
fn what_is_written_now_is_golden() {
    assert_eq!(encode(ID, &ada(), None).expect("encodes"), golden(REVISION_3));
}

#[test]
fn every_revision_ever_written_is_read() {
    for old in [REVISION_1, REVISION_2, REVISION_3] {
        let read: Person = decode(ID, &golden(old), None).expect("decodes");
        let height_mm = if old == REVISION_1 { None } else { Some(1650) };
        assert_eq!(read, Person { height_mm, ..ada() });
    }
}

#[test]
fn unknown_fields_are_ignored() {
    let read: Person = decode(ID, &golden(WITH_UNKNOWN_FIELDS), None).expect("decodes");
    assert_eq!(read, Person { note: Some("hi".to_owned()), ..ada() });
}

#[test]
fn a_sealed_value_is_read_with_its_key_alone() {
    let read: Person = decode(ID, &golden(SEALED), Some(&key())).expect("decodes");
    assert_eq!(read, ada());
    let damage = |key: Option<&Key>| match decode::<Person>(ID, &golden(SEALED), key) {
        Err(Error::Corrupt { damage, .. }) => damage,
        _ => panic!("should be refused"),
    };
    assert_eq!(damage(Some(&Key::from_bytes([0; 32]))), Damage::Seal);
    assert_eq!(damage(None), Damage::Sealing);
}

#[test]
fn an_older_program_refuses_a_newer_revision_by_name() {
    match decode::<FirstPerson>(ID, &golden(REVISION_3), None) {
        Err(error @ Error::Newer { found: 3, known: 1, .. }) => {
            assert!(error.to_string().contains("person/00ff07"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_upgrade_that_fails_names_the_field_and_not_its_value() {
    #[derive(Debug, Serialize, Deserialize)]
    struct Nameless {
        secret: String,
    }
    impl Record for Nameless {
        const KIND: &'static str = "person";
        const REVISION: u16 = 1;
    }
    let value = encode(ID, &Nameless { secret: "hush".to_owned() }, None).expect("encodes");
    match decode::<Person>(ID, &value, None) {
        Err(error @ Error::Upgrade { source: Unreadable { field: "name" }, .. }) => {
            assert!(!format!("{error} {error:?}").contains("hush"));
        }
        other => panic!("{other:?}"),
    }
    let error = decode::<FirstPerson>(ID, &value, None).expect_err("the field is missing");
    assert!(!format!("{error} {error:?}").contains("hush"));
}

#[test]
fn every_changed_byte_and_every_cut_is_noticed() {
    for (bytes, key) in [(golden(REVISION_3), None), (golden(SEALED), Some(key()))] {
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 0x10;
            let cut = &bytes[..position];
            for broken in [&changed[..], cut] {
                match decode::<Person>(ID, broken, key.as_ref()) {
                    Err(Error::Corrupt { key, .. }) => assert_eq!(key.to_string(), "person/00ff07"),
                    other => panic!("byte {position}: {other:?}"),
                }
            }
        }
        let moved = decode::<Person>(&[0, 255, 8], &bytes, key.as_ref());
        assert!(matches!(moved, Err(Error::Corrupt { .. })), "a value belongs to its id");
    }
}
