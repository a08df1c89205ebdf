//! Recorded traffic of others becomes histories.

use std::path::{Path, PathBuf};

use hirl_scale::history::parquet::{self, Origin};
use hirl_scale::history::{self, Mended};

/// A recorded file; `None`, with a message, where recordings are not at hand.
#[expect(clippy::print_stdout, reason = "who runs the tests is told what was left out")]
fn recorded(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("HIRL_DATA").map_or_else(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: no recorded traffic at {} (set HIRL_DATA)", path.display());
    None
}

#[test]
fn recorded_traffic_is_read_with_its_gaps_and_kept_bit_by_bit() {
    let folder = tempfile::tempdir().unwrap();
    // First minute, minutes in all, minutes in gaps, and the first value.
    for (name, start, minutes, unknown, first) in [
        ("microsoft/mongo-01.csv.gz", "2018-04-25T00:00:00Z", 15_840, 0, 6034.733_f32),
        ("worldcup98/requests_per_minute.csv.gz", "1998-04-30T21:30:00Z", 125_310, 10, 2.0),
        ("aiops2018/42d6616d.csv.gz", "2017-04-01T10:08:00Z", 299_053, 0, 35.11),
    ] {
        let Some(path) = recorded(name) else { return };
        let (read, mended) = history::open(&path).unwrap();
        let start: jiff::Timestamp = start.parse().unwrap();
        assert_eq!(read.start * 60, start.as_second(), "{name}");
        assert_eq!((read.minutes(), mended.gap_minutes), (minutes, unknown), "{name}: {mended}");
        assert!((read.series[0].rps[0] - first).abs() < 1e-3, "{name}");

        let kept = folder.path().join("kept.parquet");
        parquet::write(&kept, &read, &Origin::default()).unwrap();
        let (again, _) = history::open(&kept).unwrap();
        let bits = |series: &[f32]| series.iter().map(|rps| rps.to_bits()).collect::<Vec<_>>();
        assert_eq!(again.start, read.start);
        assert_eq!(bits(&again.series[0].rps), bits(&read.series[0].rps), "{name}");
        let size = std::fs::metadata(&kept).unwrap().len();
        println!("{name}: {mended}; {size} bytes as Parquet");
        assert_ne!(mended, Mended::default());
    }
}

#[test]
fn recorded_traffic_by_the_hour_is_refused() {
    let Some(path) = recorded("microsoft/api-01.csv.gz") else { return };
    let sentence = history::open(&path).unwrap_err().to_string();
    assert!(sentence.contains("a row every 60 minutes"), "{sentence}");
}
