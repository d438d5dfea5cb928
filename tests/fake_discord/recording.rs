//! What was asked over REST and what was answered, for assertions and for the conformance check.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::str::FromStr;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::faults::RestFault;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    Get,
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete]
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| format!("no method {name}"))
    }
}

/// On what a request's sender means to rely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// It means what it asks.
    Client,
    /// It asks what may be wrong, to see the answer; it says so in the header `x-probe`.
    Probe,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    pub method: Method,
    /// The route, as `/channels/{channel_id}/messages`; the path itself where no route is known.
    pub template: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    /// The JSON body, or the `payload_json` of a multipart body.
    pub request: Value,
    /// The fields of a multipart body that carried files: `files[0]` and so on.
    pub files: Vec<String>,
    /// `None` when the connection broke instead of an answer.
    pub status: Option<u16>,
    pub answer: Value,
    /// The fault that a test put in the way.
    pub fault: Option<RestFault>,
    pub sender: Sender,
}

impl Exchange {
    /// Whether this was a request on `route`, written as in
    /// [`Faults::plan`](super::faults::Faults::plan).
    pub fn is(&self, route: &str) -> bool {
        route == format!("{} {}", self.method, self.template)
    }

    /// The line of the conformance recording.
    fn json(&self) -> Value {
        json!({
            "method": self.method.name(),
            "path": self.path,
            "query": self.query,
            "request": self.request,
            "files": self.files,
            "status": self.status,
            "answer": self.answer,
            "injected": self.fault.as_ref().is_some_and(|fault| fault.answer().is_some()),
            "probe": self.sender == Sender::Probe,
        })
    }

    /// Appends the exchange to the file that `SHUTTERBUG_RECORD_REST` names, if it is set.
    pub fn append(&self) {
        static FILE: Mutex<()> = Mutex::new(());
        let Some(path) = std::env::var_os("SHUTTERBUG_RECORD_REST") else { return };
        let _one_at_a_time = FILE.lock().expect("no writer panics");
        let mut line = self.json().to_string();
        line.push('\n');
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("SHUTTERBUG_RECORD_REST names a file that can be written");
    }
}

/// One request for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    pub host: String,
    pub path: String,
    pub status: u16,
}
