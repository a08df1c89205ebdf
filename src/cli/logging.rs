//! Structured logs on standard error, with a level that can be changed while serving.

use std::io::{BufWriter, IsTerminal};

use anyhow::Context;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

/// Arguments about logs.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct LogArgs {
    /// What is logged: a level, or `target=level` pairs separated by commas
    #[arg(long, env = "HIRL_LOG", default_value = "info")]
    log: String,
    /// How it is written; `auto` is text on a terminal and JSON elsewhere
    #[arg(long, env = "HIRL_LOG_FORMAT", value_enum, default_value_t = Format::Auto)]
    log_format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Auto,
    Json,
    Text,
}

/// Lines that may wait to be written: about 10 MB, several minutes of audit at full size.
const QUEUE: usize = 32_000;

/// The running log output.
#[derive(Debug)]
pub(super) struct Logging {
    /// Writes out what is buffered when it is dropped.
    _writer: WorkerGuard,
    dropped: ErrorCounter,
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Starts it; once per process.
    pub(super) fn start(args: &LogArgs) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&args.log)
            .with_context(|| format!("--log {:?} is no level or list of target=level", args.log))?;
        let (filter, handle) = reload::Layer::new(filter);
        let text = match args.log_format {
            Format::Text => true,
            Format::Json => false,
            Format::Auto => std::io::stderr().is_terminal(),
        };
        let registry = tracing_subscriber::registry().with(filter);
        // A thread writes, in batches while there is much to write. A reader of the log that
        // stalls must not stall the HPAs: lines beyond the queue are dropped and counted.
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUE)
            .finish(BufWriter::new(std::io::stderr()));
        let dropped = writer.error_counter();
        let output = fmt::layer().with_writer(writer);
        if text {
            registry.with(output).try_init()
        } else {
            registry.with(output.json().flatten_event(true).with_current_span(false)).try_init()
        }
        .context("starting the log")?;
        Ok(Self { _writer: guard, dropped, filter: handle })
    }

    /// Lines dropped so far because nobody read the log.
    pub(super) fn dropped_lines(&self) -> usize {
        self.dropped.dropped_lines()
    }

    /// Puts another filter in force; the sentence says what is wrong with it.
    pub(super) fn set(&self, filter: &str) -> Result<(), String> {
        let parsed = EnvFilter::try_new(filter)
            .map_err(|error| format!("{filter:?} is no log filter: {error}"))?;
        self.filter.reload(parsed).map_err(|error| error.to_string())
    }
}
