//! Byte-level BPE's alphabet: each byte has a printable character of its own (GPT-2's table).

/// The byte that a character of the alphabet stands for.
pub(super) fn byte_of(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        // Printable bytes stand for themselves.
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        // The others follow in order from 256 on: 0–32, 127–160, 173.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The characters of the alphabet, in CLIP's order: first those that stand for themselves.
pub(super) fn alphabet() -> impl Iterator<Item = char> {
    let all = || (0..0x200).filter_map(char::from_u32).filter(|&c| byte_of(c).is_some());
    all().filter(|&c| u32::from(c) < 0x100).chain(all().filter(|&c| u32::from(c) >= 0x100))
}

/// The bytes of a token written in the alphabet; `None` for any other string.
pub(super) fn token_bytes(token: &str) -> Option<Vec<u8>> {
    token.chars().map(byte_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        let mut bytes: Vec<u8> =
            (0..0x200).filter_map(char::from_u32).filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        let alphabet: Vec<char> = alphabet().collect();
        assert_eq!((alphabet.len(), alphabet[0], alphabet[255]), (256, '!', '\u{143}'));
        assert_eq!(token_bytes("Ġcafé").unwrap(), b" caf\xe9");
        assert_eq!(token_bytes("<|a b|>"), None);
    }
}
