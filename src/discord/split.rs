//! Cuts long text into messages.

/// Most characters of a message.
pub const MESSAGE_CHARS_MAX: usize = 2000;

const FENCE: &str = "```";

/// Cuts `text` into parts of at most `units_max` UTF-16 units (Discord counts no character higher),
/// at the end of a line, a sentence or a word where one lies in the second half of the part. A code
/// block that is cut ends with its part and begins again in the next one, language included. Blank
/// text gives no part.
///
/// # Panics
///
/// If `units_max` is below 64, which leaves no room for a code block's ends.
pub fn split(text: &str, units_max: usize) -> Vec<String> {
    assert!(units_max >= 64, "a part needs room for a code block's ends");
    let mut parts = Vec::new();
    let mut rest = text.trim_end().trim_start_matches('\n').to_owned();
    while !is_blank(&rest) {
        if units(&rest) <= units_max {
            parts.push(rest);
            break;
        }
        // Room for the line break and fence that may have to be added.
        let at = cut(&rest, units_max - FENCE.len() - 1);
        let (part, left) = rest.split_at(at);
        rest = if let Some(opening) = open_fence(part) {
            let part = part.trim_end_matches(['\n', ' ']);
            // A block that holds nothing yet belongs whole to the next part.
            match part.strip_suffix(opening.as_str()) {
                Some(before) if !is_blank(before) => push(&mut parts, before),
                _ => parts.push(format!("{part}\n{FENCE}")),
            }
            format!("{opening}\n{}", left.strip_prefix('\n').unwrap_or(left))
        } else {
            push(&mut parts, part);
            left.trim_start().to_owned()
        };
    }
    parts
}

fn push(parts: &mut Vec<String>, part: &str) {
    let part = part.trim_end();
    if !is_blank(part) {
        parts.push(part.to_owned());
    }
}

/// Whether Discord would take it for an empty message.
pub fn is_blank(text: &str) -> bool {
    text.chars().all(|c| {
        c.is_whitespace()
            || c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}'..='\u{2064}' | '\u{feff}' | '\u{ad}')
    })
}

/// Its length as Discord counts it: in units of UTF-16.
pub(super) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Byte at which to cut, so that at most `units_max` units lie before it; never 0.
fn cut(text: &str, units_max: usize) -> usize {
    let mut end = 0;
    let mut seen = 0;
    for (at, c) in text.char_indices() {
        if seen + c.len_utf16() > units_max {
            break;
        }
        seen += c.len_utf16();
        end = at + c.len_utf8();
    }
    let window = &text[..end];
    let half = window.len() / 2;
    let late = |at: &usize| *at > half;
    window
        .rfind("\n\n")
        .filter(late)
        .or_else(|| window.rfind('\n').filter(late))
        .or_else(|| sentence_end(window).filter(late))
        .or_else(|| window.rfind(char::is_whitespace).filter(late))
        .unwrap_or_else(|| between_characters(text, end))
}

/// Byte after the last sentence of `text` that is followed by a space.
fn sentence_end(text: &str) -> Option<usize> {
    let mut before = None;
    let mut found = None;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() && matches!(before, Some('.' | '!' | '?' | '…')) {
            found = Some(at);
        }
        if matches!(c, '。' | '！' | '？') {
            found = Some(at + c.len_utf8());
        }
        before = Some(c);
    }
    found
}

/// `end`, moved back so that no combined character (accents, skin tones, families) is torn.
fn between_characters(text: &str, end: usize) -> usize {
    let joins = |c: char| {
        matches!(c, '\u{300}'..='\u{36f}' | '\u{200d}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{1f3fb}'..='\u{1f3ff}' | '\u{20e3}')
    };
    let mut at = end;
    for _ in 0..16 {
        let next = text[at..].chars().next();
        let previous = text[..at].chars().next_back();
        if !next.is_some_and(joins) && previous != Some('\u{200d}') {
            return at;
        }
        match previous {
            Some(c) if at > c.len_utf8() => at -= c.len_utf8(),
            _ => return end,
        }
    }
    end
}

/// The opening line of the code block that is still open at the end of `text`.
fn open_fence(text: &str) -> Option<String> {
    let mut open = None;
    for (at, _) in text.match_indices(FENCE) {
        open = if open.is_some() { None } else { Some(opening_line(&text[at + FENCE.len()..])) };
    }
    open
}

/// A fence with the language that follows it, which is one only on a line of its own.
fn opening_line(after: &str) -> String {
    let language: String = after
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || "+-_.#".contains(*c))
        .take(20)
        .collect();
    let alone = after[language.len()..].starts_with('\n');
    if alone { format!("{FENCE}{language}") } else { FENCE.to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_text_stays_whole_and_blank_text_vanishes() {
        assert_eq!(split("  hello  ", 64), ["  hello"]);
        assert_eq!(split(" \n\u{200b}\u{200d} ", 64), Vec::<String>::new());
    }

    #[test]
    fn sentences_come_before_words_and_lines_before_sentences() {
        let text = "One two three four five six seven eight nine. Ten eleven twelve thirteen";
        assert_eq!(
            split(text, 64),
            ["One two three four five six seven eight nine.", "Ten eleven twelve thirteen"]
        );
        let text = "One two three four five six seven eight nine\nten. Eleven twelve thirteen";
        assert_eq!(
            split(text, 64),
            ["One two three four five six seven eight nine", "ten. Eleven twelve thirteen"]
        );
        let text = "One two three four five six seven eight nine ten eleven twelve thirteen";
        assert_eq!(
            split(text, 64),
            ["One two three four five six seven eight nine ten eleven", "twelve thirteen"]
        );
    }

    #[test]
    fn a_code_block_that_is_cut_goes_on_in_the_next_part() {
        let text = "Look:\n```rust\nlet first = 1;\n    let second = 2;\nlet third = 3;\nlet fourth = 4;\n```\nDone.";
        insta::assert_snapshot!(split(text, 64).join("\n=====\n"), @r"
        Look:
        ```rust
        let first = 1;
            let second = 2;
        ```
        =====
        ```rust
        let third = 3;
        let fourth = 4;
        ```
        Done.
        ");
    }

    #[test]
    fn text_without_spaces_is_cut_between_characters() {
        let family = "👨\u{200d}👩\u{200d}👧";
        let text = family.repeat(20);
        let parts = split(&text, 64);
        assert_eq!(parts.concat(), text);
        for part in parts {
            assert!(units(&part) <= 64 && part.starts_with('👨'), "{part}");
        }
    }

    fn solid(text: &str) -> String {
        text.chars().filter(|c| !c.is_whitespace()).collect()
    }

    proptest! {
        #[test]
        fn every_part_fits_and_nothing_is_lost(
            text in "([a-zA-Zäß.!? 😀\n]|[a-z]{1,90}){0,200}", units_max in 64_usize..200,
        ) {
            let parts = split(&text, units_max);
            for part in &parts {
                prop_assert!(units(part) <= units_max && !is_blank(part));
            }
            prop_assert_eq!(solid(&parts.concat()), solid(&text));
        }

        #[test]
        fn every_part_closes_the_code_blocks_that_it_opens(
            pieces in prop::collection::vec("[a-z \n]{0,60}", 1..20), units_max in 64_usize..200,
        ) {
            let mut text = pieces.join("\n```\n");
            if pieces.len() % 2 == 0 {
                text.push_str("\n```");
            }
            for part in split(&text, units_max) {
                prop_assert!(units(&part) <= units_max);
                prop_assert_eq!(part.matches("```").count() % 2, 0, "{}", part);
            }
        }
    }
}
