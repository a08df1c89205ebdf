//! Where figures came from: the command that made them, and a hash of its inputs.

use std::fmt::Write as _;

use ring::digest::{Context, SHA256};

/// A hash over parts, such that no two lists of parts look alike.
pub(super) struct Fingerprint;

impl Fingerprint {
    /// SHA-256 in hexadecimal digits.
    pub(super) fn of(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
        let mut context = Context::new(&SHA256);
        for part in parts {
            let part = part.as_ref();
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        context.finish().as_ref().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

/// The command line, such that a shell understands it.
pub(super) fn command() -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./,+=:".contains(letter);
    let quoted = |word: String| {
        if word.chars().all(plain) { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    let words = std::env::args().skip(1).map(quoted);
    std::iter::once("hirl".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}
