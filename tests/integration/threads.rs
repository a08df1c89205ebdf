//! The networks do not ask the machine for its CPUs at every matrix product.

use std::process::{Command, Stdio};
use std::time::Duration;

/// More reads than a run makes for its own files, and far fewer than it makes matrix products.
const READS: u64 = 2_000;

/// System calls that read, of a process so far; none when it has ended.
fn reads(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/io")).ok()?;
    text.lines().find_map(|line| line.strip_prefix("syscr: ")).and_then(|count| count.parse().ok())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "samples a process that ends by itself")]
fn a_run_of_the_learned_policy_makes_few_reads_however_many_products_it_computes() {
    let mut process = Command::new(env!("CARGO_BIN_EXE_hirl"))
        .args(["simulate", "--scenario", "level-1", "--policy", "hirl", "--seed", "1"])
        .env_remove("RAYON_NUM_THREADS")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = loop {
        most = reads(process.id()).unwrap_or(0).max(most);
        if let Some(status) = process.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(status.success());
    assert!(most > 0 && most < READS, "{most} reads");
}
