//! Walking everything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::backend::Order;
use crate::blobs::{BlobId, Found};
use crate::error::{Error, RecordKey, Result};
use crate::record::{Record as _, Schema};
use crate::store::{Sequence, Store};

/// What [`Store::verify`] saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Records, the store's own not counted.
    pub records: u64,
    /// Whole blobs.
    pub blobs: u64,
    /// Their files' size.
    pub blob_bytes: u64,
    /// What is wrong; empty in a healthy store.
    pub findings: Vec<Finding>,
}

/// One thing that is wrong.
#[derive(Debug)]
pub enum Finding {
    /// A record that doesn't decode.
    Record(Error),
    /// A record of a kind that the schema lacks.
    UnknownKind(RecordKey),
    /// A file among the blobs that is damaged or no blob.
    Blob(Error),
    /// A record refers to a blob that isn't there, or is damaged.
    Dangling {
        /// The blob.
        blob: BlobId,
        /// The record that refers to it.
        by: RecordKey,
    },
    /// No record refers to this blob.
    Orphan(BlobId),
    /// The engine can't read on; records behind this place were not looked at.
    Engine(Error),
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) | Self::Blob(error) => error.fmt(f),
            Self::UnknownKind(key) => write!(f, "record {key} is of a kind nobody knows"),
            Self::Dangling { blob, by } => {
                write!(f, "record {by} refers to blob {blob}, which is missing or damaged")
            }
            Self::Orphan(id) => write!(f, "no record refers to blob {id}"),
            Self::Engine(error) => write!(f, "{error}; the records behind were not read"),
        }
    }
}

impl Store {
    /// Reads every record and every blob: records decode by `schema`, blobs are what their names
    /// say, and references and blobs correspond. Writers wait meanwhile. A blob that is put during
    /// the walk and not yet referred to may be reported as an orphan.
    pub fn verify(&self, schema: &Schema) -> Result<Report> {
        let _writer = self.inner.writer();
        let mut report = Report::default();
        let referrers = self.verify_records(schema, &mut report);
        let mut present = BTreeSet::new();
        self.blobs().walk(|found| {
            match found {
                Found::Blob { id, bytes } => {
                    present.insert(id);
                    report.blobs += 1;
                    report.blob_bytes += bytes;
                }
                Found::Damaged(error) => report.findings.push(Finding::Blob(error)),
            }
            Ok(())
        })?;
        for (&blob, by) in &referrers {
            if !present.contains(&blob) {
                report
                    .findings
                    .extend(by.iter().map(|by| Finding::Dangling { blob, by: by.clone() }));
            }
        }
        let orphans = present.iter().filter(|id| !referrers.contains_key(id));
        report.findings.extend(orphans.map(|&id| Finding::Orphan(id)));
        Ok(report)
    }

    fn verify_records(
        &self,
        schema: &Schema,
        report: &mut Report,
    ) -> BTreeMap<BlobId, Vec<RecordKey>> {
        let mut referrers: BTreeMap<BlobId, Vec<RecordKey>> = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = match self.inner.page(b"", after.as_deref(), Order::Ascending) {
                Ok(page) => page,
                Err(error) => {
                    report.findings.push(Finding::Engine(error));
                    return referrers;
                }
            };
            let Some((last, _)) = page.last() else { return referrers };
            after = Some(last.clone());
            for (key, value) in page {
                let place = RecordKey::parse(&key);
                if place.kind == Sequence::KIND {
                    continue; // was read at opening
                }
                report.records += 1;
                let Some(check) = schema.check(&place.kind) else {
                    report.findings.push(Finding::UnknownKind(place));
                    continue;
                };
                match self.inner.open(&key, &value).and_then(check) {
                    Ok(blobs) => {
                        for blob in blobs {
                            referrers.entry(blob).or_default().push(place.clone());
                        }
                    }
                    Err(error) => report.findings.push(Finding::Record(error)),
                }
            }
        }
    }
}
