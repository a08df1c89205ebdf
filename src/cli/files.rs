//! Files that a verb leaves behind.

use std::path::Path;

use anyhow::Context as _;

/// Writes a file whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    crate::files::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
}
