//! The form of a stored value.
//!
//! ```text
//! 1 byte   format of the envelope: 1
//! 1 byte   0 open, 1 sealed
//! 2 bytes  revision, little endian
//! 1 byte   length of the kind
//! n bytes  kind
//! open:    8 bytes of BLAKE3 over header, key and payload; payload
//! sealed:  24 bytes nonce; XChaCha20-Poly1305 of the payload, header and key associated
//! ```
//! "Header" is everything up to and with the kind, "key" the engine key (kind, zero byte, id), so
//! that a value moved to another key is damage. The payload is the record's JSON.

use serde_json::Value;

use crate::error::{Damage, Error, RecordKey, Result};
use crate::record::Record;
use crate::seal::{Key, Purpose, Seal};

/// The newest and only format of the envelope.
const FORMAT: u8 = 1;
const OPEN: u8 = 0;
const SEALED: u8 = 1;
const CHECKSUM_BYTES: usize = 8;

/// The stored bytes of `record` under `id`: what golden tests hold for ever.
pub fn encode<R: Record>(id: &[u8], record: &R, key: Option<&Key>) -> Result<Vec<u8>> {
    encode_with(id, record, key.map(Seal::new).as_ref())
}

/// The record of stored bytes, whatever revision they have.
pub fn decode<R: Record>(id: &[u8], value: &[u8], key: Option<&Key>) -> Result<R> {
    open(&RecordKey::bytes(R::KIND, id), value, key.map(Seal::new).as_ref())?.read()
}

pub(crate) fn encode_with<R: Record>(
    id: &[u8],
    record: &R,
    seal: Option<&Seal>,
) -> Result<Vec<u8>> {
    let payload =
        serde_json::to_vec(record).map_err(|source| Error::Encode { kind: R::KIND, source })?;
    Ok(wrap(R::KIND, id, R::REVISION, &payload, seal))
}

/// Wraps a payload of any kind.
pub(crate) fn wrap(
    kind: &str,
    id: &[u8],
    revision: u16,
    payload: &[u8],
    seal: Option<&Seal>,
) -> Vec<u8> {
    let mut value = vec![FORMAT, if seal.is_some() { SEALED } else { OPEN }];
    value.extend_from_slice(&revision.to_le_bytes());
    value.push(u8::try_from(kind.len()).expect("a kind has at most 64 bytes"));
    value.extend_from_slice(kind.as_bytes());
    let bound = [&value[..], &RecordKey::bytes(kind, id)].concat();
    match seal {
        None => {
            value.extend_from_slice(&checksum(&bound, payload));
            value.extend_from_slice(payload);
        }
        Some(seal) => value.extend_from_slice(&seal.seal(Purpose::Value, payload, &bound)),
    }
    value
}

/// A value whose envelope was found whole.
pub(crate) struct Opened {
    pub(crate) key: RecordKey,
    pub(crate) revision: u16,
    pub(crate) payload: Vec<u8>,
}

/// Opens the envelope of the value at the engine key `key`.
pub(crate) fn open(key: &[u8], value: &[u8], seal: Option<&Seal>) -> Result<Opened> {
    let place = RecordKey::parse(key);
    match open_parts(&place, key, value, seal) {
        Ok((revision, payload)) => Ok(Opened { key: place, revision, payload }),
        Err(damage) => Err(Error::Corrupt { key: place, damage }),
    }
}

fn open_parts(
    place: &RecordKey,
    key: &[u8],
    value: &[u8],
    seal: Option<&Seal>,
) -> std::result::Result<(u16, Vec<u8>), Damage> {
    let (&format, rest) = value.split_first().ok_or(Damage::Short)?;
    if format != FORMAT {
        return Err(Damage::Format(format));
    }
    let (&[sealing, low, high, kind_len], rest) = rest.split_first_chunk().ok_or(Damage::Short)?;
    let (kind, body) = rest.split_at_checked(usize::from(kind_len)).ok_or(Damage::Short)?;
    if kind != place.kind.as_bytes() {
        return Err(Damage::Kind);
    }
    let bound = [&value[..value.len() - body.len()], key].concat();
    let payload = match (sealing, seal) {
        (OPEN, None) => {
            let (sum, payload) = body.split_at_checked(CHECKSUM_BYTES).ok_or(Damage::Short)?;
            if checksum(&bound, payload) != sum {
                return Err(Damage::Checksum);
            }
            payload.to_vec()
        }
        (SEALED, Some(seal)) => seal.open(Purpose::Value, body, &bound).ok_or(Damage::Seal)?,
        _ => return Err(Damage::Sealing),
    };
    Ok((u16::from_le_bytes([low, high]), payload))
}

fn checksum(bound: &[u8], payload: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::Hasher::new().update(bound).update(payload).finalize();
    *hash.as_bytes().first_chunk().expect("a BLAKE3 hash has 32 bytes")
}

impl Opened {
    /// The fields as they were written.
    pub(crate) fn fields(&self) -> Result<Value> {
        serde_json::from_slice(&self.payload).map_err(|error| self.damaged(&error))
    }

    /// The record, raised to the present revision.
    pub(crate) fn read<R: Record>(self) -> Result<R> {
        if self.revision == R::REVISION {
            return serde_json::from_slice(&self.payload).map_err(|error| self.damaged(&error));
        }
        if self.revision > R::REVISION {
            return Err(Error::Newer { key: self.key, found: self.revision, known: R::REVISION });
        }
        let mut fields = self.fields()?;
        for revision in self.revision..R::REVISION {
            fields = R::upgrade(revision, fields).map_err(|source| Error::Upgrade {
                key: self.key.clone(),
                revision: self.revision,
                source,
            })?;
        }
        serde_json::from_value(fields).map_err(|error| self.damaged(&error))
    }

    fn damaged(&self, error: &serde_json::Error) -> Error {
        Error::Corrupt { key: self.key.clone(), damage: error.into() }
    }
}
