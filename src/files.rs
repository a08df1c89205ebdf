//! Files that are whole or not there: a reader, or whoever comes after a crash, sees the old one or the new one.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// Readable by all, writable by the owner: what most systems give a new file.
const MODE: u32 = 0o644;

/// Writes `bytes` to a file; its folder must be there.
///
/// # Errors
///
/// What the file system says; the old file is then as it was.
pub fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fill(path, |file| file.write_all(bytes))
}

/// The same with a function that writes.
///
/// # Errors
///
/// What the file system or `content` says; the old file is then as it was.
pub fn fill(
    path: &Path,
    content: impl FnOnce(&mut File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut draft = tempfile::Builder::new()
        .permissions(std::fs::Permissions::from_mode(MODE))
        .tempfile_in(folder.unwrap_or(Path::new(".")))?;
    content(draft.as_file_mut())?;
    draft.as_file().sync_all()?;
    draft.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_a_failure_leaves_the_old_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        write(&path, b"old and long").unwrap();
        write(&path, b"new").unwrap();
        let failed = fill(&path, |file| {
            file.write_all(b"half")?;
            Err(std::io::Error::other("the writer gave up"))
        });
        assert!(failed.is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a draft is left");
        assert!(write(&folder.path().join("missing/state"), b"new").is_err());
    }
}
