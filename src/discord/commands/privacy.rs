//! `/privacy`: what the bot keeps of what people write, why, and for how long.

use serde_json::{Value, json};

pub(super) const NAME: &str = "privacy";

pub(super) fn definition() -> Value {
    json!({
        "name": NAME,
        "description": "What I keep of what you write, why, and for how long",
        "contexts": [0, 1],
    })
}
