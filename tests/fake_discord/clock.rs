//! Time in the fake world: the wall clock plus what a test has let pass.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serenity::model::Timestamp;

/// Milliseconds between the Unix epoch and the first second of 2015, where snowflakes begin.
const DISCORD_EPOCH_MS: u64 = 1_420_070_400_000;

/// A Discord id: 42 bits of milliseconds since 2015, the rest a counter. A string in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snowflake(pub u64);

impl Snowflake {
    /// The moment at which the id was made.
    pub fn created(self) -> Moment {
        Moment((self.0 >> 22) + DISCORD_EPOCH_MS)
    }
}

impl fmt::Display for Snowflake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Snowflake {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl Serialize for Snowflake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A moment in milliseconds since the Unix epoch. An ISO 8601 string in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// Whole seconds since the Unix epoch.
    pub fn unix_s(self) -> u64 {
        self.0 / 1000
    }

    /// How long before `later` this moment was; zero when it was not.
    pub fn until(self, later: Self) -> Duration {
        Duration::from_millis(later.0.saturating_sub(self.0))
    }

    /// The moment `by` later.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0 + by.as_millis() as u64)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let timestamp =
            Timestamp::from_millis(self.0 as i64).expect("test clocks stay within the calendar");
        serializer.collect_str(&timestamp)
    }
}

/// The clock of a world, which also numbers what is made.
#[derive(Debug, Default)]
pub struct Clock {
    ahead: Duration,
    last: u64,
}

impl Clock {
    /// The present moment of this world.
    pub fn now(&self) -> Moment {
        let since_epoch =
            SystemTime::now().duration_since(UNIX_EPOCH).expect("the machine's clock is past 1970");
        Moment((since_epoch + self.ahead).as_millis() as u64)
    }

    /// Lets `by` pass at once.
    pub fn advance(&mut self, by: Duration) {
        self.ahead += by;
    }

    /// A new id, larger than each one before it.
    pub fn next_id(&mut self) -> Snowflake {
        let floor = (self.now().0 - DISCORD_EPOCH_MS) << 22;
        self.last = floor.max(self.last + 1);
        Snowflake(self.last)
    }
}
