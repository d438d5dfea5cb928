//! Records, and how they evolve.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::blobs::BlobId;
use crate::envelope::Opened;
use crate::error::Result;

/// A serde struct that can be stored.
///
/// How it evolves:
/// * **A new field** gets `#[serde(default)]`. The revision stays: older records lack the field
///   and take its default, older programs ignore it.
/// * **A field goes**: delete it from the struct; its old values are ignored.
/// * **A meaning changes** (renamed, split, another unit): raise [`REVISION`](Record::REVISION)
///   and add an arm to [`upgrade`](Record::upgrade). The stored record is not touched; it is
///   raised whenever it is read, and written in the new form only when the program writes it
///   anyway. Older programs refuse a newer revision by name instead of misreading it.
///
/// For every shape that ever shipped, keep its bytes in a test ("golden bytes"), and never change
/// or remove them: [`encode`](crate::encode) and [`decode`](crate::decode) are there for that.
///
/// ```
/// use migrations_free_store::{Record, Unreadable};
/// use serde::{Deserialize, Serialize};
/// use serde_json::Value;
///
/// #[derive(Serialize, Deserialize)]
/// struct Walk {
///     metres: u64, // revision 1 had `kilometres`
/// }
///
/// impl Record for Walk {
///     const KIND: &'static str = "walk";
///     const REVISION: u16 = 2;
///
///     fn upgrade(revision: u16, mut fields: Value) -> Result<Value, Unreadable> {
///         if revision == 1 {
///             let kilometres =
///                 fields["kilometres"].as_u64().ok_or(Unreadable { field: "kilometres" })?;
///             fields["metres"] = (kilometres * 1000).into();
///         }
///         Ok(fields)
///     }
/// }
/// ```
pub trait Record: Serialize + DeserializeOwned {
    /// What it is, for ever: 1 to 64 of `a-z`, `0-9`, `_`, `-` and `.`, checked at compile time.
    /// Kinds that begin with `store.` are the store's own.
    const KIND: &'static str;

    /// The revision that is written now; begins at 1.
    const REVISION: u16;

    /// Raises the fields of `revision` to `revision + 1`; called for each step between the stored
    /// revision and [`REVISION`](Record::REVISION).
    fn upgrade(revision: u16, fields: Value) -> std::result::Result<Value, Unreadable> {
        let _ = revision;
        Ok(fields)
    }

    /// The blobs that this record refers to; [`Store::verify`](crate::Store::verify) asks.
    fn blobs(&self) -> Vec<BlobId> {
        Vec::new()
    }
}

/// Why an old record can't be raised. It names a field and never its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("field {field} is missing or not what that revision held")]
pub struct Unreadable {
    /// The field's name in the old revision.
    pub field: &'static str,
}

/// A kind's name, if it is one that records may bear.
pub(crate) const fn is_kind(kind: &str) -> bool {
    let bytes = kind.as_bytes();
    if bytes.is_empty() || bytes.len() > 64 {
        return false;
    }
    let mut i = 0;
    while i < bytes.len() {
        if !matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.') {
            return false;
        }
        i += 1;
    }
    true
}

/// Whether the kind is the store's own.
pub(crate) const fn is_reserved(kind: &str) -> bool {
    matches!(kind.as_bytes(), [b's', b't', b'o', b'r', b'e', b'.', ..])
}

type Check = fn(Opened) -> Result<Vec<BlobId>>;

/// The record types that a program knows; what [`Store::verify`](crate::Store::verify) reads with.
#[derive(Default)]
pub struct Schema {
    checks: BTreeMap<&'static str, Check>,
}

impl Schema {
    /// Adds a record type.
    ///
    /// # Panics
    /// When another type of this kind was added before.
    #[must_use]
    pub fn with<R: Record>(mut self) -> Self {
        let check: Check = |opened| Ok(opened.read::<R>()?.blobs());
        let earlier = self.checks.insert(R::KIND, check);
        assert!(earlier.is_none(), "two record types share the kind {}", R::KIND);
        self
    }

    pub(crate) fn check(&self, kind: &str) -> Option<Check> {
        self.checks.get(kind).copied()
    }
}
