//! Messages for the tests of this module.

use super::message::{
    Attachment, Author, AuthorKind, Me, Mention, Message, MessageKind, ReplyTarget,
};

pub(super) fn me() -> Me {
    Me { id: 900, name: "Shutterbug".to_owned() }
}

pub(super) fn message(id: u64, text: &str) -> Message {
    Message {
        id,
        channel: 10,
        guild: Some(1),
        author: Author { id: 100, name: "Ann".to_owned(), kind: AuthorKind::Person },
        text: text.to_owned(),
        mentions: Vec::new(),
        reply_to: None,
        attachments: Vec::new(),
        kind: MessageKind::Said,
    }
}

pub(super) fn by(mut message: Message, id: u64, name: &str) -> Message {
    message.author = Author { id, name: name.to_owned(), kind: AuthorKind::Person };
    message
}

pub(super) fn mine(id: u64, text: &str) -> Message {
    let mut message = message(id, text);
    message.author = Author { id: me().id, name: me().name, kind: AuthorKind::Myself };
    message
}

pub(super) fn mentioning(mut message: Message, who: &Me) -> Message {
    message.mentions.push(Mention { id: who.id, name: who.name.clone() });
    message
}

pub(super) fn replying(mut message: Message, target: &Message) -> Message {
    message.reply_to = Some(ReplyTarget { id: target.id, message: Some(Box::new(target.clone())) });
    message
}

pub(super) fn with_photo(mut message: Message, id: u64, description: Option<&str>) -> Message {
    message.attachments.push(Attachment {
        id,
        filename: format!("{id}.png"),
        url: format!("https://cdn.discordapp.com/attachments/{id}.png"),
        content_type: Some("image/png".to_owned()),
        bytes: 1000,
        size: Some((4, 3)),
        description: description.map(str::to_owned),
    });
    message
}
