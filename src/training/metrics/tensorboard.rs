//! TensorBoard's event files: records (length, masked CRC-32C of it, data, masked CRC-32C of that;
//! tensorflow/core/lib/io/record_writer.h) of protocol buffers (tensorflow/core/util/event.proto),
//! of which a scalar needs so little that it is written out here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Fields of `Event`.
const WALL_TIME: u64 = 1;
const STEP: u64 = 2;
const FILE_VERSION: u64 = 3;
const SUMMARY: u64 = 5;
const SESSION_LOG: u64 = 7;
/// Fields of `Summary` and `Summary.Value`.
const VALUE: u64 = 1;
const TAG: u64 = 1;
const SIMPLE_VALUE: u64 = 2;
/// Field of `SessionLog`, and its value for a run that begins or goes on.
const STATUS: u64 = 1;
const START: u64 = 1;

/// One event file; a run that goes on begins a new one, which TensorBoard reads behind the others.
pub(super) struct EventFile(File);

impl EventFile {
    /// A new file in `folder`, which is made, of a run that has made `steps` steps. TensorBoard
    /// then forgets what earlier files hold of later steps.
    pub(super) fn create(folder: &Path, now: SystemTime, steps: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let name = |seconds: u64| folder.join(format!("events.out.tfevents.{seconds}.shutterbug"));
        let mut seconds = seconds(now) as u64;
        // TensorBoard reads files in the order of their names.
        while name(seconds).exists() {
            seconds += 1;
        }
        let mut file = OpenOptions::new().create_new(true).append(true).open(name(seconds))?;
        let mut version = Message::event(now, 0);
        version.bytes(FILE_VERSION, b"brain.Event:2");
        file.write_all(&record(&version.0))?;
        let mut session = Message::default();
        session.varint(STATUS, START);
        let mut start = Message::event(now, steps + 1);
        start.bytes(SESSION_LOG, &session.0);
        file.write_all(&record(&start.0))?;
        Ok(Self(file))
    }

    /// Writes the scalars of one step.
    pub(super) fn write<'a>(
        &mut self,
        now: SystemTime,
        step: u64,
        scalars: impl Iterator<Item = (&'a str, f64)>,
    ) -> io::Result<()> {
        let mut summary = Message::default();
        for (tag, scalar) in scalars {
            let mut value = Message::default();
            value.bytes(TAG, tag.as_bytes());
            value.float(SIMPLE_VALUE, scalar as f32);
            summary.bytes(VALUE, &value.0);
        }
        let mut event = Message::event(now, step);
        event.bytes(SUMMARY, &summary.0);
        self.0.write_all(&record(&event.0))
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// A protocol buffer being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn event(now: SystemTime, step: u64) -> Self {
        let mut event = Self::default();
        event.key(WALL_TIME, 1);
        event.0.extend(seconds(now).to_le_bytes());
        event.varint(STEP, step);
        event
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.base128(field << 3 | wire_type);
    }

    fn varint(&mut self, field: u64, value: u64) {
        self.key(field, 0);
        self.base128(value);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.base128(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn float(&mut self, field: u64, value: f32) {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
    }

    fn base128(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let sums = [&length, data].map(|bytes| masked(crc32c(bytes)).to_le_bytes());
    [&length, &sums[0][..], data, &sums[1]].concat()
}

/// A check sum that may stand among the data it is of.
fn masked(sum: u32) -> u32 {
    sum.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), bit by bit: a step has some hundred bytes.
fn crc32c(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x82f6_3b78;
    let sum = bytes.iter().fold(u32::MAX, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ POLYNOMIAL } else { sum >> 1 }
        })
    });
    !sum
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sums_are_those_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        // Of the length 24, as every file that begins with a version record has it.
        assert_eq!(masked(crc32c(&24_u64.to_le_bytes())), u32::from_le_bytes(*b"\xa3\x7f\x4b\x22"));
    }

    /// Put together by hand after event.proto.
    #[test]
    fn an_event_is_the_protocol_buffer_it_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let now = UNIX_EPOCH + Duration::from_secs_f64(1.5);
        let mut events = EventFile::create(folder.path(), now, 6).unwrap();
        events.write(now, 300, [("loss", 0.5)].into_iter()).unwrap();
        drop(events);
        let bytes = fs::read(folder.path().join("events.out.tfevents.1.shutterbug")).unwrap();
        let time = [0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f];
        let version = [&time[..], &[0x10, 0, 0x1a, 13], b"brain.Event:2"].concat();
        let start = [&time[..], &[0x10, 7, 0x3a, 2, 0x08, 1]].concat();
        let value = [&[0x0a, 4][..], b"loss", &[0x15, 0, 0, 0, 0x3f]].concat();
        let summary = [&time[..], &[0x10, 0xac, 0x02, 0x2a, 13, 0x0a, 11], &value].concat();
        assert_eq!(bytes, [record(&version), record(&start), record(&summary)].concat());
        let again = EventFile::create(folder.path(), now, 6).unwrap();
        drop(again);
        assert!(folder.path().join("events.out.tfevents.2.shutterbug").is_file());
    }
}
