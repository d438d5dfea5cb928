//! Every sentence that the bot says of itself, as pure functions.
//!
//! They all stand in lines of Discord's small print (`-# `), by which they are told apart from what
//! the model says: [`without_notes`] takes them out of the bot's own messages again.

use super::attachments::PhotoFault;
use super::permissions::Need;

const SMALL: &str = "-# ";

fn note(sentence: &str) -> String {
    format!("{SMALL}{sentence}")
}

/// A message of the bot's own without its notes.
pub fn without_notes(text: &str) -> String {
    let said: Vec<&str> = text.lines().filter(|line| !line.starts_with(SMALL)).collect();
    said.join("\n").trim().to_owned()
}

/// A photo of the message answered could not be looked at.
pub fn photo_not_seen(fault: &PhotoFault) -> String {
    let reason = match fault {
        PhotoFault::TooSlow => "Its download took too long. Please send it again.",
        PhotoFault::ForeignHost => "It lies on another host than Discord's. Please upload it here.",
        PhotoFault::Gone => "It is no longer there. Please send it again.",
        PhotoFault::Unreachable => "Discord didn't hand it out. Please try again in a minute.",
        PhotoFault::Unfit(error) => &error.to_string(),
    };
    note(&format!("I couldn't look at a photo. {reason}"))
}

/// Everybody's queue is full.
pub fn queue_full(waiting: usize) -> String {
    note(&format!("{waiting} requests are waiting already. Please ask me again in a few minutes."))
}

/// One person's share of the queue is full.
pub fn person_limit(waiting: usize) -> String {
    note(&format!(
        "{waiting} of your requests are waiting already. Please wait for an answer to one of them."
    ))
}

/// The request can't be answered as it stands; `reason` is a sentence.
pub fn refused(reason: &str) -> String {
    note(reason)
}

/// The model failed.
pub fn failed() -> String {
    note("Something went wrong while I was answering. Please try again; my operator can see why.")
}

/// The model wrote nothing.
pub fn nothing_to_say() -> String {
    note("I have nothing to say to that.")
}

/// Discord would not take the photo after all.
pub fn photo_not_taken() -> String {
    note("I drew a photo, but Discord wouldn't take it here.")
}

/// Something is not allowed to the bot in this channel; it can't even reply, so it names the person.
pub fn not_allowed(need: Need, person: u64) -> String {
    note(&format!(
        "<@{person}> I can't answer here without the permission “{}”. A moderator can grant it.",
        permission_name(need)
    ))
}

/// A permission's name, as server settings show it.
pub fn permission_name(need: Need) -> &'static str {
    match need {
        Need::View => "View Channel",
        Need::Send => "Send Messages",
        Need::SendInThreads => "Send Messages in Threads",
        Need::ReadHistory => "Read Message History",
        Need::Attach => "Attach Files",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imaging::PhotoError;

    #[test]
    fn every_sentence_reads_as_it_should() {
        let sentences = [
            photo_not_seen(&PhotoFault::TooSlow),
            photo_not_seen(&PhotoFault::ForeignHost),
            photo_not_seen(&PhotoFault::Gone),
            photo_not_seen(&PhotoFault::Unreachable),
            photo_not_seen(&PhotoFault::Unfit(PhotoError::UnknownFormat)),
            queue_full(64),
            person_limit(3),
            refused("The message is too long for me. Please write a shorter one."),
            failed(),
            nothing_to_say(),
            photo_not_taken(),
            not_allowed(Need::ReadHistory, 100),
        ];
        insta::assert_snapshot!(sentences.join("\n"), @"
        -# I couldn't look at a photo. Its download took too long. Please send it again.
        -# I couldn't look at a photo. It lies on another host than Discord's. Please upload it here.
        -# I couldn't look at a photo. It is no longer there. Please send it again.
        -# I couldn't look at a photo. Discord didn't hand it out. Please try again in a minute.
        -# I couldn't look at a photo. I can't read this kind of file. Please send a JPEG, PNG, GIF, WebP or BMP picture.
        -# 64 requests are waiting already. Please ask me again in a few minutes.
        -# 3 of your requests are waiting already. Please wait for an answer to one of them.
        -# The message is too long for me. Please write a shorter one.
        -# Something went wrong while I was answering. Please try again; my operator can see why.
        -# I have nothing to say to that.
        -# I drew a photo, but Discord wouldn't take it here.
        -# <@100> I can't answer here without the permission “Read Message History”. A moderator can grant it.
        ");
        for sentence in sentences {
            assert_eq!(without_notes(&sentence), "", "told apart from the model's words");
        }
    }

    #[test]
    fn notes_are_taken_out_of_what_was_said() {
        assert_eq!(without_notes("a\n-# note\n\n b"), "a\n\n b");
    }
}
