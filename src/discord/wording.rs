//! Every sentence that the bot says of itself, as pure functions.
//!
//! They all stand in lines of Discord's small print (`-# `), by which they are told apart from what
//! the model says: [`without_notes`] takes them out of the bot's own messages again. A line of the
//! model's own that begins so is sent with a backslash in front, which Discord doesn't show.

use std::time::Duration;

use super::attachments::PhotoFault;
use super::commands::Scope;
use super::permissions::Need;

const SMALL: &str = "-# ";

fn note(sentence: &str) -> String {
    format!("{SMALL}{sentence}")
}

/// A message of the bot's own without its notes: what the model said.
pub fn without_notes(text: &str) -> String {
    let said: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with(SMALL))
        .map(|line| if is_escaped(line) { &line[1..] } else { line })
        .collect();
    said.join("\n").trim().to_owned()
}

/// What the model said, so that none of its lines is taken for a note.
pub fn as_said(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(line_as_said).collect();
    lines.join("\n")
}

/// Part of what [`as_said`] gave, which may have been cut in front of what now looks like a note.
pub fn first_line_as_said(part: &str) -> String {
    if part.starts_with(SMALL) { format!("\\{part}") } else { part.to_owned() }
}

fn line_as_said(line: &str) -> String {
    if line.starts_with(SMALL) || is_escaped(line) { format!("\\{line}") } else { line.to_owned() }
}

/// Whether a line begins like a note behind one or more backslashes.
fn is_escaped(line: &str) -> bool {
    line.starts_with('\\') && line.trim_start_matches('\\').starts_with(SMALL)
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

/// So many photos of the message answered were looked at, and it has more.
pub fn photos_left_out(looked_at: usize, sent: usize) -> String {
    note(&match looked_at {
        0 => "I don't look at photos here.".to_owned(),
        1 => format!("I looked at the first of your {sent} photos only."),
        some => format!("I looked at the first {some} of your {sent} photos only."),
    })
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

/// Discord would not take the reply.
pub fn reply_not_taken() -> String {
    note("I wrote an answer, but Discord wouldn't take it. My operator can see why.")
}

/// Discord would not take all of the reply.
pub fn rest_not_taken() -> String {
    note("There was more, but Discord wouldn't take the rest of it. My operator can see why.")
}

/// Photos were turned off while a reply with photos was on its way.
pub fn photo_held_back() -> String {
    note("I drew a photo, but photos have been turned off here meanwhile.")
}

/// `/help`.
pub fn help(name: &str) -> String {
    format!(
        "I'm {name}. Mention me or reply to me, and I answer; I see the photos of the last messages \
         and sometimes share one that I draw myself.\n\
         Moderators say with `/photos` whether I may share photos in a channel or in the server.\n\
         `/privacy` tells what I keep of what you write."
    )
}

/// `/privacy`.
pub fn privacy(deleted_max: Duration, policy: Option<&str>) -> String {
    let hours = deleted_max.as_secs().div_ceil(3600);
    let policy =
        policy.map_or_else(String::new, |address| format!("\nThe full policy: <{address}>"));
    format!(
        "When I answer you, I keep your message, the messages before it that I read for the answer, \
         their photos, and my answer, so that I don't answer twice and my operator can see how an \
         answer came about. Nothing else of what is written is kept, and nothing of it trains a \
         model.\n\
         I keep that until you delete the message: then it is gone from my records at once, with my \
         answer to it, and from the disk within {} hours. If you delete it while I'm away, it goes \
         when I next read that part of the channel.{policy}",
        hours.max(1)
    )
}

/// A command that only moderators may use.
pub fn not_a_moderator() -> String {
    "Only people with the permission “Manage Server” can change that. Nothing was changed."
        .to_owned()
}

/// Moderators can't turn photos on where the operator has turned them off.
pub fn photos_off_everywhere() -> String {
    "My operator has turned photos off everywhere. Nothing was changed.".to_owned()
}

/// Photos were turned on.
pub fn photos_turned_on(scope: Scope) -> String {
    format!("I may share photos now {}.", place(scope))
}

/// Photos were turned off.
pub fn photos_turned_off(scope: Scope) -> String {
    let place = place(scope);
    format!("I share no photos now {place}, not even with answers that are being written.")
}

fn place(scope: Scope) -> &'static str {
    match scope {
        Scope::Channel => "in this channel",
        Scope::Server => "in the whole server, except where a channel has a setting of its own",
    }
}

/// Photos may be shared in this channel.
pub fn photos_are_on() -> String {
    "Photos are on in this channel: I share one when it fits.".to_owned()
}

/// Photos may not be shared in this channel.
pub fn photos_are_off() -> String {
    "Photos are off in this channel: I answer in text only.".to_owned()
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
            photos_left_out(0, 1),
            photos_left_out(1, 3),
            photos_left_out(6, 10),
            queue_full(64),
            person_limit(3),
            refused("The message is too long for me. Please write a shorter one."),
            failed(),
            nothing_to_say(),
            photo_not_taken(),
            reply_not_taken(),
            rest_not_taken(),
            photo_held_back(),
            not_allowed(Need::ReadHistory, 100),
        ];
        insta::assert_snapshot!(sentences.join("\n"), @"
        -# I couldn't look at a photo. Its download took too long. Please send it again.
        -# I couldn't look at a photo. It lies on another host than Discord's. Please upload it here.
        -# I couldn't look at a photo. It is no longer there. Please send it again.
        -# I couldn't look at a photo. Discord didn't hand it out. Please try again in a minute.
        -# I couldn't look at a photo. I can't read this kind of file. Please send a JPEG, PNG, GIF, WebP or BMP picture.
        -# I don't look at photos here.
        -# I looked at the first of your 3 photos only.
        -# I looked at the first 6 of your 10 photos only.
        -# 64 requests are waiting already. Please ask me again in a few minutes.
        -# 3 of your requests are waiting already. Please wait for an answer to one of them.
        -# The message is too long for me. Please write a shorter one.
        -# Something went wrong while I was answering. Please try again; my operator can see why.
        -# I have nothing to say to that.
        -# I drew a photo, but Discord wouldn't take it here.
        -# I wrote an answer, but Discord wouldn't take it. My operator can see why.
        -# There was more, but Discord wouldn't take the rest of it. My operator can see why.
        -# I drew a photo, but photos have been turned off here meanwhile.
        -# <@100> I can't answer here without the permission “Read Message History”. A moderator can grant it.
        ");
        for sentence in sentences {
            assert_eq!(without_notes(&sentence), "", "told apart from the model's words");
        }
    }

    #[test]
    fn notes_are_taken_out_of_what_was_said() {
        assert_eq!(without_notes("a\n-# note\n\n b"), "a\n\n b");
        for said in ["-# small", "\\-# once", "\\\\-# twice", "-#no", " -# inside", "a\n-# b"] {
            assert_eq!(without_notes(&as_said(said)), said.trim());
        }
    }
}
