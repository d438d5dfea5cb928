//! An exchange, as the journal keeps it. Pure.

use std::collections::HashMap;

use crate::dialogue::{Element, Reply};
use crate::discord::{Draft, Looked, Me, Message, made_at_ms};
use crate::imaging;
use crate::journal::{Answer, AuthorId, Message as Kept, MessageId, Piece, Request};

/// The reply with what it was made with.
pub(super) fn answer(
    context: &[Message],
    reply: Reply,
    sent: Vec<MessageId>,
    finished_ms: u64,
) -> Answer<Vec<u8>> {
    Answer {
        context: context.iter().map(|message| MessageId(message.id)).collect(),
        pieces: reply.elements.iter().filter_map(piece).collect(),
        sent,
        seed: reply.seed,
        share_probability: reply.share_probability,
        model: reply.model,
        adapter: reply.adapter,
        timings: reply.timings,
        finished_ms,
    }
}

fn piece(element: &Element) -> Option<Piece<Vec<u8>>> {
    match element {
        Element::Utterance(text) => Some(Piece::Text(text.clone())),
        Element::Photo(photo) => Some(Piece::Photo {
            photo: imaging::encode_png(photo.pixels.as_deref()?),
            caption: photo.caption.clone(),
        }),
    }
}

/// The messages that the model saw, with the photos that were looked at.
pub(super) fn context(
    request: &Request,
    messages: &[Message],
    photos: &HashMap<u64, Looked>,
) -> Vec<Kept<Vec<u8>>> {
    let kept = |message: &Message| {
        let text = Some(&message.text).filter(|text| !text.is_empty()).cloned().map(Piece::Text);
        let photos = message.attachments.iter().filter_map(|attachment| {
            Some(Piece::Photo {
                photo: photos.get(&attachment.id)?.bytes.clone(),
                caption: attachment.description.clone(),
            })
        });
        Kept {
            id: MessageId(message.id),
            channel: request.channel,
            guild: request.guild,
            author: AuthorId(message.author.id),
            author_name: message.author.name.clone(),
            replies_to: message.reply_to.as_ref().map(|target| MessageId(target.id)),
            said_ms: made_at_ms(message.id),
            pieces: text.into_iter().chain(photos).collect(),
        }
    };
    messages.iter().map(kept).collect()
}

/// The bot's own messages that delivered the reply.
pub(super) fn delivered(
    me: &Me,
    request: &Request,
    drafts: &[Draft],
    sent: &[MessageId],
) -> Vec<Kept<Vec<u8>>> {
    let kept = |(draft, id): (&Draft, &MessageId)| {
        let text = Some(&draft.content).filter(|text| !text.is_empty()).cloned().map(Piece::Text);
        let photos = draft.files.iter().map(|file| Piece::Photo {
            photo: file.bytes.to_vec(),
            caption: Some(file.description.clone()),
        });
        Kept {
            id: *id,
            channel: request.channel,
            guild: request.guild,
            author: AuthorId(me.id),
            author_name: me.name.clone(),
            replies_to: draft.replies_to.map(MessageId),
            said_ms: made_at_ms(id.0),
            pieces: text.into_iter().chain(photos).collect(),
        }
    };
    drafts.iter().zip(sent).map(kept).collect()
}
