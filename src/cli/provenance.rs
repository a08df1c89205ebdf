//! Where figures came from: the command that made them, and a hash of its inputs.

use crate::hash::Sha256;

/// A hash over parts, such that no two lists of parts look alike.
pub(super) struct Fingerprint;

impl Fingerprint {
    /// SHA-256 in hexadecimal digits.
    pub(super) fn of(parts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> String {
        let mut hash = Sha256::default();
        for part in parts {
            let part = part.as_ref();
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hash.finish()
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
