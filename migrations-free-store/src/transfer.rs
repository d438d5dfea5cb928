//! A store as JSON Lines.
//!
//! ```text
//! {"store":"migrations-free-store","format":1}
//! {"kind":"message","id":"00a1","revision":3,"fields":{…}}
//! {"blob":"ab12…","content":"base64"}
//! {"end":{"records":1,"blobs":1}}
//! ```
//! The first line says what it is, the last that it is whole. Records keep the revision that they
//! have; nothing in the file is sealed.

use std::io::{self, BufRead, Read as _, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::{self, Order};
use crate::blobs::BlobId;
use crate::envelope;
use crate::error::{Error, RecordKey, Result};
use crate::hex;
use crate::record::{Record as _, is_kind, is_reserved};
use crate::store::{Sequence, Store};

const NAME: &str = "migrations-free-store";
const FORMAT: u32 = 1;
/// A line of an import; a photo of 64 MB in base64 fits.
const LINE_BYTES_MAX: u64 = 96 << 20;

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Header { store: String, format: u32 },
    Record { kind: String, id: String, revision: u16, fields: Value },
    Blob { blob: BlobId, content: String },
    End { end: Transferred },
}

/// How much an export or import carried.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transferred {
    /// Records, of every kind.
    pub records: u64,
    /// Blobs.
    pub blobs: u64,
}

impl Store {
    /// Writes every record and blob as JSON Lines. The records are those of one moment: writers
    /// wait while they are read. A blob that is deleted while blobs are read may be left out.
    pub fn export(&self, mut to: impl Write) -> Result<Transferred> {
        let mut done = Transferred::default();
        write_line(&mut to, &Line::Header { store: NAME.to_owned(), format: FORMAT })?;
        {
            let _writer = self.inner.writer();
            self.export_records(&mut to, &mut done)?;
        }
        for id in self.blobs().ids()? {
            let content = match self.blobs().get(id) {
                Err(Error::BlobMissing { .. }) => continue,
                content => STANDARD.encode(content?),
            };
            write_line(&mut to, &Line::Blob { blob: id, content })?;
            done.blobs += 1;
        }
        write_line(&mut to, &Line::End { end: done })?;
        to.flush().map_err(|source| Error::Stream { action: "write the export", source })?;
        Ok(done)
    }

    fn export_records(&self, to: &mut impl Write, done: &mut Transferred) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.inner.page(b"", after.as_deref(), Order::Ascending)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in page {
                let opened = self.inner.open(&key, &value)?;
                if opened.key.kind == Sequence::KIND {
                    continue;
                }
                let (revision, fields) = (opened.revision, opened.fields()?);
                let RecordKey { kind, id } = opened.key;
                write_line(to, &Line::Record { kind, id: hex::encode(&id), revision, fields })?;
                done.records += 1;
            }
        }
    }

    /// Reads what [`export`](Self::export) wrote, replacing records of the same kind and id and
    /// keeping others; acknowledged when it returns. On an error the lines before it may be in the
    /// store; importing the whole file afterwards puts that right.
    pub fn import(&self, mut from: impl BufRead) -> Result<Transferred> {
        let mut done = Transferred::default();
        let mut ended = false;
        let mut line = 0;
        while let Some(text) = read_line(&mut from, line + 1)? {
            line += 1;
            let wrong = |problem| Error::Import { line, problem };
            if ended {
                return Err(wrong("stands behind the end of the export"));
            }
            // serde_json's own words would quote the line.
            let parsed =
                serde_json::from_slice(&text).map_err(|_| wrong("is no line of an export"))?;
            match parsed {
                Line::Header { store, format } => check_header(line, &store, format)?,
                _ if line == 1 => return Err(wrong("is not the header of an export")),
                Line::Record { kind, id, revision, fields } => {
                    self.import_record(line, &kind, &id, revision, &fields)?;
                    done.records += 1;
                }
                Line::Blob { blob, content } => {
                    let content = STANDARD.decode(content).map_err(|_| wrong("is not base64"))?;
                    if BlobId::of(&content) != blob {
                        return Err(wrong("holds a blob that doesn't match its hash"));
                    }
                    self.blobs().put(&content)?;
                    done.blobs += 1;
                }
                Line::End { end } if end == done => ended = true,
                Line::End { .. } => return Err(wrong("counts other records than came before it")),
            }
        }
        if !ended {
            return Err(Error::Import {
                line: line + 1,
                problem: "should be there: the export is cut short",
            });
        }
        self.flush()?;
        Ok(done)
    }

    fn import_record(
        &self,
        line: u64,
        kind: &str,
        id: &str,
        revision: u16,
        fields: &Value,
    ) -> Result<()> {
        let wrong = |problem| Error::Import { line, problem };
        if !is_kind(kind) || is_reserved(kind) {
            return Err(wrong("names a kind that no record has"));
        }
        let id = hex::decode(id).ok_or_else(|| wrong("has an id that is not hexadecimal"))?;
        let payload = serde_json::to_vec(fields).map_err(|_| wrong("can't be encoded"))?;
        let value = envelope::wrap(kind, &id, revision, &payload, self.inner.seal.as_ref());
        self.inner.apply(vec![backend::Write::Put { key: RecordKey::bytes(kind, &id), value }])
    }
}

fn check_header(line: u64, store: &str, format: u32) -> Result<()> {
    let problem = match (line, store, format) {
        (1, NAME, FORMAT) => return Ok(()),
        (1, NAME, _) => "is the header of a newer program's export",
        (1, ..) => "is the header of another program's export",
        _ => "is a second header",
    };
    Err(Error::Import { line, problem })
}

fn write_line(to: &mut impl Write, line: &Line) -> Result<()> {
    serde_json::to_writer(&mut *to, line)
        .map_err(io::Error::from)
        .and_then(|()| to.write_all(b"\n"))
        .map_err(|source| Error::Stream { action: "write the export", source })
}

fn read_line(from: &mut impl BufRead, line: u64) -> Result<Option<Vec<u8>>> {
    let mut text = Vec::new();
    from.take(LINE_BYTES_MAX)
        .read_until(b'\n', &mut text)
        .map_err(|source| Error::Stream { action: "read the import", source })?;
    if text.len() as u64 == LINE_BYTES_MAX {
        return Err(Error::Import { line, problem: "is longer than any line of an export" });
    }
    Ok((!text.is_empty()).then_some(text))
}
