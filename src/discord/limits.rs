//! How much Discord lets a bot ask (topics/Rate Limits), from what its answers say. The clock is an
//! argument.
//!
//! * Each route has a bucket for each channel or server, announced by `X-RateLimit-…` headers: a
//!   request that would find it empty waits until it is full again.
//! * All requests together stay below 50 a second, and wait where Discord limits the whole bot.
//! * Answers of 401, 403 and 429 are counted: 10,000 of them within ten minutes shut an address out.
//!   Long before that requests wait.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Requests a second that are let through; Discord takes 50.
const PER_SECOND_MAX: usize = 45;
/// Refused requests that are let through within [`REFUSED_WINDOW`]; Discord takes 10,000.
const REFUSED_MAX: usize = 2_000;
const REFUSED_WINDOW: Duration = Duration::from_secs(600);
/// Buckets that are remembered before those that are full again are forgotten.
const BUCKETS_MAX: usize = 1_000;

/// What is limited together: a method and route, and the channel or server in it.
pub(super) type Key = (&'static str, &'static str, u64);

/// How much of a bucket is left, and for how long.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Left {
    /// Requests that it takes in all.
    pub(super) limit: u32,
    /// Requests that it still takes.
    pub(super) remaining: u32,
    /// Until it is full again.
    pub(super) reset_after: Duration,
}

/// Whom a "too many requests" concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    /// This bot on this route.
    Route,
    /// Everybody on this route: Discord doesn't count it against the bot.
    Shared,
    /// This bot everywhere.
    Everywhere,
}

/// What an answer says about limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Told {
    /// HTTP status.
    pub(super) status: u16,
    /// The bucket, where Discord tells.
    pub(super) left: Option<Left>,
    /// With a status of 429: when to come again.
    pub(super) retry: Option<(Scope, Duration)>,
}

struct Bucket {
    limit: u32,
    remaining: u32,
    full_at: Instant,
    /// How long it takes to be full again.
    window: Duration,
}

/// What is known of all limits.
#[derive(Default)]
pub(super) struct Limits {
    buckets: HashMap<Key, Bucket>,
    /// Until when nothing may be asked.
    closed_until: Option<Instant>,
    /// When the requests of the last second were let through.
    recent: VecDeque<Instant>,
    /// When requests were refused.
    refused: VecDeque<Instant>,
}

impl Limits {
    /// Lets a request through, or says how long to wait before asking again.
    pub(super) fn take(&mut self, key: Key, now: Instant) -> Result<(), Duration> {
        let closed = self.closed_until.map(|until| until.saturating_duration_since(now));
        if let Some(wait) = closed.filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        forget_before(&mut self.refused, now, REFUSED_WINDOW);
        wait_for_room(&self.refused, REFUSED_MAX, now, REFUSED_WINDOW)?;
        forget_before(&mut self.recent, now, Duration::from_secs(1));
        wait_for_room(&self.recent, PER_SECOND_MAX, now, Duration::from_secs(1))?;
        if let Some(bucket) = self.buckets.get_mut(&key) {
            if now >= bucket.full_at {
                bucket.remaining = bucket.limit;
                bucket.full_at = now + bucket.window;
            }
            if bucket.remaining == 0 {
                return Err(bucket.full_at.saturating_duration_since(now));
            }
            bucket.remaining -= 1;
        }
        self.recent.push_back(now);
        Ok(())
    }

    /// Learns from an answer.
    pub(super) fn learn(&mut self, key: Key, told: &Told, now: Instant) {
        let scope = told.retry.map(|(scope, _)| scope);
        if matches!(told.status, 401 | 403 | 429) && scope != Some(Scope::Shared) {
            self.refused.push_back(now);
        }
        if let Some(left) = told.left {
            self.follow(key, left, now);
        }
        match told.retry {
            Some((Scope::Everywhere, after)) => self.closed_until = Some(now + after),
            Some((Scope::Route | Scope::Shared, after)) => {
                let bucket = self.buckets.entry(key).or_insert(Bucket {
                    limit: 1,
                    remaining: 0,
                    full_at: now,
                    window: Duration::ZERO,
                });
                bucket.remaining = 0;
                bucket.full_at = bucket.full_at.max(now + after);
            }
            None => {}
        }
    }

    fn follow(&mut self, key: Key, left: Left, now: Instant) {
        if self.buckets.len() >= BUCKETS_MAX {
            self.buckets.retain(|_, bucket| bucket.full_at > now);
        }
        let full_at = now + left.reset_after;
        let bucket = self.buckets.entry(key).or_insert(Bucket {
            limit: left.limit,
            remaining: left.remaining,
            full_at,
            window: left.reset_after,
        });
        bucket.limit = left.limit;
        // Answers overtake each other: of one window the smallest count is the newest.
        let same_window = full_at <= bucket.full_at + Duration::from_millis(100);
        bucket.remaining =
            if same_window { bucket.remaining.min(left.remaining) } else { left.remaining };
        bucket.full_at = bucket.full_at.max(full_at);
        bucket.window = bucket.window.max(left.reset_after);
    }

    /// Requests refused within the last ten minutes.
    pub(super) fn refused(&mut self, now: Instant) -> usize {
        forget_before(&mut self.refused, now, REFUSED_WINDOW);
        self.refused.len()
    }
}

fn forget_before(times: &mut VecDeque<Instant>, now: Instant, window: Duration) {
    while times.front().is_some_and(|time| now.saturating_duration_since(*time) >= window) {
        times.pop_front();
    }
}

fn wait_for_room(
    times: &VecDeque<Instant>,
    most: usize,
    now: Instant,
    window: Duration,
) -> Result<(), Duration> {
    match times.front() {
        Some(first) if times.len() >= most => Err((*first + window).saturating_duration_since(now)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND: Key = ("POST", "/channels/{channel_id}/messages", 1);
    const ELSEWHERE: Key = ("POST", "/channels/{channel_id}/messages", 2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn told(remaining: u32, reset_after_ms: u64) -> Told {
        let left = Left { limit: 5, remaining, reset_after: ms(reset_after_ms) };
        Told { status: 200, left: Some(left), retry: None }
    }

    fn refused(scope: Scope, after_ms: u64) -> Told {
        Told { status: 429, left: None, retry: Some((scope, ms(after_ms))) }
    }

    #[test]
    fn an_empty_bucket_is_not_asked_before_it_is_full_again_and_others_are() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        assert_eq!(limits.take(SEND, start), Ok(()));
        limits.learn(SEND, &told(1, 2000), start);
        assert_eq!(limits.take(SEND, start), Ok(()));
        assert_eq!(limits.take(SEND, start + ms(500)), Err(ms(1500)));
        assert_eq!(limits.take(ELSEWHERE, start + ms(500)), Ok(()));
        // Full again, it takes as many as it did.
        for _ in 0..5 {
            assert_eq!(limits.take(SEND, start + ms(2000)), Ok(()));
        }
        assert_eq!(limits.take(SEND, start + ms(2000)), Err(ms(2000)));
    }

    #[test]
    fn an_answer_that_was_overtaken_gives_nothing_back() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        limits.learn(SEND, &told(0, 2000), start);
        limits.learn(SEND, &told(1, 1990), start + ms(10));
        assert_eq!(limits.take(SEND, start + ms(20)), Err(ms(1980)));
        // A new window does.
        limits.learn(SEND, &told(4, 2000), start + ms(1000));
        assert_eq!(limits.take(SEND, start + ms(1000)), Ok(()));
    }

    #[test]
    fn a_refusal_closes_its_route_or_everything_for_as_long_as_it_says() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        limits.learn(SEND, &refused(Scope::Route, 700), start);
        assert_eq!(limits.take(SEND, start), Err(ms(700)));
        assert_eq!(limits.take(ELSEWHERE, start), Ok(()));
        assert_eq!(limits.take(SEND, start + ms(700)), Ok(()));

        limits.learn(SEND, &refused(Scope::Everywhere, 900), start + ms(1000));
        assert_eq!(limits.take(ELSEWHERE, start + ms(1000)), Err(ms(900)));
        assert_eq!(limits.take(ELSEWHERE, start + ms(1900)), Ok(()));
    }

    #[test]
    fn no_more_than_discord_takes_leave_in_a_second() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for channel in 0..PER_SECOND_MAX as u64 {
            assert_eq!(limits.take((SEND.0, SEND.1, channel), start + ms(channel)), Ok(()));
        }
        assert_eq!(limits.take(SEND, start + ms(100)), Err(ms(900)));
        assert_eq!(limits.take(SEND, start + ms(1000)), Ok(()));
    }

    #[test]
    fn refused_requests_are_counted_and_stop_everything_far_from_a_ban() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for _ in 0..REFUSED_MAX {
            limits.learn(SEND, &Told { status: 403, left: None, retry: None }, start);
        }
        limits.learn(SEND, &refused(Scope::Shared, 1), start);
        assert_eq!(limits.refused(start), REFUSED_MAX, "shared limits don't count");
        assert_eq!(limits.take(ELSEWHERE, start + ms(1000)), Err(ms(599_000)));
        assert_eq!(limits.take(ELSEWHERE, start + REFUSED_WINDOW), Ok(()));
    }

    #[test]
    fn buckets_that_are_full_again_are_forgotten() {
        let (mut limits, start) = (Limits::default(), Instant::now());
        for channel in 0..2 * BUCKETS_MAX as u64 {
            limits.learn((SEND.0, SEND.1, channel), &told(4, 1), start + ms(2 * channel));
        }
        assert!(limits.buckets.len() <= BUCKETS_MAX);
    }
}
