//! What goes wrong in this world, on demand.

use std::time::Duration;

use serde_json::{Value, json};

use super::recording::Method;

/// What happens to a request instead of its answer.
#[derive(Clone, Debug, PartialEq)]
pub enum RestFault {
    /// 429 for the route's bucket, to come again after so long.
    RateLimited(Duration),
    /// 429 for the whole bot.
    RateLimitedGlobally(Duration),
    /// A status of 500 or more.
    ServerError(u16),
    /// An answer with this status and Discord's JSON code.
    Refused(u16, u32, &'static str),
    /// The answer comes so much later; what was asked is done first.
    Stalled(Duration),
    /// The connection breaks before anything was done.
    DroppedBefore,
    /// What was asked is done, then the connection breaks without an answer.
    DroppedAfter,
}

impl RestFault {
    /// The body of an answer that this fault gives at once, with its status.
    pub fn answer(&self) -> Option<(u16, Value)> {
        let limited = |after: &Duration, global: bool| {
            json!({
                "message": "You are being rate limited.",
                "retry_after": after.as_secs_f64(),
                "global": global,
                "code": 0,
            })
        };
        match self {
            Self::RateLimited(after) => Some((429, limited(after, false))),
            Self::RateLimitedGlobally(after) => Some((429, limited(after, true))),
            Self::ServerError(status) => {
                Some((*status, json!({ "message": "Internal Server Error", "code": 0 })))
            }
            Self::Refused(status, code, message) => {
                Some((*status, json!({ "message": message, "code": code })))
            }
            Self::Stalled(_) | Self::DroppedBefore | Self::DroppedAfter => None,
        }
    }
}

/// What happens to a download.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadFault {
    /// Headers and the first half come, and then nothing more.
    Stalled,
    /// The connection breaks after the first half.
    Truncated,
    /// A status of 500 or more.
    ServerError(u16),
}

/// What does not come from the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Heartbeats {
    #[default]
    Acknowledged,
    Ignored,
}

#[derive(Debug)]
struct Planned<T> {
    route: Option<(Method, String)>,
    times: usize,
    fault: T,
}

/// The faults still to come.
#[derive(Debug, Default)]
pub struct Faults {
    rest: Vec<Planned<RestFault>>,
    downloads: Vec<Planned<DownloadFault>>,
    pub heartbeats: Heartbeats,
    /// How many connections to the gateway are refused.
    pub refused_connections: usize,
    /// How many resumes are answered with an invalid session.
    pub refused_resumes: usize,
}

impl Faults {
    /// The next `times` requests on `route` (`"POST /channels/{channel_id}/messages"`, or `"*"`).
    pub fn plan(&mut self, route: &str, times: usize, fault: RestFault) {
        let route = (route != "*").then(|| {
            let (method, template) =
                route.split_once(' ').expect("a route is a method, a space and a template");
            (method.parse().expect("a known method"), template.to_owned())
        });
        self.rest.push(Planned { route, times, fault });
    }

    pub fn plan_download(&mut self, times: usize, fault: DownloadFault) {
        self.downloads.push(Planned { route: None, times, fault });
    }

    /// The fault that meets this request, if any.
    pub fn next(&mut self, method: Method, template: &str) -> Option<RestFault> {
        let at = self.rest.iter().position(|planned| match &planned.route {
            None => true,
            Some((m, t)) => *m == method && t == template,
        })?;
        Some(taken(&mut self.rest, at))
    }

    /// The fault that meets this download, if any.
    pub fn next_download(&mut self) -> Option<DownloadFault> {
        (!self.downloads.is_empty()).then(|| taken(&mut self.downloads, 0))
    }

    /// Forgets what was planned.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

fn taken<T: Clone>(planned: &mut Vec<Planned<T>>, at: usize) -> T {
    let fault = planned[at].fault.clone();
    planned[at].times = planned[at].times.saturating_sub(1);
    if planned[at].times == 0 {
        planned.remove(at);
    }
    fault
}
