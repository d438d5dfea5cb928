//! Rate limits (topics/Rate Limits): the headers of every answer, and buckets that a test may make
//! small.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;

use super::super::error::ApiError;
use super::super::faults::RestFault;
use super::super::recording::Method;
use super::Call;

/// The limits of every route, and how much of them is used.
#[derive(Debug, Default)]
pub struct Buckets {
    limits: BTreeMap<(Method, &'static str), Limit>,
    wanted: Vec<(String, usize, Duration)>,
}

#[derive(Debug)]
struct Limit {
    requests_max: usize,
    window: Duration,
    /// By the path's first id, the major parameter.
    used: BTreeMap<String, (Instant, usize)>,
    last: String,
}

impl Buckets {
    /// Lets at most `requests_max` requests through on `route` in each `window`, for each channel
    /// or guild; the others get 429 with the time left.
    pub fn limit(&mut self, route: &str, requests_max: usize, window: Duration) {
        self.wanted.push((route.to_owned(), requests_max, window));
        self.limits.retain(|(method, template), _| format!("{method} {template}") != route);
    }

    /// Counts a call, or refuses it.
    pub fn take(&mut self, method: Method, call: &Call) -> Result<(), ApiError> {
        let name = format!("{method} {}", call.template);
        let (requests_max, window) = self
            .wanted
            .iter()
            .rfind(|(route, ..)| *route == name)
            .map_or((1000, Duration::from_secs(1)), |(_, max, window)| (*max, *window));
        let limit = self.limits.entry((method, call.template)).or_insert_with(|| Limit {
            requests_max,
            window,
            used: BTreeMap::new(),
            last: String::new(),
        });
        call.path.split('/').nth(2).unwrap_or_default().clone_into(&mut limit.last);
        let (since, used) =
            limit.used.entry(limit.last.clone()).or_insert_with(|| (Instant::now(), 0));
        if since.elapsed() >= window {
            (*since, *used) = (Instant::now(), 0);
        }
        *used += 1;
        if *used <= requests_max {
            return Ok(());
        }
        let (status, body) = RestFault::RateLimited(window.saturating_sub(since.elapsed()))
            .answer()
            .expect("being limited is an answer");
        let status = StatusCode::from_u16(status).expect("429 is a status");
        Err(ApiError { status, body })
    }

    /// The headers that tell a client how much it may still ask.
    pub fn headers(
        &self,
        method: Method,
        template: &'static str,
        fault: Option<&RestFault>,
    ) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: String| {
            let value = HeaderValue::from_str(&value).expect("numbers and words are header text");
            headers.insert(HeaderName::from_static(name), value);
        };
        match fault {
            Some(RestFault::RateLimitedGlobally(_)) => {
                put("x-ratelimit-global", "true".into());
                put("x-ratelimit-scope", "global".into());
                return headers;
            }
            Some(RestFault::RateLimited(_)) => put("x-ratelimit-scope", "user".into()),
            _ => {}
        }
        let Some(limit) = self.limits.get(&(method, template)) else { return headers };
        let (since, used) = limit.used[&limit.last];
        let left = limit.window.saturating_sub(since.elapsed());
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + left;
        let name = blake3::hash(format!("{method} {template}").as_bytes()).to_hex();
        put("x-ratelimit-bucket", name[..32].to_owned());
        put("x-ratelimit-limit", limit.requests_max.to_string());
        put("x-ratelimit-remaining", limit.requests_max.saturating_sub(used).to_string());
        put("x-ratelimit-reset", format!("{:.3}", at.as_secs_f64()));
        put("x-ratelimit-reset-after", format!("{:.3}", left.as_secs_f64()));
        headers
    }
}

/// `Retry-After` in whole seconds, on a 429.
pub fn retry_header(body: &Value, status: StatusCode) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if status == StatusCode::TOO_MANY_REQUESTS
        && let Some(after_s) = body["retry_after"].as_f64()
    {
        headers.insert("retry-after", HeaderValue::from(after_s.ceil() as u64));
    }
    headers
}
