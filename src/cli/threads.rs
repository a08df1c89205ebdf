//! The number of threads that one matrix product may use, fixed once at the start of the process.
//!
//! candle-core 0.11.1 asks `utils::get_num_threads` at every matrix product
//! (`cpu_backend/mod.rs`, `MatMul::f`). Without `RAYON_NUM_THREADS` in the environment that calls
//! `num_cpus::get_physical`, which opens and parses `/proc/cpuinfo` each time, takes longer than our
//! small products, and ignores CPU limits of a container. Nothing but the environment changes it, and
//! setting a variable of the running process is `unsafe`; so the process replaces itself once by
//! itself with the variable set. Its process id, arguments and open files stay.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The variable that candle and rayon read.
pub(super) const VARIABLE: &str = "RAYON_NUM_THREADS";

/// Fixes the number of threads: 1 by default, because every verb that computes much runs many
/// products side by side; what the environment asks for, at most the CPUs that this process may use.
/// Returns when nothing is left to do, or when the process could not be replaced, which costs time only.
pub(super) fn fix() {
    let given = std::env::var_os(VARIABLE);
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let wanted = threads(given.as_deref(), cpus).to_string();
    if given.is_some_and(|given| given == *wanted) {
        return;
    }
    let mut arguments = std::env::args_os();
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Comes back only when it failed.
    let error = command.args(arguments).env(VARIABLE, wanted).exec();
    super::note(&format!(
        "matrix products will be slow, set {VARIABLE}=1: this process could not start again ({error})"
    ));
}

/// Threads per matrix product for what the environment says and the CPUs that are there.
fn threads(given: Option<&OsStr>, cpus: usize) -> usize {
    let given = given.and_then(OsStr::to_str).and_then(|text| text.trim().parse().ok());
    given.filter(|given| *given > 0).unwrap_or(1).min(cpus.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_unless_asked_for_more_and_never_more_than_the_cpus() {
        for (given, cpus, expected) in [
            (None, 8, 1),
            (Some("4"), 8, 4),
            (Some("64"), 2, 2),
            (Some("0"), 8, 1),
            (Some("many"), 8, 1),
            (Some(""), 8, 1),
            (Some("3"), 0, 1),
        ] {
            assert_eq!(threads(given.map(OsStr::new), cpus), expected, "{given:?} of {cpus}");
        }
    }

    #[test]
    fn tests_have_it_fixed_by_the_settings_of_cargo() {
        assert_eq!(candle_core::utils::get_num_threads(), 1);
    }
}
