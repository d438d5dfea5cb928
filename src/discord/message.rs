//! What the door knows of a message, free of any client library.

/// Milliseconds since 1970 at which Discord's ids begin to count.
const EPOCH_MS: u64 = 1_420_070_400_000;

/// When the thing with this id was made, in milliseconds since 1970.
pub fn made_at_ms(id: u64) -> u64 {
    (id >> 22) + EPOCH_MS
}

/// The smallest id of a thing made at that moment, in milliseconds since 1970.
pub fn first_id_at(time_ms: u64) -> u64 {
    time_ms.saturating_sub(EPOCH_MS) << 22
}

/// The bot's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Me {
    /// Its user id.
    pub id: u64,
    /// Its name, as people see it.
    pub name: String,
}

/// What kind of account wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthorKind {
    /// A person.
    Person,
    /// This bot.
    Myself,
    /// Another bot.
    Bot,
    /// A webhook.
    Webhook,
}

/// Who wrote a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Author {
    /// User id, or the webhook's.
    pub id: u64,
    /// Name shown in that server.
    pub name: String,
    /// What kind of account it is.
    pub kind: AuthorKind,
}

/// A message as far as the door cares.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Grows with time; see [`made_at_ms`].
    pub id: u64,
    /// Channel or thread.
    pub channel: u64,
    /// Server; `None` in direct messages and in what the REST API gives.
    pub guild: Option<u64>,
    /// Who wrote it.
    pub author: Author,
    /// As Discord holds it, with mentions as ids.
    pub text: String,
    /// People that it mentions.
    pub mentions: Vec<Mention>,
    /// The message that it replies to, as far as Discord tells.
    pub reply_to: Option<ReplyTarget>,
    /// Files.
    pub attachments: Vec<Attachment>,
    /// Whether somebody said it or Discord reports something.
    pub kind: MessageKind,
}

impl Message {
    /// Its files that are worth looking at as photos.
    pub fn photos(&self) -> impl Iterator<Item = &Attachment> {
        self.attachments.iter().filter(|attachment| attachment.looks_like_photo())
    }
}

/// Whether somebody said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// A message or a reply.
    Said,
    /// A pin, a join, a thread's beginning, another bot's command.
    Report,
}

/// A person named in a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Mention {
    /// User id.
    pub id: u64,
    /// Name shown.
    pub name: String,
}

/// What a reply answers.
#[derive(Clone, PartialEq, Eq)]
pub struct ReplyTarget {
    /// The message's id.
    pub id: u64,
    /// The message itself, where Discord sends it along and it still exists.
    pub message: Option<Box<Message>>,
}

/// A file of a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its id.
    pub id: u64,
    /// Name, as the person's computer had it.
    pub filename: String,
    /// Where it can be had, for a while.
    pub url: String,
    /// What Discord takes it for.
    pub content_type: Option<String>,
    /// Size of the file.
    pub bytes: u64,
    /// Width and height in pixels, where Discord takes it for a picture or a film.
    pub size: Option<(u32, u32)>,
    /// Alt text.
    pub description: Option<String>,
}

impl Attachment {
    /// Whether it is worth looking at as a photo. What it really is shows when it is decoded.
    pub fn looks_like_photo(&self) -> bool {
        match self.content_type.as_deref() {
            Some(kind) if kind.starts_with("image/") => true,
            Some(kind) if kind != "application/octet-stream" => false,
            _ => {
                let extension =
                    self.filename.rsplit_once('.').map_or("", |(_, extension)| extension);
                let known = ["jpg", "jpeg", "png", "gif", "webp", "bmp"];
                self.size.is_some() || known.iter().any(|k| k.eq_ignore_ascii_case(extension))
            }
        }
    }
}

/// What people wrote never reaches a log, so these show ids alone.
macro_rules! debug_by_id {
    ($($noun:ident),*) => {$(
        impl std::fmt::Debug for $noun {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($noun), "({})"), self.id)
            }
        }
    )*};
}
debug_by_id!(Author, Message, Mention, ReplyTarget, Attachment);

#[cfg(test)]
mod tests {
    use super::*;

    fn file(filename: &str, content_type: Option<&str>) -> Attachment {
        Attachment {
            id: 1,
            filename: filename.to_owned(),
            url: "https://cdn.discordapp.com/1".to_owned(),
            content_type: content_type.map(str::to_owned),
            bytes: 1,
            size: None,
            description: None,
        }
    }

    #[test]
    fn an_id_tells_when_it_was_made() {
        // The example of Discord's reference.
        assert_eq!(made_at_ms(175_928_847_299_117_063), 1_462_015_105_796);
        assert_eq!(made_at_ms(first_id_at(1_462_015_105_796)), 1_462_015_105_796);
    }

    #[test]
    fn a_photo_is_told_by_type_or_for_lack_of_one_by_name() {
        for (filename, content_type, expected) in [
            ("a", Some("image/png"), true),
            ("a.jpg", Some("text/plain"), false),
            ("a.JPG", None, true),
            ("a.webp", Some("application/octet-stream"), true),
            ("a.txt", None, false),
            ("jpg", None, false),
        ] {
            assert_eq!(file(filename, content_type).looks_like_photo(), expected, "{filename}");
        }
    }

    #[test]
    fn what_people_write_is_not_in_debug_output() {
        let author = Author { id: 5, name: "Ann".to_owned(), kind: AuthorKind::Person };
        assert_eq!(format!("{author:?} {:?}", file("secret.png", None)), "Author(5) Attachment(1)");
    }
}
