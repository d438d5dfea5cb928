//! An exchange, as the journal keeps it. Pure.

use std::collections::HashMap;
use std::sync::Arc;

use crate::dialogue::{Element, Reply};
use crate::discord::{Draft, Looked, Me, Message, Said, made_at_ms};
use crate::imaging;
use crate::journal::{Answer, AuthorId, Message as Kept, MessageId, Piece, Request};

/// The bytes of a photo, shared by what is sent and what is kept.
pub(super) type Bytes = Arc<[u8]>;

/// The reply with what it was made with, to be delivered. Encodes its photos, which takes a while.
pub(super) fn answer(context: &[MessageId], reply: Reply, notes: Vec<String>) -> Answer<Bytes> {
    Answer {
        context: context.to_vec(),
        pieces: reply.elements.into_iter().filter_map(piece).collect(),
        notes,
        sent: Vec::new(),
        seed: reply.seed,
        share_probability: reply.share_probability,
        model: reply.model,
        adapter: reply.adapter,
        timings: reply.timings,
        finished_ms: 0,
    }
}

fn piece(element: Element) -> Option<Piece<Bytes>> {
    match element {
        Element::Utterance(text) => Some(Piece::Text(text)),
        Element::Photo(photo) => Some(Piece::Photo {
            photo: imaging::encode_png(photo.pixels.as_deref()?).into(),
            caption: photo.caption,
        }),
    }
}

/// What of an answer is sent.
pub(super) fn said(answer: &Answer<Bytes>) -> Vec<Said> {
    let said = |piece: &Piece<Bytes>| match piece {
        Piece::Text(text) => Said::Text(text.clone()),
        Piece::Photo { photo, caption } => {
            Said::Photo { png: Arc::clone(photo), caption: caption.clone() }
        }
    };
    answer.pieces.iter().map(said).collect()
}

/// The messages that the model saw, with the photos that were looked at.
pub(super) fn context(
    request: &Request,
    messages: &[Message],
    photos: &HashMap<u64, Looked>,
) -> Vec<Kept<Bytes>> {
    let kept = |message: &Message| {
        let text = Some(&message.text).filter(|text| !text.is_empty()).cloned().map(Piece::Text);
        let photos = message.attachments.iter().filter_map(|attachment| {
            Some(Piece::Photo {
                photo: Arc::clone(&photos.get(&attachment.id)?.bytes),
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

/// A message of the bot's own, as it was sent.
pub(super) fn delivered(me: &Me, request: &Request, draft: &Draft, id: MessageId) -> Kept<Bytes> {
    let text = Some(&draft.content).filter(|text| !text.is_empty()).cloned().map(Piece::Text);
    let photos = draft.files.iter().map(|file| Piece::Photo {
        photo: Arc::clone(&file.bytes),
        caption: Some(file.description.clone()),
    });
    Kept {
        id,
        channel: request.channel,
        guild: request.guild,
        author: AuthorId(me.id),
        author_name: me.name.clone(),
        replies_to: draft.replies_to.map(MessageId),
        said_ms: made_at_ms(id.0),
        pieces: text.into_iter().chain(photos).collect(),
    }
}
