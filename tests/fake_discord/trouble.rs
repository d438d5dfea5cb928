//! What a test can let go wrong.

use std::time::Duration;

use super::World;
use super::faults::{DownloadFault, Heartbeats, RestFault};
use super::gateway::Frame;

/// The world's faults, by [`World::faults`]. Routes are written as in
/// `POST /channels/{channel_id}/messages`; `*` is any.
pub struct Trouble<'world>(&'world World);

impl World {
    pub fn faults(&self) -> Trouble<'_> {
        Trouble(self)
    }
}

impl Trouble<'_> {
    fn every_session(&self, act: impl Fn(&mut super::gateway::Session)) {
        self.0.change(|state| state.sessions.iter_mut().for_each(act));
    }

    /// Breaks every gateway connection without a word. The sessions can be resumed.
    pub fn drop_gateway(&self) {
        self.every_session(|session| session.send(Frame::Drop));
    }

    /// Closes every gateway connection with a code.
    pub fn close_gateway(&self, code: u16) {
        self.every_session(|session| session.send(Frame::Close(code)));
    }

    /// Asks every client to connect again and resume (op 7).
    pub fn ask_reconnect(&self) {
        let payload = serde_json::json!({ "op": 7, "d": null }).to_string();
        self.every_session(|session| session.send(Frame::Payload(payload.clone())));
    }

    /// Tells every client that its session is invalid but may be resumed (op 9, true).
    pub fn invalidate_but_resumable(&self) {
        let payload = serde_json::json!({ "op": 9, "d": true }).to_string();
        self.every_session(|session| session.send(Frame::Payload(payload.clone())));
    }

    /// Forgets every session and says so (op 9, false).
    pub fn invalidate(&self) {
        let payload = serde_json::json!({ "op": 9, "d": false }).to_string();
        self.0.change(|state| {
            for session in &mut state.sessions {
                session.send(Frame::Payload(payload.clone()));
            }
            state.sessions.clear();
        });
    }

    /// The next resumes are answered with op 9, false.
    pub fn refuse_resumes(&self, times: usize) {
        self.0.change(|state| state.faults.refused_resumes = times);
    }

    /// The next gateway connections break at once.
    pub fn refuse_connections(&self, times: usize) {
        self.0.change(|state| state.faults.refused_connections = times);
    }

    /// Heartbeats are no longer acknowledged.
    pub fn ignore_heartbeats(&self) {
        self.0.change(|state| state.faults.heartbeats = Heartbeats::Ignored);
    }

    /// The next `times` requests on `route` get 429, to come again `after`.
    pub fn rate_limit(&self, route: &str, times: usize, after: Duration) {
        self.plan(route, times, RestFault::RateLimited(after));
    }

    /// The next `times` requests get 429 for the whole bot.
    pub fn rate_limit_globally(&self, times: usize, after: Duration) {
        self.plan("*", times, RestFault::RateLimitedGlobally(after));
    }

    /// Lets only so many requests through on `route` in each window, from now on.
    pub fn limit_bucket(&self, route: &str, requests_max: usize, window: Duration) {
        self.0.change(|state| state.buckets.limit(route, requests_max, window));
    }

    /// The next `times` requests on `route` get a server error.
    pub fn server_error(&self, route: &str, times: usize, status: u16) {
        self.plan(route, times, RestFault::ServerError(status));
    }

    /// The next `times` requests on `route` meet any fault.
    pub fn plan(&self, route: &str, times: usize, fault: RestFault) {
        self.0.change(|state| state.faults.plan(route, times, fault));
    }

    /// The next `times` downloads meet a fault.
    pub fn downloads(&self, times: usize, fault: DownloadFault) {
        self.0.change(|state| state.faults.plan_download(times, fault));
    }

    /// All is well again.
    pub fn end(&self) {
        self.0.change(|state| state.faults.clear());
    }
}
