//! The same seed is the same run, in every thread and in every process.

use std::process::Command;
use std::sync::Arc;

use hirl_scale::simulation::scenario::families;
use hirl_scale::simulation::{Run, Seed, arms, simulate};

const SEED: u64 = 11;

fn run() -> Run {
    let seed = Seed::root(SEED);
    let scenario = Arc::new(families::generate(4, seed).unwrap());
    simulate(&scenario, &arms::arm("rules").unwrap(), (seed, SEED), Some(10.0)).unwrap()
}

#[test]
fn the_same_seed_is_the_same_run_in_every_thread_and_process() {
    let here = serde_json::to_string(&run()).unwrap();
    std::thread::scope(|scope| {
        let others: Vec<_> = (0..2).map(|_| scope.spawn(run)).collect();
        for other in others {
            assert_eq!(serde_json::to_string(&other.join().unwrap()).unwrap(), here);
        }
    });
    let out = tempfile::tempdir().unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_hirl"))
        .args(["simulate", "--scenario", "level-4", "--policy", "rules", "--seed", "11", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let there = std::fs::read_to_string(out.path().join("run.json")).unwrap();
    assert!(there == here, "another process came to other numbers");
}
