//! The alert rules that are shipped, by Prometheus' own judge.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::testbed::binaries::Binaries;
use crate::testbed::scratch::Scratch;

const RULES: &str = include_str!("../../manifests/alerts/prometheusrule.yaml");
const TESTS: &str = include_str!("../data/alerts.yaml");

/// Runs `promtool` in a folder.
fn judge(promtool: &Path, folder: &Path, words: &[&str]) -> Result<()> {
    let output = Command::new(promtool).args(words).current_dir(folder).output();
    let output = output.with_context(|| format!("running {}", promtool.display()))?;
    let said = [output.stdout, output.stderr].map(|it| String::from_utf8_lossy(&it).into_owned());
    ensure!(output.status.success(), "promtool {}:\n{}", words.join(" "), said.concat());
    Ok(())
}

#[test]
fn every_alert_rule_is_sound_and_fires_when_it_should_and_only_then() -> Result<()> {
    let Some(promtool) = Binaries::find()?.promtool else {
        println!("skipped: the testbed has no promtool");
        return Ok(());
    };
    let rule: Value = serde_saphyr::from_str(RULES)?;
    let groups = &rule["spec"]["groups"];
    let rules =
        groups.as_array().into_iter().flatten().filter_map(|group| group["rules"].as_array());
    for alert in rules.flatten().map(|rule| rule["alert"].as_str().unwrap_or_default()) {
        let fires = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"");
        ensure!(TESTS.contains(&fires), "no test says when {alert} fires");
    }
    let scratch = Scratch::create()?;
    // JSON is YAML.
    scratch.write("rules.yaml", &json!({ "groups": groups }).to_string())?;
    scratch.write("alerts.yaml", TESTS)?;
    judge(&promtool, scratch.path(), &["check", "rules", "rules.yaml"])?;
    judge(&promtool, scratch.path(), &["test", "rules", "alerts.yaml"])
}
