//! Replies → messages to be sent. Pure, but for the PNG files.

use std::sync::Arc;

use super::rest::{Draft, File};
use super::split::{MESSAGE_CHARS_MAX, is_blank, split};
use super::wording;
use crate::dialogue::{Element, Pixels};
use crate::imaging;

/// Longest alt text, in characters.
pub const ALT_TEXT_CHARS_MAX: usize = 1024;
/// Most files of one message.
const FILES_MAX: usize = 10;

/// Whom a message answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addressee {
    /// The message answered.
    pub message: u64,
    /// Who wrote it.
    pub person: u64,
}

/// The messages that deliver a reply, in order: its text cut to size, its photos with the last of
/// them, and notes of the bot's own below. Never none.
pub fn compose(to: Addressee, elements: &[Element], notes: &[String]) -> Vec<Draft> {
    let mut said: Vec<&str> = elements
        .iter()
        .filter_map(|element| match element {
            Element::Utterance(text) if !is_blank(text) => Some(text.trim()),
            _ => None,
        })
        .collect();
    let files = files(elements);
    let nothing = wording::nothing_to_say();
    if said.is_empty() && files.is_empty() && notes.is_empty() {
        said.push(&nothing);
    }
    let notes = notes.join("\n");
    if !notes.is_empty() {
        said.push(&notes);
    }
    let mut contents = split(&said.join("\n"), MESSAGE_CHARS_MAX);
    if contents.is_empty() {
        contents.push(String::new());
    }
    let mut drafts: Vec<Draft> =
        contents.into_iter().enumerate().map(|(part, content)| draft(to, part, content)).collect();
    let mut files = files.into_iter().peekable();
    while files.peek().is_some() {
        let last = drafts.last_mut().expect("there is a first part");
        if last.files.is_empty() {
            last.files.extend(files.by_ref().take(FILES_MAX));
        } else {
            let next = draft(to, drafts.len(), String::new());
            drafts.push(next);
        }
    }
    drafts
}

/// The message that answers with one of the bot's own sentences.
pub fn note(to: Addressee, sentence: String) -> Draft {
    draft(to, 0, sentence)
}

/// Part `part` of a reply, without files.
fn draft(to: Addressee, part: usize, content: String) -> Draft {
    let nonce = match part {
        0 => to.message.to_string(),
        part => format!("{}-{part}", to.message),
    };
    // Every part is a reply, so that a restart can count which ones were sent; one ping is enough.
    let ping = (part == 0).then_some(to.person);
    Draft { content, files: Vec::new(), replies_to: Some(to.message), ping, nonce }
}

/// The same message without its photos, for a channel that doesn't take them.
pub fn without_files(draft: &Draft) -> Draft {
    let note = wording::photo_not_taken();
    let fits = draft.content.chars().count() + note.chars().count() < MESSAGE_CHARS_MAX;
    let content = match draft.content.as_str() {
        "" => note,
        said if fits => format!("{said}\n{note}"),
        said => said.to_owned(),
    };
    Draft { content, files: Vec::new(), ..draft.clone() }
}

fn files(elements: &[Element]) -> Vec<File> {
    elements
        .iter()
        .filter_map(|element| match element {
            Element::Photo(photo) => Some((photo.pixels.as_deref()?, photo.caption.as_deref())),
            Element::Utterance(_) => None,
        })
        .enumerate()
        .map(|(at, (pixels, caption))| File {
            name: format!("photo-{}.png", at + 1),
            bytes: png(pixels),
            description: alt_text(caption.unwrap_or_default()),
        })
        .collect()
}

fn png(pixels: &Pixels) -> Arc<[u8]> {
    imaging::encode_png(pixels).into()
}

/// A caption within Discord's limit, cut at a word.
fn alt_text(caption: &str) -> String {
    let caption = caption.trim();
    if caption.chars().count() <= ALT_TEXT_CHARS_MAX {
        return caption.to_owned();
    }
    let cut: String = caption.chars().take(ALT_TEXT_CHARS_MAX - 1).collect();
    let end = cut.rfind(char::is_whitespace).unwrap_or(cut.len());
    format!("{}…", cut[..end].trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialogue::Photo;

    const TO: Addressee = Addressee { message: 7, person: 100 };

    fn said(text: &str) -> Element {
        Element::Utterance(text.to_owned())
    }

    fn shared(caption: &str) -> Element {
        let pixels = Arc::new(Pixels { width: 2, height: 1, rgb: vec![9; 6] });
        Element::Photo(Photo { pixels: Some(pixels), caption: Some(caption.to_owned()) })
    }

    #[test]
    fn text_photo_and_notes_go_out_in_one_reply() {
        let notes = ["-# a note".to_owned()];
        let drafts = compose(TO, &[said("here"), shared("a cat"), said("see?")], &notes);
        let [only] = drafts.as_slice() else { panic!("{} messages", drafts.len()) };
        assert_eq!(only.content, "here\nsee?\n-# a note");
        assert_eq!((only.replies_to, only.ping, only.nonce.as_str()), (Some(7), Some(100), "7"));
        let [file] = only.files.as_slice() else { panic!("{} files", only.files.len()) };
        assert_eq!((file.name.as_str(), file.description.as_str()), ("photo-1.png", "a cat"));
        let limits = imaging::Limits::default();
        assert_eq!(imaging::decode(&file.bytes, &limits).unwrap().rgb, [9; 6]);
    }

    #[test]
    fn long_text_takes_several_replies_and_pings_once() {
        let long = "All work and no play. ".repeat(200);
        let drafts = compose(TO, &[said(&long), shared("a cat")], &[]);
        assert_eq!(drafts.len(), 3);
        let nonces: Vec<&str> = drafts.iter().map(|draft| draft.nonce.as_str()).collect();
        assert_eq!(nonces, ["7", "7-1", "7-2"]);
        let pings: Vec<_> = drafts.iter().map(|draft| draft.ping).collect();
        assert_eq!(pings, [Some(100), None, None]);
        assert!(drafts.iter().all(|draft| draft.replies_to == Some(7)));
        assert!(drafts.iter().all(|draft| draft.content.chars().count() <= 2000));
        let files: Vec<usize> = drafts.iter().map(|draft| draft.files.len()).collect();
        assert_eq!(files, [0, 0, 1]);
    }

    #[test]
    fn a_photo_alone_needs_no_text_and_silence_is_never_sent() {
        let photo = compose(TO, &[said(" \u{200b}"), shared("a cat")], &[]);
        assert_eq!((photo.len(), photo[0].content.as_str()), (1, ""));
        let nothing = compose(TO, &[said("")], &[]);
        assert_eq!(nothing[0].content, wording::nothing_to_say());
    }

    #[test]
    fn eleven_photos_need_two_messages() {
        let photos: Vec<Element> = (0..11).map(|_| shared("a cat")).collect();
        let drafts = compose(TO, &photos, &[]);
        let files: Vec<usize> = drafts.iter().map(|draft| draft.files.len()).collect();
        assert_eq!(files, [10, 1]);
    }

    #[test]
    fn alt_text_is_cut_at_a_word() {
        let text = alt_text(&"word ".repeat(400));
        assert!(text.chars().count() <= ALT_TEXT_CHARS_MAX && text.ends_with("word…"), "{text}");
        assert_eq!(alt_text(&"ä".repeat(1024)).chars().count(), 1024);
    }

    #[test]
    fn without_photos_the_text_says_so() {
        let drafts = compose(TO, &[said("here"), shared("a cat")], &[]);
        let text = without_files(&drafts[0]);
        assert_eq!(text.content, format!("here\n{}", wording::photo_not_taken()));
        assert!(text.files.is_empty() && text.nonce == drafts[0].nonce);
    }
}
