//! The bounded queue, fair between guilds, then channels, then people.

use std::collections::VecDeque;

/// Where a job comes from: what fairness is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Server; `None` for direct messages and local doors.
    pub guild: Option<u64>,
    /// Channel or thread.
    pub channel: u64,
    /// Person.
    pub person: u64,
}

/// How much may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Jobs of everybody together.
    pub waiting_max: usize,
    /// Jobs of one person in one channel.
    pub waiting_per_person_max: usize,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { waiting_max: 64, waiting_per_person_max: 3 }
    }
}

/// Things that take turns: who was served last comes last.
struct Rotation<K, V>(VecDeque<(K, V)>);

impl<K, V> Default for Rotation<K, V> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: PartialEq, V> Rotation<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.0.iter().find(|(have, _)| have == key).map(|(_, lane)| lane)
    }
}

impl<K: PartialEq, V: Lane + Default> Rotation<K, V> {
    fn entry(&mut self, key: K) -> &mut V {
        let place = self.0.iter().position(|(have, _)| *have == key).unwrap_or_else(|| {
            self.0.push_back((key, V::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }
}

/// One level of the queue.
trait Lane {
    type Item;
    fn pop(&mut self) -> Option<Self::Item>;
    fn is_empty(&self) -> bool;
    fn retain(&mut self, keep: &mut dyn FnMut(&Self::Item) -> bool);
}

impl<T> Lane for VecDeque<T> {
    type Item = T;

    fn pop(&mut self) -> Option<T> {
        self.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.is_empty()
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&T) -> bool) {
        self.retain(keep);
    }
}

impl<K, V: Lane> Lane for Rotation<K, V> {
    type Item = V::Item;

    fn pop(&mut self) -> Option<V::Item> {
        let (key, mut lane) = self.0.pop_front()?;
        let item = lane.pop();
        if !lane.is_empty() {
            self.0.push_back((key, lane));
        }
        item
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&V::Item) -> bool) {
        self.0.retain_mut(|(_, lane)| {
            lane.retain(keep);
            !lane.is_empty()
        });
    }
}

type People<T> = Rotation<u64, VecDeque<T>>;
type Channels<T> = Rotation<u64, People<T>>;

/// Why `push` gave the item back.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// Everybody's limit.
    Queue,
    /// This person's limit; so many of theirs wait.
    Person(usize),
}

pub(super) struct FairQueue<T> {
    guilds: Rotation<Option<u64>, Channels<T>>,
    limits: QueueLimits,
    len: usize,
}

impl<T> FairQueue<T> {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self { guilds: Rotation::default(), limits, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether one more would be taken.
    pub(super) fn room(&self, origin: Origin) -> Result<(), Full> {
        if self.len >= self.limits.waiting_max {
            return Err(Full::Queue);
        }
        let channels = self.guilds.get(&origin.guild);
        let people = channels.and_then(|channels| channels.get(&origin.channel));
        let waiting = people.and_then(|people| people.get(&origin.person)).map_or(0, VecDeque::len);
        if waiting >= self.limits.waiting_per_person_max {
            return Err(Full::Person(waiting));
        }
        Ok(())
    }

    pub(super) fn push(&mut self, origin: Origin, item: T) -> Result<(), Full> {
        self.room(origin)?;
        let people = self.guilds.entry(origin.guild).entry(origin.channel);
        people.entry(origin.person).push_back(item);
        self.len += 1;
        Ok(())
    }

    /// The next job: of the guild whose turn it is, there of the channel, there of the person.
    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.guilds.pop();
        self.len -= usize::from(item.is_some());
        item
    }

    pub(super) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let mut kept = 0;
        self.guilds.retain(&mut |item| {
            let keep = keep(item);
            kept += usize::from(keep);
            keep
        });
        self.len = kept;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn origin(guild: u64, channel: u64, person: u64) -> Origin {
        Origin { guild: Some(guild), channel, person }
    }

    fn queue(waiting_max: usize, waiting_per_person_max: usize) -> FairQueue<&'static str> {
        FairQueue::new(QueueLimits { waiting_max, waiting_per_person_max })
    }

    fn drain<T>(queue: &mut FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_busy_guild_channel_or_person_does_not_starve_the_others() {
        let mut queue = queue(64, 64);
        for (from, item) in [
            (origin(1, 1, 1), "ann 1"),
            (origin(1, 1, 1), "ann 2"),
            (origin(1, 1, 1), "ann 3"),
            (origin(1, 1, 2), "bob 1"),
            (origin(1, 2, 1), "ann elsewhere"),
            (origin(2, 9, 9), "other guild"),
        ] {
            queue.push(from, item).unwrap();
        }
        let order = ["ann 1", "other guild", "ann elsewhere", "bob 1", "ann 2", "ann 3"];
        assert_eq!(drain(&mut queue), order);
    }

    #[test]
    fn both_limits_hold_and_leave_no_trace() {
        let mut queue = queue(3, 2);
        queue.push(origin(1, 1, 1), "a").unwrap();
        queue.push(origin(1, 1, 1), "b").unwrap();
        assert_eq!(queue.room(origin(1, 1, 1)), Err(Full::Person(2)));
        assert_eq!(queue.push(origin(1, 1, 1), "c"), Err(Full::Person(2)));
        assert_eq!(queue.room(origin(1, 1, 2)), Ok(()));
        queue.push(origin(1, 1, 2), "d").unwrap();
        assert_eq!(queue.push(origin(5, 5, 5), "e"), Err(Full::Queue));
        assert_eq!(drain(&mut queue), ["a", "d", "b"]);
        assert_eq!(queue.len(), 0);
    }

    proptest! {
        /// Nothing is lost or made up, one person's jobs keep their order, and nobody waits longer
        /// than one round of the other guilds for a first turn.
        #[test]
        fn order_within_a_person_and_fairness_between_guilds(
            jobs in prop::collection::vec((0u64..4, 0u64..3, 0u64..3), 0..60),
            drop_every in 2usize..7,
        ) {
            let mut queue = FairQueue::new(QueueLimits { waiting_max: 1000, waiting_per_person_max: 1000 });
            for (index, &(guild, channel, person)) in jobs.iter().enumerate() {
                queue.push(origin(guild, channel, person), (guild, channel, person, index)).unwrap();
            }
            queue.retain(|job| job.3 % drop_every != 0);
            let expected = (0..jobs.len()).filter(|index| index % drop_every != 0).count();
            prop_assert_eq!(queue.len(), expected);
            let order = drain(&mut queue);
            prop_assert_eq!(order.len(), expected);
            for (at, job) in order.iter().enumerate() {
                for later in &order[at + 1..] {
                    let same = (job.0, job.1, job.2) == (later.0, later.1, later.2);
                    prop_assert!(!same || job.3 < later.3);
                }
            }
            let guilds: std::collections::HashSet<_> = order.iter().map(|job| job.0).collect();
            let first_round: std::collections::HashSet<_> =
                order.iter().take(guilds.len()).map(|job| job.0).collect();
            prop_assert_eq!(guilds, first_round);
        }
    }
}
