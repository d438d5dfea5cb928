//! One sync for everybody who waits.

use std::sync::{Condvar, Mutex, PoisonError};

#[derive(Default)]
struct State {
    started: u64,
    finished: u64,
    running: bool,
}

/// Joins concurrent flushes: whoever asks while one runs waits for the next, which one of them
/// leads for all.
#[derive(Default)]
pub(crate) struct GroupCommit {
    state: Mutex<State>,
    changed: Condvar,
}

impl GroupCommit {
    /// Returns when a `flush` that began after this call has succeeded, be it this caller's or
    /// another's. A leader whose flush fails gets the error; those who waited for it try their own.
    pub(crate) fn run<E>(&self, flush: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = state.started + 1;
        while state.running {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            if state.finished >= wanted {
                return Ok(());
            }
        }
        state.running = true;
        state.started += 1;
        let mine = state.started;
        drop(state);

        let mut running = Running { group: self, finished: None };
        flush()?;
        running.finished = Some(mine);
        Ok(())
    }
}

/// Ends a flush, also when it panics.
struct Running<'a> {
    group: &'a GroupCommit,
    finished: Option<u64>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.group.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = false;
        state.finished = self.finished.unwrap_or(state.finished);
        self.group.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::thread;
    use std::time::Duration;

    use super::GroupCommit;

    #[test]
    fn every_caller_is_covered_by_a_flush_that_began_after_it_called() {
        let group = GroupCommit::default();
        let (written, flushed, flushes) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let mine = written.fetch_add(1, SeqCst) + 1;
                        group
                            .run(|| {
                                let covered = written.load(SeqCst);
                                thread::sleep(Duration::from_micros(300));
                                flushed.fetch_max(covered, SeqCst);
                                flushes.fetch_add(1, SeqCst);
                                Ok::<(), ()>(())
                            })
                            .expect("this flush can't fail");
                        assert!(flushed.load(SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(flushes.load(SeqCst) < 320 / 2, "callers share flushes");
    }

    #[test]
    fn a_failed_flush_acknowledges_nobody() {
        let group = GroupCommit::default();
        assert_eq!(group.run(|| Err("full")), Err("full"));
        let mut ran = false;
        assert_eq!(
            group.run(|| {
                ran = true;
                Ok::<(), &str>(())
            }),
            Ok(())
        );
        assert!(ran);
    }
}
