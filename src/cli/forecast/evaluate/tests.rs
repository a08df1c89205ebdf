use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// A file of so many days of a daily rhythm, one value a minute.
fn file(folder: &Path, name: &str, days: usize) -> PathBuf {
    let seed = Seed::root(5);
    let row = |minute: usize| {
        let day = minute as f64 / DAY as f64 * std::f64::consts::TAU;
        let noise = 1.0 + 0.03 * seed.draw(minute as u64).gauss();
        format!("{},{:.3}\n", 1_491_004_800 + 60 * minute, (20.0 + 10.0 * day.sin()) * noise)
    };
    let rows: String = (0..days * DAY).map(row).collect();
    let path = folder.join(name);
    std::fs::write(&path, format!("timestamp,value\n{rows}")).unwrap();
    path
}

fn evaluated(files: &[&Path], out: &Path, more: &[&str]) -> anyhow::Result<ExitCode> {
    let mut words = vec!["evaluate".into(), "--out".into(), out.as_os_str().to_owned()];
    words.extend(more.iter().map(std::ffi::OsString::from));
    words.push("--data".into());
    words.extend(files.iter().map(|file| file.as_os_str().to_owned()));
    run(&Line::parse_from(words).args)
}

#[test]
fn a_file_of_traffic_ends_as_figures_and_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let good = file(folder.path(), "shop.csv", 10);
    let short = file(folder.path(), "new<b>.csv", 3);
    let hourly = folder.path().join("hourly.csv");
    let rows: Vec<String> = (0..400).map(|hour| format!("{},5", 3600 * hour)).collect();
    std::fs::write(&hourly, format!("timestamp,value\n{}\n", rows.join("\n"))).unwrap();
    let out = folder.path().join("out");
    evaluated(&[&good, &short, &hourly], &out, &["--every", "60"]).unwrap();
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    // One series, the network and five baselines, three horizons, and the head.
    assert_eq!(text("accuracy.csv").lines().count(), 19);
    let json: serde_json::Value = serde_json::from_str(&text("accuracy.json")).unwrap();
    assert_eq!(json["series"][0]["name"], "shop");
    assert_eq!(json["series"][0]["forecasters"][0]["name"], "mixer");
    assert_eq!(json["series"][0]["forecasters"][1]["name"], "level-x-profile");
    assert_eq!(json["series"][0]["forecasters"][0]["coverage"].as_array().unwrap().len(), 27);
    assert_eq!(json["ineligible"][0]["name"], "new<b>");
    assert_eq!(json["ineligible"][1]["name"], "hourly");
    let page = text("report.html");
    assert!(page.contains("mixer against seasonal-week") && page.contains("06-09h"));
    assert!(!page.contains("new<b>"), "names are escaped");
}

#[test]
fn too_little_traffic_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let short = file(folder.path(), "short.csv", 1);
    let out = folder.path().join("out");
    for more in [&[][..], &["--from", "2"]] {
        let error = evaluated(&[&short], &out, more).unwrap_err().to_string();
        assert!(error.contains("none of the series is long"), "{error}");
    }
    let two = file(folder.path(), "two.csv", 2);
    assert!(evaluated(&[&two], &out, &["--from", "2", "--every", "30"]).is_ok());
    let missing = folder.path().join("missing.csv");
    assert!(evaluated(&[&missing], &out, &[]).is_err());
}

#[test]
fn a_weekly_fine_tune_is_judged_beside_the_network_and_needs_three_weeks() {
    let folder = tempfile::tempdir().unwrap();
    let long = file(folder.path(), "long.csv", 21);
    let short = file(folder.path(), "short.csv", 12);
    let out = folder.path().join("out");
    evaluated(&[&long, &short], &out, &["--every", "240", "--fine-tune", "2"]).unwrap();
    let text = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text("accuracy.json")).unwrap();
    assert_eq!(json["fine_tune_steps"], 2);
    let [long, short] = [&json["series"][0], &json["series"][1]];
    // Before the week from day 15 on; a week alone, before day 8, is too little.
    assert_eq!(long["fine_tune"]["weeks"], 1);
    assert_eq!(long["forecasters"][1]["name"], "mixer, fine-tuned");
    let skills = long["skills"].as_array().unwrap();
    let against = |skill: &serde_json::Value| skill["ours"] == "mixer, fine-tuned";
    // Six others, all horizons and each.
    assert_eq!(skills.iter().filter(|skill| against(skill)).count(), 24);
    let none = short["fine_tune"]["none"].as_str().unwrap();
    assert!(none.contains("3 weeks are needed"), "{none}");
    assert_eq!(short["forecasters"][1]["name"], "level-x-profile");
    assert!(text("report.html").contains("of 1 weekly fine-tunes"));
}
