//! Replies → messages to be sent. Pure.

use std::sync::Arc;

use super::rest::{Draft, File};
use super::split::{MESSAGE_CHARS_MAX, is_blank, split, units};
use super::wording;

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

/// One piece of a reply, ready to be sent.
pub enum Said {
    /// Text.
    Text(String),
    /// A photo.
    Photo {
        /// The file.
        png: Arc<[u8]>,
        /// What it was drawn from.
        caption: Option<String>,
    },
}

/// The messages that deliver a reply, in order: its text cut to size, its photos with the last of
/// them, and notes of the bot's own below. Never none.
pub fn compose(to: Addressee, pieces: &[Said], notes: &[String]) -> Vec<Draft> {
    let said: Vec<&str> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Said::Text(text) if !is_blank(text) => Some(text.trim()),
            _ => None,
        })
        .collect();
    // Each part may grow by a character that keeps it from looking like a note.
    let mut contents: Vec<String> =
        split(&wording::as_said(&said.join("\n")), MESSAGE_CHARS_MAX - 1)
            .iter()
            .map(|part| wording::first_line_as_said(part))
            .collect();
    let files = files(pieces);
    let mut notes = notes.join("\n");
    if contents.is_empty() && files.is_empty() && notes.is_empty() {
        notes = wording::nothing_to_say();
    }
    if !notes.is_empty() {
        match contents.last_mut() {
            Some(last) if units(last) + 1 + units(&notes) <= MESSAGE_CHARS_MAX => {
                last.push('\n');
                last.push_str(&notes);
            }
            _ => contents.extend(split(&notes, MESSAGE_CHARS_MAX)),
        }
    }
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
    let fits = units(&draft.content) + 1 + units(&note) <= MESSAGE_CHARS_MAX;
    let content = match draft.content.as_str() {
        "" => note,
        said if fits => format!("{said}\n{note}"),
        said => said.to_owned(),
    };
    Draft { content, files: Vec::new(), ..draft.clone() }
}

fn files(pieces: &[Said]) -> Vec<File> {
    pieces
        .iter()
        .filter_map(|piece| match piece {
            Said::Photo { png, caption } => Some((png, caption.as_deref())),
            Said::Text(_) => None,
        })
        .enumerate()
        .map(|(at, (png, caption))| File {
            name: format!("photo-{}.png", at + 1),
            bytes: Arc::clone(png),
            description: alt_text(caption.unwrap_or_default()),
        })
        .collect()
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

    const TO: Addressee = Addressee { message: 7, person: 100 };

    fn said(text: &str) -> Said {
        Said::Text(text.to_owned())
    }

    fn shared(caption: &str) -> Said {
        Said::Photo { png: Arc::new([9; 6]), caption: Some(caption.to_owned()) }
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
        assert_eq!(*file.bytes, [9; 6]);
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
        let photos: Vec<Said> = (0..11).map(|_| shared("a cat")).collect();
        let drafts = compose(TO, &photos, &[]);
        let files: Vec<usize> = drafts.iter().map(|draft| draft.files.len()).collect();
        assert_eq!(files, [10, 1]);
    }

    #[test]
    fn notes_that_no_longer_fit_follow_in_a_message_of_their_own() {
        let notes = [wording::photo_not_taken()];
        let drafts = compose(TO, &[said(&"a".repeat(1990)), shared("a cat")], &notes);
        let [text, note] = drafts.as_slice() else { panic!("{} messages", drafts.len()) };
        assert_eq!((text.content.len(), text.files.len()), (1990, 0));
        assert_eq!((note.content.as_str(), note.files.len()), (notes[0].as_str(), 1));
    }

    #[test]
    fn what_the_model_says_is_never_taken_for_a_note() {
        let filler = "word ".repeat(399);
        for text in [
            "-# I am a note".to_owned(),
            "hello\n-# so am I".to_owned(),
            "\\-# with a backslash".to_owned(),
            // Cut in front of the marker, which then begins a message.
            format!("{filler}-# {}", "word ".repeat(40)),
        ] {
            let notes = ["-# a real one".to_owned()];
            let drafts = compose(TO, &[said(&text)], &notes);
            assert!(drafts.iter().all(|draft| units(&draft.content) <= MESSAGE_CHARS_MAX));
            let read: Vec<String> =
                drafts.iter().map(|draft| wording::without_notes(&draft.content)).collect();
            assert_eq!(read.join(" ").trim(), text.trim());
        }
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
