//! Child processes: each in its own process group, with a log file, ended when dropped.

use std::collections::HashSet;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group};

use super::scratch::Scratch;
use super::wait::until;

/// Lines of a log that a failure message shows.
const TAIL: usize = 25;

/// A running program.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    scratch: Arc<Scratch>,
}

impl Process {
    /// Starts `command` with both outputs appended to `NAME.log` in the scratch folder.
    pub fn spawn(scratch: &Arc<Scratch>, name: &str, mut command: Command) -> Result<Self> {
        let log = scratch.path().join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        let program = command.get_program().to_owned();
        let child = command
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("sharing the log file")?)
            .stderr(file)
            // Ctrl-C reaches this program only, which then stops its parts in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", Path::new(&program).display()))?;
        scratch.guard(child.id());
        Ok(Self { name: name.to_owned(), child, log, scratch: Arc::clone(scratch) })
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, which is also its group.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written.
    pub fn log(&self) -> Result<String> {
        let bytes =
            std::fs::read(&self.log).with_context(|| format!("reading {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The end of its log, for a failure message.
    pub fn tail(&self) -> String {
        let log = self.log().unwrap_or_else(|error| format!("{error:#}"));
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        format!("the end of {}:\n{}", self.log.display(), lines[from..].join("\n"))
    }

    /// CPU time that it has used over all its threads, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        /// Linux gives these numbers in hundredths of a second on every machine.
        const TICKS_PER_SECOND: f64 = 100.0;
        let path = format!("/proc/{}/stat", self.id());
        let stat = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        // The second field is a name that may hold anything; user and system time are 14 and 15.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields.split_whitespace());
        let ticks: Vec<f64> =
            fields.into_iter().flatten().skip(11).take(2).flat_map(str::parse).collect();
        ensure!(ticks.len() == 2, "{path} is not as expected: {stat}");
        Ok(ticks.iter().sum::<f64>() / TICKS_PER_SECOND)
    }

    /// Its memory, in MiB: `VmRSS` for what is resident now, `VmHWM` for the most that ever was.
    pub fn memory_mib(&self, field: &str) -> Result<f64> {
        let path = format!("/proc/{}/status", self.id());
        let status = std::fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kib = line.with_context(|| format!("{path} has no {field}"))?;
        let kib: f64 = kib.trim().trim_end_matches(" kB").parse().context("reading a size")?;
        Ok(kib / 1024.0)
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("looking at {}", self.name))
    }

    /// Waits until `probe` succeeds. A process that ends meanwhile, or is too late, is a failure
    /// that shows the end of its log.
    pub async fn ready(
        &mut self,
        within: Duration,
        mut probe: impl AsyncFnMut() -> Result<()>,
    ) -> Result<()> {
        let name = self.name.clone();
        let waited = until(format_args!("{name} to be ready"), within, async || {
            match self.ended()? {
                // Not worth waiting for any longer, but `until` only knows success.
                Some(status) => Ok(Err(status)),
                None => probe().await.map(Ok),
            }
        })
        .await;
        match waited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(status)) => bail!("{name} ended with {status}; {}", self.tail()),
            Err(error) => bail!("{error:#}; {}", self.tail()),
        }
    }

    /// Sends a signal to it and everything it started.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let group = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let group = group.with_context(|| format!("{} has no process id", self.name))?;
        kill_process_group(group, signal)
            .with_context(|| format!("sending a signal to {}", self.name))
    }

    /// Stops it in its tracks: it keeps its connections and answers nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on after [`Process::pause`].
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) -> Result<()> {
        if self.ended()?.is_none() {
            self.signal(Signal::KILL)?;
            self.child.wait().with_context(|| format!("waiting for {}", self.name))?;
        }
        self.scratch.release(self.id());
        Ok(())
    }

    /// Asks it to stop, and waits for the end.
    pub async fn terminate(&mut self, within: Duration) -> Result<ExitStatus> {
        if self.ended()?.is_none() {
            self.signal(Signal::TERM)?;
        }
        let name = self.name.clone();
        let status = until(format_args!("{name} to end after SIGTERM"), within, async || {
            self.ended()?.context("it still runs")
        })
        .await?;
        self.scratch.release(self.id());
        Ok(status)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // What cannot be ended here is left to the guardian.
        let _ = self.kill();
    }
}

/// A port on 127.0.0.1 that is free now, and that this function gives to nobody else.
pub fn free_port() -> Result<u16> {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    loop {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a free port")?;
        let port = listener.local_addr().context("looking for a free port")?.port();
        if given.insert(port) {
            return Ok(port);
        }
    }
}

/// A free address on loopback.
pub fn free_address() -> Result<SocketAddr> {
    Ok((Ipv4Addr::LOCALHOST, free_port()?).into())
}
