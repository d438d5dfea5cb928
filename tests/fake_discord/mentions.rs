//! Whom a message's text pings, given the author's rights and `allowed_mentions`
//! (resources/Message, Allowed Mentions Object).

use std::collections::BTreeSet;

use serde_json::Value;
use serenity::model::Permissions;

use super::clock::Snowflake;
use super::error::ApiError;
use super::model::{Channel, Pings, User};
use super::state::State;

/// What the sender lets the text ping. Without it everything in the text pings.
#[derive(Clone, Debug)]
pub struct AllowedMentions {
    everyone: bool,
    users: Allowed,
    roles: Allowed,
    replied_user: bool,
}

#[derive(Clone, Debug)]
enum Allowed {
    All,
    Only(BTreeSet<Snowflake>),
}

impl Allowed {
    fn allows(&self, id: Snowflake) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.contains(&id),
        }
    }
}

impl AllowedMentions {
    /// What people's clients send, and what an absent field means.
    pub fn all() -> Self {
        Self { everyone: true, users: Allowed::All, roles: Allowed::All, replied_user: true }
    }

    /// Reads the field of a request; `null` and absence allow everything.
    pub fn read(field: &Value) -> Result<Self, ApiError> {
        if field.is_null() {
            return Ok(Self::all());
        }
        let parse: Vec<&str> =
            field["parse"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let kind = |name: &str| -> Result<Allowed, ApiError> {
            let listed: BTreeSet<Snowflake> = field[name]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|id| id.as_str()?.parse().ok())
                .collect();
            match (parse.contains(&name), listed.is_empty()) {
                (true, true) => Ok(Allowed::All),
                (false, _) => Ok(Allowed::Only(listed)),
                (true, false) => Err(ApiError::invalid_form(
                    "allowed_mentions",
                    "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                    &format!("parse:[\"{name}\"] and {name}: [ids...] are mutually exclusive."),
                )),
            }
        };
        Ok(Self {
            everyone: parse.contains(&"everyone"),
            users: kind("users")?,
            roles: kind("roles")?,
            replied_user: field["replied_user"].as_bool().unwrap_or(false),
        })
    }
}

impl State {
    /// Whom `content` from `author` in `channel` pings; `answered` is the author replied to.
    pub fn pings(
        &self,
        author: Snowflake,
        channel: &Channel,
        content: &str,
        allowed: &AllowedMentions,
        answered: Option<Snowflake>,
    ) -> Pings {
        let may_ping_all =
            self.permissions(author, channel).contains(Permissions::MENTION_EVERYONE);
        let guild = channel.guild.map(|guild| &self.guilds[&guild]);
        let mut pings = Pings::default();
        for mark in marks(content) {
            match mark {
                Mark::User(id) if self.users.contains_key(&id) && allowed.users.allows(id) => {
                    pings.users.insert(id);
                }
                Mark::Role(id) if allowed.roles.allows(id) => {
                    let role = guild.and_then(|guild| guild.roles.get(&id));
                    if role.is_some_and(|role| role.mentionable || may_ping_all) {
                        pings.roles.insert(id);
                    }
                }
                Mark::Everyone if allowed.everyone && may_ping_all && guild.is_some() => {
                    pings.everyone = true;
                }
                Mark::User(_) | Mark::Role(_) | Mark::Everyone => {}
            }
        }
        if let Some(answered) = answered.filter(|_| allowed.replied_user) {
            pings.users.insert(answered);
        }
        pings
    }
}

enum Mark {
    User(Snowflake),
    Role(Snowflake),
    Everyone,
}

/// The marks `<@id>`, `<@!id>`, `<@&id>`, `@everyone` and `@here` of a text, in order.
fn marks(content: &str) -> Vec<Mark> {
    let mut marks = Vec::new();
    for (at, _) in content.match_indices('@') {
        let rest = &content[at + 1..];
        if rest.starts_with("everyone") || rest.starts_with("here") {
            marks.push(Mark::Everyone);
        } else if content[..at].ends_with('<')
            && let Some((inside, _)) = rest.split_once('>')
        {
            let mark = match inside.strip_prefix('&') {
                Some(role) => role.parse().map(Mark::Role),
                None => inside.trim_start_matches('!').parse().map(Mark::User),
            };
            marks.extend(mark);
        }
    }
    marks
}

/// Turns what a person types (`@bot`) into what Discord's client sends (`<@id>`), longest name
/// first.
pub fn completed<'a>(typed: &str, people: impl Iterator<Item = &'a User>) -> String {
    let mut names: Vec<_> = people.map(|user| (format!("@{}", user.name), user.id)).collect();
    names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    names.iter().fold(typed.to_owned(), |text, (name, id)| text.replace(name, &format!("<@{id}>")))
}
