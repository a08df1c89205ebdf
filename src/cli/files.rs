//! Files that a verb leaves behind.

use std::path::Path;

use anyhow::Context as _;

/// Writes a file whole or not at all: under another name first.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut draft = path.as_os_str().to_owned();
    draft.push(".draft");
    std::fs::write(&draft, bytes)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))
}
