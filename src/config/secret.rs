//! The bot token, which must never be shown.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use super::ConfigError;

/// A text that neither `Debug` nor a log line ever shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// Where the bot token comes from. Read only by the command that needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `SHUTTERBUG_DISCORD_TOKEN`.
    Environment(Secret),
    /// A file that holds it alone: `discord.token_file` or a systemd credential.
    File(PathBuf),
    /// Nowhere.
    Missing,
}

impl TokenSource {
    /// The token.
    pub fn read(&self) -> Result<Secret, ConfigError> {
        let (token, origin) = match self {
            Self::Missing => return Err(ConfigError::NoToken),
            Self::Environment(token) => {
                (token.expose().to_owned(), "SHUTTERBUG_DISCORD_TOKEN".to_owned())
            }
            Self::File(path) => {
                let token = fs::read_to_string(path)
                    .map_err(|source| ConfigError::Unreadable { path: path.clone(), source })?;
                (token, path.display().to_string())
            }
        };
        // People copy it with the word "Bot", which the client adds itself.
        let token = token.trim().trim_start_matches("Bot ");
        if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(ConfigError::BadToken { origin });
        }
        Ok(Secret::new(token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let source = TokenSource::Environment(Secret::new("abc.def.ghi"));
        assert_eq!(format!("{source:?}"), "Environment(Secret(hidden))");
    }

    #[test]
    fn a_token_file_may_end_with_a_line_break_and_holds_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "Bot abc.def.ghi\n").unwrap();
        assert_eq!(TokenSource::File(path.clone()).read().unwrap().expose(), "abc.def.ghi");
        fs::write(&path, "abc def").unwrap();
        let error = TokenSource::File(path).read().unwrap_err().to_string();
        assert!(error.contains("holds spaces") && !error.contains("abc"), "{error}");
    }

    #[test]
    fn without_a_token_the_error_names_all_three_places() {
        let error = TokenSource::Missing.read().unwrap_err().to_string();
        for place in ["SHUTTERBUG_DISCORD_TOKEN", "discord.token_file", "discord-token"] {
            assert!(error.contains(place), "{error}");
        }
    }
}
