//! Many jobs on several threads, and how far they are.

use std::io::{IsTerminal as _, Write as _};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Without a terminal: time between two lines.
const QUIET: Duration = Duration::from_secs(10);

/// What came of a job.
pub(super) struct Done<T> {
    pub(super) what: T,
    /// Whether it was there from before.
    pub(super) reused: bool,
}

/// Does all jobs, as many at a time as asked or as there are cores, and says how far they are. The results
/// come in any order. The first error stops the rest.
pub(super) fn all<J: Sync, T: Send>(
    jobs: &[J],
    threads: Option<NonZeroUsize>,
    work: impl Fn(&J) -> anyhow::Result<Done<T>> + Sync,
) -> anyhow::Result<Vec<T>> {
    let mut progress = Progress::of(jobs.len());
    each(jobs, threads, work, |Done { what, reused }| {
        progress.one_more(reused);
        what
    })
}

/// The same without a word.
pub(super) fn quietly<J: Sync, T: Send>(
    jobs: &[J],
    threads: Option<NonZeroUsize>,
    work: impl Fn(&J) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>> {
    each(jobs, threads, work, |what| what)
}

fn each<J: Sync, R: Send, T>(
    jobs: &[J],
    threads: Option<NonZeroUsize>,
    work: impl Fn(&J) -> anyhow::Result<R> + Sync,
    mut take: impl FnMut(R) -> T,
) -> anyhow::Result<Vec<T>> {
    let threads = threads.or(std::thread::available_parallelism().ok());
    let threads = threads.map_or(1, NonZeroUsize::get).min(jobs.len());
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(job);
                    if result.is_err() {
                        next.store(jobs.len(), Ordering::Relaxed);
                    }
                    if sender.send(result).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        results.iter().map(|result| result.map(&mut take)).collect()
    })
}

/// A line on standard error: rewritten on a terminal, repeated now and then elsewhere.
struct Progress {
    total: usize,
    done: usize,
    reused: usize,
    begun: Instant,
    said: Instant,
    terminal: bool,
}

impl Progress {
    fn of(total: usize) -> Self {
        let now = Instant::now();
        let terminal = std::io::stderr().is_terminal();
        Self { total, done: 0, reused: 0, begun: now, said: now, terminal }
    }

    fn one_more(&mut self, reused: bool) {
        self.done += 1;
        self.reused += usize::from(reused);
        let mut out = std::io::stderr();
        let over = self.done == self.total;
        // Nobody is left to tell where this fails.
        if self.terminal {
            let end = if over { "\n" } else { "" };
            let _ = write!(out, "\r\x1b[K{}{end}", self.line());
            let _ = out.flush();
        } else if over || self.said.elapsed() >= QUIET {
            let _ = writeln!(out, "{}", self.line());
            self.said = Instant::now();
        }
    }

    fn line(&self) -> String {
        let Self { total, done, reused, .. } = *self;
        let filled = 30 * done / total.max(1);
        let bar = format!("{}{}", "#".repeat(filled), "-".repeat(30 - filled));
        let made = done - reused;
        let left = self.begun.elapsed().as_secs_f64() / made.max(1) as f64 * (total - done) as f64;
        let rest = if made > 0 && done < total {
            format!(", about {left:.0} s left")
        } else {
            String::new()
        };
        format!("[{bar}] {done}/{total} runs, {reused} of them from before{rest}")
    }
}
