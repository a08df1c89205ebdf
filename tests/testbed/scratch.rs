//! The scratch folder of one testbed, and the guardian that cleans up after it.
//!
//! The guardian is a shell that reads the process groups to end from a pipe. The pipe closes when
//! this program ends, however it ends (return, panic, Ctrl-C, `kill -9`, statics that are never
//! dropped); the guardian then ends every group and removes the folder, unless it was told to
//! keep it.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};

use anyhow::{Context as _, Result};

/// Ends what was added and not dropped, once nobody holds the pipe any more.
const GUARDIAN: &str = r#"
groups= keep=
while read -r word value; do
    case $word in
    add) groups="$groups $value" ;;
    drop) rest=; for group in $groups; do [ "$group" = "$value" ] || rest="$rest $group"; done; groups=$rest ;;
    keep) keep=yes ;;
    esac
done
for group in $groups; do kill -s KILL -- "-$group"; done
[ -n "$keep" ] || rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }
"#;

/// Every scratch folder of this program, for [`keep_all`].
static ALL: Mutex<Vec<Weak<Scratch>>> = Mutex::new(Vec::new());

/// A folder that goes when the program goes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    guardian: Mutex<Child>,
}

impl Scratch {
    /// A new folder under the system's folder for temporary files, and its guardian. It stays when
    /// `HIRL_TESTBED_KEEP` is set, when the program panics, or after [`Scratch::keep`].
    pub fn create() -> Result<Arc<Self>> {
        let path = tempfile::Builder::new()
            .prefix("hirl-testbed-")
            .tempdir()
            .context("making a scratch folder")?
            .keep();
        let guardian = Command::new("/bin/sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&path)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Its own group: Ctrl-C in a terminal must not end the one that cleans up.
            .process_group(0)
            .spawn()
            .context("starting /bin/sh to clean up afterwards")?;
        let scratch = Arc::new(Self { path, guardian: Mutex::new(guardian) });
        all().push(Arc::downgrade(&scratch));
        if std::env::var_os("HIRL_TESTBED_KEEP").is_some() {
            scratch.keep();
        }
        keep_on_panic();
        Ok(scratch)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file, readable by this user only, and returns its path. The file changes in one
    /// step, as a mounted Secret does.
    pub fn write(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        let fresh = self.path.join(format!("{name}.new"));
        write_private(&fresh, content)
            .and_then(|()| std::fs::rename(&fresh, &path))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(path)
    }

    /// Leaves the folder in place afterwards, with every log.
    pub fn keep(&self) {
        self.tell("keep");
    }

    /// Ends process group `group` if this program goes before it does.
    pub fn guard(&self, group: u32) {
        self.tell(&format!("add {group}"));
    }

    /// Process group `group` has ended: its number may belong to somebody else now.
    pub fn release(&self, group: u32) {
        self.tell(&format!("drop {group}"));
    }

    fn tell(&self, line: &str) {
        let mut guardian = self.guardian.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pipe) = guardian.stdin.as_mut() {
            // A guardian that is gone can clean up nothing; there is nothing better to do.
            let _ = writeln!(pipe, "{line}");
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep();
        }
        let guardian = self.guardian.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(guardian.stdin.take());
        let _ = guardian.wait();
    }
}

/// Keeps every scratch folder of this program and says where they are: something failed.
pub fn keep_all() {
    for scratch in all().iter().filter_map(Weak::upgrade) {
        scratch.keep();
        let line = format!("testbed: logs are in {}\n", scratch.path.display());
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

fn keep_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            keep_all();
        }));
    });
}

fn all() -> std::sync::MutexGuard<'static, Vec<Weak<Scratch>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content.as_bytes())
}
