//! `/help`: what the bot does and which commands there are.

use serde_json::{Value, json};

pub(super) const NAME: &str = "help";

pub(super) fn definition() -> Value {
    json!({
        "name": NAME,
        "description": "What I do, and which commands there are",
        "contexts": [0, 1],
    })
}
