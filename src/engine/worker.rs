//! The engine's thread and the handle to it.

use std::error::Error;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use super::queue::{FairQueue, Full, Origin, QueueLimits};
use super::{Event, Job, Outcome, Refusal, Work};
use crate::systems::{Progress, RespondError, System};
use crate::torch::libtorch_message;

struct Waiting {
    work: Work,
    events: mpsc::UnboundedSender<Event>,
    cancelled: Arc<AtomicBool>,
}

impl Waiting {
    /// Nobody is left who could read a refusal, so a send that fails is no error.
    fn say(&self, event: Event) {
        let _ = self.events.send(event);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.events.is_closed()
    }
}

struct State {
    queue: FairQueue<Waiting>,
    running: bool,
    stopping: bool,
}

impl State {
    /// Cancelled work gives its place away.
    fn drop_cancelled(&mut self) {
        self.queue.retain(|waiting| {
            let keep = !waiting.is_cancelled();
            if !keep {
                waiting.say(Event::Cancelled);
            }
            keep
        });
    }

    fn refusal(&self, full: &Full) -> Refusal {
        match full {
            Full::Queue => Refusal::QueueFull { waiting: self.queue.len() },
            Full::Person(waiting) => Refusal::PersonLimit { waiting: *waiting },
        }
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    /// The state; a panic elsewhere can't have left it half-changed, because nothing inside the
    /// lock can panic between two changes that belong together.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handle to the engine's thread. Clones share it; when the last one goes, the thread stops
/// after the job that runs.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    revision: String,
}

impl Engine {
    /// Starts the thread, makes the system on it and waits until that is done.
    pub fn start<E: Error + Send + 'static>(
        limits: QueueLimits,
        make: impl FnOnce() -> Result<Box<dyn System>, E> + Send + 'static,
    ) -> Result<Self, E> {
        let state = State { queue: FairQueue::new(limits), running: false, stopping: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (made, wait) = std::sync::mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("engine".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || match make() {
                    Ok(system) => {
                        let _ = made.send(Ok(system.revision().to_owned()));
                        run(&shared, system);
                    }
                    Err(error) => {
                        let _ = made.send(Err(error));
                    }
                }
            })
            .expect("the system can start one more thread");
        match wait.recv() {
            Ok(Ok(revision)) => {
                let thread = Mutex::new(Some(thread));
                Ok(Self { inner: Arc::new(Inner { shared, thread, revision }) })
            }
            Ok(Err(error)) => Err(error),
            Err(_) => std::panic::resume_unwind(
                thread.join().expect_err("a thread that sent nothing panicked"),
            ),
        }
    }

    /// Revision of the model that answers.
    pub fn revision(&self) -> &str {
        &self.inner.revision
    }

    /// Jobs that wait or run.
    pub fn load(&self) -> usize {
        let state = self.inner.shared.lock();
        state.queue.len() + usize::from(state.running)
    }

    /// Whether work from there would be taken now, so that nothing is made ready in vain.
    pub fn room(&self, origin: Origin) -> Result<(), Refusal> {
        let mut state = self.inner.shared.lock();
        state.drop_cancelled();
        if state.stopping {
            return Err(Refusal::Stopping);
        }
        state.queue.room(origin).map_err(|full| state.refusal(&full))
    }

    /// Puts work into the queue.
    pub fn submit(&self, origin: Origin, work: Work) -> Result<Job, Refusal> {
        let (events, receiver) = mpsc::unbounded_channel();
        let cancelled = Arc::new(AtomicBool::new(false));
        let job = Job { events: receiver, cancelled: Arc::clone(&cancelled) };
        let mut state = self.inner.shared.lock();
        if state.stopping {
            return Err(Refusal::Stopping);
        }
        state.drop_cancelled();
        let ahead = state.queue.len() + usize::from(state.running);
        let accepted = events.clone();
        let pushed = state.queue.push(origin, Waiting { work, events, cancelled });
        pushed.map_err(|full| state.refusal(&full))?;
        // Sent under the lock, so that it comes before anything the worker says.
        let _ = accepted.send(Event::Accepted { ahead });
        drop(state);
        self.inner.shared.changed.notify_one();
        Ok(job)
    }

    /// Takes no more work, cancels what waits, and returns when the job that runs is finished.
    pub fn stop(&self) {
        self.inner.stop();
    }
}

impl Inner {
    fn stop(&self) {
        let mut state = self.shared.lock();
        state.stopping = true;
        while let Some(waiting) = state.queue.pop() {
            waiting.say(Event::Cancelled);
        }
        drop(state);
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // Jobs run under catch_unwind: the thread itself does not panic.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(shared: &Shared, mut system: Box<dyn System>) {
    loop {
        let mut state = shared.lock();
        state.running = false;
        let waiting = loop {
            if let Some(waiting) = state.queue.pop() {
                break waiting;
            }
            if state.stopping {
                return;
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.running = true;
        drop(state);
        let event = if waiting.is_cancelled() {
            Event::Cancelled
        } else {
            perform(system.as_mut(), &waiting)
        };
        waiting.say(event);
    }
}

/// Runs one job; a panic ends the job, not the engine.
fn perform(system: &mut dyn System, waiting: &Waiting) -> Event {
    let mut watcher = |progress: Progress| {
        waiting.say(Event::Progress(progress));
        if waiting.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| match &waiting.work {
        Work::Reply(request) => system.respond(request, &mut watcher).map(Outcome::Reply),
        Work::Draw(request) => system.draw(request, &mut watcher).map(Outcome::Picture),
    }));
    match outcome {
        Ok(Ok(outcome)) => Event::Done(Box::new(outcome)),
        Ok(Err(RespondError::Cancelled)) => Event::Cancelled,
        Ok(Err(RespondError::Unanswerable(sentence))) => Event::Refused(sentence),
        Ok(Err(RespondError::Failed(source))) => {
            tracing::error!(error = source.as_ref(), "the model failed");
            Event::Failed
        }
        Err(panic) => {
            let libtorch = libtorch_message(panic.as_ref());
            tracing::error!(libtorch, "the model panicked");
            Event::Failed
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::dialogue::{Pixels, Reply};
    use crate::systems::{DrawRequest, Drawing, ReplyRequest};

    /// Waits for a permit before every diffusion step; its captions are its orders.
    struct Scripted {
        permits: Receiver<()>,
    }

    impl System for Scripted {
        fn revision(&self) -> &'static str {
            "scripted"
        }

        fn respond(
            &mut self,
            _: &ReplyRequest,
            _: &mut crate::systems::Watcher<'_>,
        ) -> Result<Reply, RespondError> {
            Err(RespondError::Unanswerable("I only draw.".to_owned()))
        }

        fn draw(
            &mut self,
            request: &DrawRequest,
            watcher: &mut crate::systems::Watcher<'_>,
        ) -> Result<Pixels, RespondError> {
            assert_ne!(request.caption, "panic", "as ordered");
            for step in 1..=request.drawing.steps {
                self.permits.recv().expect("the test holds the other end");
                let progress = Progress::Drawing { photo: 1, step, steps: request.drawing.steps };
                if watcher(progress).is_break() {
                    return Err(RespondError::Cancelled);
                }
            }
            Ok(Pixels { width: 1, height: 1, rgb: vec![request.seed as u8; 3] })
        }
    }

    fn scripted(limits: QueueLimits) -> (Engine, Sender<()>) {
        let (permit, permits) = channel();
        let make = move || Ok::<_, Infallible>(Box::new(Scripted { permits }) as Box<dyn System>);
        (Engine::start(limits, make).unwrap(), permit)
    }

    fn draw(caption: &str, steps: usize, seed: u64) -> Work {
        let drawing = Drawing { steps, guidance: 1.0, size: None, latents: None };
        Work::Draw(DrawRequest {
            caption: caption.to_owned(),
            drawing,
            seed,
            adapter: None,
            trace: None,
        })
    }

    fn origin(guild: u64, person: u64) -> Origin {
        Origin { guild: Some(guild), channel: 1, person }
    }

    fn done(seed: u8) -> Event {
        let pixels = Pixels { width: 1, height: 1, rgb: vec![seed; 3] };
        Event::Done(Box::new(Outcome::Picture(pixels)))
    }

    #[test]
    fn a_job_tells_its_place_its_steps_and_its_end() {
        let (engine, permit) = scripted(QueueLimits::default());
        let job = engine.submit(origin(1, 1), draw("a cat", 2, 7)).unwrap();
        permit.send(()).unwrap();
        permit.send(()).unwrap();
        let mut events = Vec::new();
        let last = job.wait(|event| events.push(event));
        assert_eq!(last, done(7));
        let step = |step| Event::Progress(Progress::Drawing { photo: 1, step, steps: 2 });
        assert_eq!(events, [Event::Accepted { ahead: 0 }, step(1), step(2)]);
    }

    #[test]
    fn a_panic_and_a_refusal_end_the_job_and_not_the_engine() {
        let (engine, permit) = scripted(QueueLimits::default());
        let job = engine.submit(origin(1, 1), draw("panic", 1, 0)).unwrap();
        assert_eq!(job.wait(drop), Event::Failed);
        let request = ReplyRequest {
            dialogue: crate::dialogue::Dialogue::default(),
            system_text: None,
            photos: crate::systems::PhotoSharing::On,
            decoding: crate::systems::Decoding::Greedy,
            share_bias: 0.0,
            new_tokens_max: 1,
            drawing: Drawing { steps: 1, guidance: 1.0, size: None, latents: None },
            seed: 0,
            adapter: None,
            trace: None,
        };
        let job = engine.submit(origin(1, 1), Work::Reply(request)).unwrap();
        assert_eq!(job.wait(drop), Event::Refused("I only draw.".to_owned()));
        permit.send(()).unwrap();
        let job = engine.submit(origin(1, 1), draw("a cat", 1, 9)).unwrap();
        assert_eq!(job.wait(drop), done(9));
    }

    #[test]
    fn cancelling_stops_a_running_job_at_its_next_step_and_a_waiting_one_at_once() {
        let (engine, permit) = scripted(QueueLimits::default());
        let mut running = engine.submit(origin(1, 1), draw("long", 1000, 0)).unwrap();
        permit.send(()).unwrap();
        while running.events.blocking_recv() != Some(step_of_1000(1)) {}
        let waiting = engine.submit(origin(1, 2), draw("never", 1000, 0)).unwrap();
        waiting.cancel();
        running.cancel();
        permit.send(()).unwrap();
        let mut last = None;
        while let Some(event) = running.events.blocking_recv() {
            last = Some(event);
        }
        assert_eq!(last, Some(Event::Cancelled));
        assert_eq!(waiting.wait(drop), Event::Cancelled);
    }

    fn step_of_1000(step: usize) -> Event {
        Event::Progress(Progress::Drawing { photo: 1, step, steps: 1000 })
    }

    #[test]
    fn a_full_queue_says_so_and_a_cancelled_job_gives_its_place_away() {
        let limits = QueueLimits { waiting_max: 2, waiting_per_person_max: 1 };
        let (engine, permit) = scripted(limits);
        let mut running = engine.submit(origin(1, 1), draw("first", 1, 1)).unwrap();
        // Until it runs it would count as waiting.
        while engine.inner.shared.lock().queue.len() > 0 {
            thread::yield_now();
        }
        let second = engine.submit(origin(1, 1), draw("second", 1, 2)).unwrap();
        let error = engine.submit(origin(1, 1), draw("third", 1, 3)).unwrap_err();
        assert_eq!(error, Refusal::PersonLimit { waiting: 1 });
        let fourth = engine.submit(origin(1, 4), draw("fourth", 1, 4)).unwrap();
        let error = engine.submit(origin(1, 5), draw("fifth", 1, 5)).unwrap_err();
        assert_eq!(error, Refusal::QueueFull { waiting: 2 });
        drop(second);
        let fifth = engine.submit(origin(1, 5), draw("fifth", 1, 5)).unwrap();
        for _ in 0..3 {
            permit.send(()).unwrap();
        }
        assert_eq!(running.events.blocking_recv(), Some(Event::Accepted { ahead: 0 }));
        assert_eq!(fourth.wait(drop), done(4));
        assert_eq!(fifth.wait(drop), done(5));
    }

    #[test]
    fn stopping_finishes_what_runs_and_cancels_what_waits() {
        let (engine, permit) = scripted(QueueLimits::default());
        let mut running = engine.submit(origin(1, 1), draw("first", 1, 1)).unwrap();
        while engine.inner.shared.lock().queue.len() > 0 {
            thread::yield_now();
        }
        let waiting = engine.submit(origin(1, 2), draw("second", 1, 2)).unwrap();
        let stopper = thread::spawn({
            let engine = engine.clone();
            move || engine.stop()
        });
        assert_eq!(waiting.wait(drop), Event::Cancelled);
        assert_eq!(engine.submit(origin(1, 3), draw("x", 1, 3)).unwrap_err(), Refusal::Stopping);
        permit.send(()).unwrap();
        stopper.join().unwrap();
        let mut last = None;
        while let Some(event) = running.events.blocking_recv() {
            last = Some(event);
        }
        assert_eq!(last, Some(done(1)));
    }

    #[test]
    fn a_system_that_can_t_be_made_is_the_caller_s_error() {
        let made = Engine::start(QueueLimits::default(), || Err(std::io::Error::other("no model")));
        assert_eq!(made.err().unwrap().to_string(), "no model");
    }
}
