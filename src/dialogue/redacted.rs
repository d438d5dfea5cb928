//! What debug output shows instead of words.

use std::fmt;

/// Stands in debug output for what somebody typed or the model wrote: neither ever reaches a log.
pub struct Redacted;

impl fmt::Debug for Redacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}
