//! The model directory's chat template, rendered around slots: what people said never passes
//! through it, so that nothing they typed can look like the template's own control tokens.

use std::path::Path;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde_json::Value as Json;

use super::error::PromptLoadError;
use super::files::{read_json, read_text, special_token};
use super::llama_tokenizer::IMAGE;

/// Private-use characters around a slot's number.
const SLOT_BEGIN: char = '\u{F8FE}';
const SLOT_END: char = '\u{F8FF}';

/// Who speaks, as templates name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A piece of a message, and of what the template makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that is filled in afterwards.
    Slot(usize),
    /// A photo.
    Image,
}

/// A message as the template sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) role: Role,
    pub(super) parts: Vec<Part>,
}

/// Whether the prompt asks for a reply or ends with the last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// A's header follows, for A to go on.
    ReplyOpened,
    /// Nothing follows: the dialogue is complete, as in training.
    Complete,
}

/// A piece of the rendered template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fragment {
    /// The template's own text, control tokens and `<|image|>` included.
    Own(String),
    /// The slot of that number.
    Slot(usize),
}

/// How the contents of messages are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contents {
    /// A list of typed parts, as vision models' templates take it.
    Parts,
    /// One string, for templates that know nothing else.
    Text,
}

/// A parsed chat template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    begin: String,
    end: String,
}

impl ChatTemplate {
    /// Reads `chat_template.jinja`, `chat_template.json` or `tokenizer_config.json`, whichever
    /// comes first and has one.
    pub(super) fn load(directory: &Path) -> Result<Self, PromptLoadError> {
        let mut found = None;
        let jinja = directory.join("chat_template.jinja");
        if let Some(source) = read_text(&jinja)? {
            found = Some((jinja, source));
        }
        for file in ["chat_template.json", "tokenizer_config.json"] {
            let path = directory.join(file);
            if found.is_none()
                && let Some(json) = read_json::<Json>(&path)?
                && let Some(source) = template_of(&json["chat_template"])
            {
                found = Some((path, source.to_owned()));
            }
        }
        let Some((path, source)) = found else {
            return Err(PromptLoadError::Unusable {
                path: directory.to_owned(),
                reason: "there is no chat template: chat_template.jinja, or a chat_template in \
                         chat_template.json or tokenizer_config.json"
                    .to_owned(),
            });
        };
        let mut environment = Environment::new();
        // As transformers sets Jinja up.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the delimiters are the usual ones"));
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", refuse);
        environment
            .add_template_owned("chat", source)
            .map_err(|source| PromptLoadError::Template { path, source })?;
        let token = |name| Ok(special_token(directory, name)?.unwrap_or_default());
        Ok(Self { environment, begin: token("bos_token")?, end: token("eos_token")? })
    }

    /// Renders messages. The answer is `None` where the template drops, repeats or moves a part.
    ///
    /// There is no clock: `strftime_now` is not defined, and templates that print a date fall back
    /// to their own, so that the same dialogue always makes the same prompt.
    pub(super) fn render(
        &self,
        messages: &[Message],
        contents: Contents,
        closing: Closing,
    ) -> Result<Option<Vec<Fragment>>, Error> {
        let wanted = messages.iter().flat_map(|message| &message.parts);
        let fragments = self.render_all(messages, contents, closing)?;
        Ok(parts(&fragments).iter().eq(wanted).then_some(fragments))
    }

    fn render_all(
        &self,
        messages: &[Message],
        contents: Contents,
        closing: Closing,
    ) -> Result<Vec<Fragment>, Error> {
        let messages: Vec<Value> = messages
            .iter()
            .map(|message| {
                let content = match contents {
                    Contents::Parts => message.parts.iter().map(typed_part).collect(),
                    Contents::Text => {
                        Value::from(message.parts.iter().map(text).collect::<String>())
                    }
                };
                context! { role => message.role.name(), content }
            })
            .collect();
        let rendered = self.environment.get_template("chat")?.render(context! {
            messages,
            add_generation_prompt => closing == Closing::ReplyOpened,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
            tools => (),
            documents => (),
        })?;
        Ok(fragments(&rendered))
    }
}

/// A template may stand alone or in a list of named ones, of which `default` counts.
fn template_of(json: &Json) -> Option<&str> {
    json.as_str().or_else(|| {
        let named = json.as_array()?.iter().find(|entry| entry["name"] == "default")?;
        named["template"].as_str()
    })
}

fn refuse(reason: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, reason))
}

fn text(part: &Part) -> String {
    match part {
        Part::Slot(number) => format!("{SLOT_BEGIN}{number}{SLOT_END}"),
        Part::Image => IMAGE.to_owned(),
    }
}

fn typed_part(part: &Part) -> Value {
    match part {
        Part::Slot(_) => context! { type => "text", text => text(part) },
        Part::Image => context! { type => "image" },
    }
}

/// Cuts rendered text at its slots.
fn fragments(rendered: &str) -> Vec<Fragment> {
    let mut fragments = Vec::new();
    let mut rest = rendered;
    while let Some((own, behind)) = rest.split_once(SLOT_BEGIN) {
        let slot = behind.split_once(SLOT_END);
        let Some((number, tail)) = slot.and_then(|(n, tail)| Some((n.parse().ok()?, tail))) else {
            break;
        };
        if !own.is_empty() {
            fragments.push(Fragment::Own(own.to_owned()));
        }
        fragments.push(Fragment::Slot(number));
        rest = tail;
    }
    if !rest.is_empty() {
        fragments.push(Fragment::Own(rest.to_owned()));
    }
    fragments
}

/// The parts that a rendered template shows, in order.
fn parts(fragments: &[Fragment]) -> Vec<Part> {
    let mut parts = Vec::new();
    for fragment in fragments {
        match fragment {
            Fragment::Slot(number) => parts.push(Part::Slot(*number)),
            Fragment::Own(text) => parts.extend(text.matches(IMAGE).map(|_| Part::Image)),
        }
    }
    parts
}
