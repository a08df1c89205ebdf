use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser as _;
use tempfile::TempDir;

use super::*;
use crate::evaluation::Slice;
use crate::evaluation::made_up::shaped;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn args(words: &[&str]) -> Args {
    Line::try_parse_from([&["evaluate"], words].concat()).map(|line| line.args).unwrap()
}

/// A folder with one small scenario in it.
fn scenarios() -> TempDir {
    let folder = TempDir::new().unwrap();
    let text = builtin_text().replace("name: adr-001", "name: mine");
    std::fs::write(folder.path().join("mine.yaml"), text).unwrap();
    folder
}

fn builtin_text() -> &'static str {
    crate::simulation::scenario::builtin::text("adr-001").unwrap()
}

/// Evaluates made-up runs; also how many were made.
fn evaluated(args: &Args) -> (anyhow::Result<Comparison>, usize) {
    let made = AtomicUsize::new(0);
    let comparison = evaluate(args, &["hpa", "rules"], |scenario, policy, _, number| {
        made.fetch_add(1, Ordering::Relaxed);
        let skill = if policy == "hpa" { 0.0 } else { 0.6 };
        Ok(shaped([&scenario.name, policy], number, skill))
    });
    (comparison, made.into_inner())
}

#[test]
fn a_second_call_makes_only_what_is_not_there() {
    let (folder, out) = (scenarios(), TempDir::new().unwrap());
    let names = format!("{},steady", folder.path().display());
    let out_text = out.path().join("out").display().to_string();
    let words =
        ["--scenarios", &names, "--policies", "rules", "--seeds", "0..1", "--out", &out_text];
    let args = args(&words);
    let (comparison, made) = evaluated(&args);
    // Two scenarios, two seeds, and the baseline beside the policy that was named.
    assert_eq!((made, comparison.unwrap().policies), (8, vec!["hpa".to_owned(), "rules".into()]));
    let read = |name: &str| std::fs::read_to_string(args.out.join(name)).unwrap();
    let first = ["runs.csv", "evaluation.json", "report.html"].map(read);
    assert_eq!(evaluated(&args).1, 0);
    assert_eq!(["runs.csv", "evaluation.json", "report.html"].map(read), first);
    // A file that was cut off, and a scenario that changed.
    let cut = args.out.join("runs/steady.rules.1.json");
    let whole = std::fs::read_to_string(&cut).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(evaluated(&args).1, 1);
    let file = folder.path().join("mine.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("level: 1", "level: 2")).unwrap();
    assert_eq!(evaluated(&args).1, 4);
    let drafts = std::fs::read_dir(args.out.join("runs")).unwrap();
    assert!(drafts.into_iter().all(|it| it.unwrap().path().extension().unwrap() == "json"));
}

#[test]
fn what_is_written_says_how_it_was_made() {
    let out = TempDir::new().unwrap();
    let out_text = out.path().join("out").display().to_string();
    let words =
        ["--scenarios", "adr-001", "--policies", "hpa,rules", "--seeds", "3,5", "--out", &out_text];
    let args = args(&[&words[..], &["--space", "final", "--replay", "3"]].concat());
    let comparison = evaluated(&args).0.unwrap();
    let better = comparison.figure(&Slice::All, "breachMinutes", "rules").unwrap();
    assert!(better.difference.unwrap().mean < 0.0);
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(args.out.join("evaluation.json")).unwrap()).unwrap();
    assert!(json["command"].as_str().unwrap().starts_with("hirl"));
    assert_eq!((&json["space"], json["runs"].as_array().unwrap().len()), (&json!("final"), 4));
    assert_eq!(json["comparison"]["seeds"], json!([3, 5]));
    let page = std::fs::read_to_string(args.out.join("report.html")).unwrap();
    // Only one of the two seeds can be watched.
    assert!(page.contains("id=\"run-1\"") && !page.contains("id=\"run-2\""));
    evaluated(&args).0.unwrap();
    let log = std::fs::read_to_string(out.path().join("final-runs.log")).unwrap();
    assert_eq!(log.lines().count(), 2);
    assert!(log.lines().all(|line| line.contains(json["inputs"].as_str().unwrap())));
}

#[test]
fn bad_input_is_one_clear_sentence() {
    let folder = scenarios();
    std::fs::write(folder.path().join("twin.yaml"), builtin_text().replace("adr-001", "mine"))
        .unwrap();
    let empty = TempDir::new().unwrap();
    let (twins, nothing) =
        (folder.path().display().to_string(), empty.path().display().to_string());
    let out = TempDir::new().unwrap();
    let out = out.path().display().to_string();
    let cases = [
        (
            "nowhere",
            "hpa",
            "\"nowhere\" is no file or folder and no scenario; built in are adr-001,",
        ),
        ("level-9", "hpa", "and level-1 to level-8"),
        (&nothing, "hpa", "there is no .yaml or .yml file in it"),
        (&twins, "hpa", "two scenarios are named \"mine\", the second in"),
        ("steady", "magic", "there is no policy \"magic\"; there are hpa, rules"),
    ];
    for (scenarios, policies, sentence) in cases {
        let words =
            ["--scenarios", scenarios, "--policies", policies, "--seeds", "0", "--out", &out];
        let (comparison, made) = evaluated(&args(&words));
        let error = format!("{:#}", comparison.unwrap_err());
        assert!(error.contains(sentence), "{error}");
        assert_eq!(made, 0);
    }
}

#[test]
fn the_first_error_ends_the_evaluation_and_what_is_done_stays() {
    let out = TempDir::new().unwrap();
    let out_text = out.path().display().to_string();
    let words = ["--scenarios", "adr-001", "--policies", "rules", "--seeds", "0..1", "--jobs", "1"];
    let args = args(&[&words[..], &["--out", &out_text]].concat());
    let error = evaluate(&args, &["hpa", "rules"], |scenario, policy, _, number| {
        if policy == "rules" {
            bail!("no room");
        }
        Ok(shaped([&scenario.name, policy], number, 0.0))
    });
    assert_eq!(error.unwrap_err().to_string(), "no room");
    assert_eq!(evaluated(&args).1, 3);
}
