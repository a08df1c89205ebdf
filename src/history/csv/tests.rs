use std::fmt::Write as _;
use std::io::Write as _;

use super::*;

/// Reads a text as a file of this name.
fn read_text(text: &[u8], options: &Options) -> Result<(History, Mended), Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.csv");
    std::fs::write(&path, text).unwrap();
    read(&[path], options)
}

fn good(text: &str, options: &Options) -> (History, Mended) {
    read_text(text.as_bytes(), options).unwrap()
}

fn refusal(text: &str) -> String {
    let error = read_text(text.as_bytes(), &Options::default()).unwrap_err().to_string();
    error.rsplit_once("shop.csv").unwrap().1.to_owned()
}

/// Values with -1 for unknown, so that they compare.
fn values(history: &History, index: usize) -> Vec<f32> {
    history.series[index].rps.iter().map(|rps| if rps.is_nan() { -1.0 } else { *rps }).collect()
}

#[test]
fn minutes_come_out_as_they_went_in() {
    let text = "TimeStamp,Value,Label\n\
        \"2018-04-25T00:00:00Z\",10,0\n2018-04-25T00:01:00Z,20,0\n2018-04-25T00:02:00Z,30.5,1\n";
    let (history, mended) = good(text, &Options::default());
    assert_eq!(history.start, 1_524_614_400 / 60);
    assert_eq!(history.series.len(), 1);
    assert_eq!(history.series[0].name, "shop");
    assert_eq!(values(&history, 0), [10.0, 20.0, 30.5]);
    assert_eq!(mended, Mended { rows: 3, ..Mended::default() });
    assert_eq!(mended.to_string(), "3 rows");
}

#[test]
fn gaps_stay_gaps_and_are_counted() {
    let text = "time,rps\n0,1\n60,2\n120,3\n18120,4\n18180,NaN\n18240,5\n";
    let (history, mended) = good(text, &Options::default());
    assert_eq!(history.minutes(), 305);
    assert_eq!(values(&history, 0)[..4], [1.0, 2.0, 3.0, -1.0]);
    assert_eq!(values(&history, 0)[301..], [-1.0, 4.0, -1.0, 5.0]);
    assert_eq!((mended.gaps, mended.gap_minutes, mended.unknown), (2, 300, 1));
    assert_eq!(
        mended.to_string(),
        "6 rows; 1 values unknown (empty, not finite or negative); 2 gaps of 300 minutes in all"
    );
}

#[test]
fn what_is_no_rate_is_unknown_and_counted() {
    let text = "time,rps\n0,1\n60,nan\n120,inf\n180,-4\n240,\n300,null\n360,1e300\n420,2\n";
    let (history, mended) = good(text, &Options::default());
    assert_eq!(values(&history, 0), [1.0, -1.0, -1.0, -1.0, -1.0, -1.0, -1.0, 2.0]);
    assert_eq!(mended.unknown, 6);
}

#[test]
fn rows_out_of_order_are_sorted_and_duplicates_mended() {
    let text = "time,rps\n120,3\n0,1\n60,2\n60,2\n180,4\n180,6\n180,6\n";
    let (history, mended) = good(text, &Options::default());
    assert_eq!(values(&history, 0), [1.0, 2.0, 3.0, 5.0]);
    assert_eq!((mended.unsorted, mended.duplicates, mended.conflicts), (3, 2, 1));
}

#[test]
fn readings_within_a_minute_are_averaged_and_counts_divided_by_their_step() {
    let text = "time,n\n0,10\n15,20\n30,30\n45,40\n60,15\n90,15\n105,30\n";
    let rates = good(text, &Options::default()).0;
    assert_eq!(values(&rates, 0), [25.0, 20.0]);
    let options = Options { unit: Unit::Count, ..Options::default() };
    // The row at 75 is missing: the others tell the rate, and nothing is taken for 0.
    assert_eq!(values(&good(text, &options).0, 0), [25.0 / 15.0, 20.0 / 15.0]);
    for (unit, factor) in [(Unit::PerMinute, 60.0), (Unit::PerHour, 3600.0)] {
        let options = Options { unit, ..Options::default() };
        assert_eq!(values(&good(text, &options).0, 0), [25.0 / factor, 20.0 / factor]);
    }
}

#[test]
fn a_counter_becomes_a_rate_across_resets_and_not_across_gaps() {
    let text = "time,total\n0,100\n30,400\n60,700\n90,30\n120,60\n1200,90000\n1260,90600\n";
    let options = Options { unit: Unit::Counter, ..Options::default() };
    let (history, mended) = good(text, &options);
    let rates = values(&history, 0);
    // 30 in the first half of the second minute after the reset, 30 in the second.
    assert_eq!(rates[..2], [10.0, 1.0]);
    assert!(rates[2..20].iter().all(|rate| *rate == -1.0), "{rates:?}");
    assert_eq!(rates[20], 10.0);
    assert_eq!(mended.resets, 1);
}

#[test]
fn a_step_of_up_to_five_minutes_is_held_and_a_coarser_one_refused() {
    let text = "time,rps\n0,1\n300,2\n600,3\n1500,4\n";
    let (history, mended) = good(text, &Options::default());
    let rates = values(&history, 0);
    assert_eq!(rates[..16], [1., 1., 1., 1., 1., 2., 2., 2., 2., 2., 3., 3., 3., 3., 3., -1.]);
    assert_eq!(rates[24..], [-1.0, 4.0]);
    assert_eq!(mended.held, 12);
    assert_eq!(
        refusal("time,rps\n0,1\n3600,2\n7200,2\n"),
        ": \"shop\" has a row every 60 minutes: forecasts 5 to 30 minutes ahead need one at least every 5"
    );
}

#[test]
fn uneven_times_make_no_gaps() {
    let text = "time,rps\n1,1\n60,2\n119,3\n181,4\n240,5\n";
    let (history, mended) = good(text, &Options::default());
    assert_eq!(values(&history, 0), [1.0, 2.5, 3.0, 4.0, 5.0]);
    assert_eq!(mended.held, 1);
}

#[test]
fn a_clock_change_neither_loses_nor_doubles_an_hour() {
    let zone = TimeZone::get("Europe/Rome").unwrap();
    let rows = |day: &str, from: &str, minutes: i64| {
        let begin: jiff::Timestamp = format!("{day}T{from}Z").parse().unwrap();
        let mut text = "time,rps\n".to_owned();
        for minute in 0..minutes {
            let at = begin + jiff::SignedDuration::from_mins(minute);
            let local = at.to_zoned(zone.clone()).datetime();
            let _ = writeln!(text, "{},{minute}", local.strftime("%Y-%m-%d %H:%M:%S"));
        }
        text
    };
    let options = Options { zone: zone.clone(), ..Options::default() };
    for day in ["2024-10-26", "2024-03-30"] {
        let (history, mended) = good(&rows(day, "22:00:00", 400), &options);
        let expected: Vec<f32> = (0..400_u16).map(f32::from).collect();
        assert_eq!(values(&history, 0), expected, "{day}");
        assert_eq!((mended.unsorted, mended.skipped, mended.gaps), (0, 0, 0), "{day}");
    }
    let skipped = "time,rps\n2024-03-31 01:58,1\n2024-03-31 01:59,1\n2024-03-31 02:00,9\n2024-03-31 03:00,2\n";
    let (history, mended) = good(skipped, &options);
    assert_eq!(values(&history, 0), [1.0, 1.0, 2.0]);
    assert_eq!(mended.skipped, 1);
}

#[test]
fn columns_and_rows_of_several_domains_become_series() {
    let wide = "time;payments;fraud\n0;1;10\n60;2;\n";
    let (history, _) = good(wide, &Options::default());
    assert_eq!(
        history.series.iter().map(|it| &*it.name).collect::<Vec<_>>(),
        ["payments", "fraud"]
    );
    assert_eq!((values(&history, 0), values(&history, 1)), (vec![1.0, 2.0], vec![10.0, -1.0]));
    let long =
        "time,domain,rps\n0,payments,1\n60,payments,2\n120,payments,3\n60,fraud,10\n120,fraud,11\n";
    let (history, mended) = good(long, &Options::default());
    assert_eq!(
        (values(&history, 0), values(&history, 1)),
        (vec![1.0, 2.0, 3.0], vec![-1.0, 10.0, 11.0])
    );
    assert_eq!(mended.unsorted, 0);
    let options = Options {
        value_columns: vec!["fraud".to_owned()],
        name: Some("f".to_owned()),
        ..Options::default()
    };
    let (history, _) = good(wide, &options);
    assert_eq!((history.series.len(), &*history.series[0].name), (1, "f"));
}

#[test]
fn files_of_one_domain_are_joined_and_gzip_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("may.csv"), folder.path().join("june.csv.gz"));
    std::fs::write(&first, "\u{feff}time,rps\r\n120,3\r\n180,4\r\n").unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(b"0,1\n60,2\n").unwrap();
    std::fs::write(&second, packed.finish().unwrap()).unwrap();
    let options = Options { name: Some("shop".to_owned()), ..Options::default() };
    let (history, mended) = read(&[first.clone(), second.clone()], &options).unwrap();
    assert_eq!(values(&history, 0), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(mended, Mended { rows: 4, ..Mended::default() });
    let (history, _) = read(&[first, second.clone()], &Options::default()).unwrap();
    assert_eq!(history.series.iter().map(|it| &*it.name).collect::<Vec<_>>(), ["may", "june"]);
    let whole = std::fs::read(&second).unwrap();
    std::fs::write(&second, &whole[..whole.len() - 9]).unwrap();
    assert!(read(&[second], &Options::default()).is_err(), "half a file passes for a whole one");
}

#[test]
fn each_bad_file_is_refused_with_a_sentence() {
    for (text, sentence) in [
        ("", ": it is empty"),
        ("time,rps\n", ": it has a header and no rows"),
        ("time\n0\n", ": it has no value column beside the time, only \"time\""),
        ("1\n2\n", ": it has one column, not a time and a value"),
        ("time,rps\n0,1\n0,2\n", ": all rows of \"shop\" have the same time"),
        (
            "time,rps\n0,1\n60,1.234,5\n120,many\n",
            ", line 4: \"many\" in column \"rps\" is not a number",
        ),
        ("time,rps\n0,1\n60\n", ", line 3: it has 1 columns, not 2"),
        ("time,rps\n0,1\nsoon,2\n", ", line 3: \"soon\" is not a time"),
        ("id,rps\n0,1\n1,2\n2,3\n", ": the time column of \"shop\" counts rows, it holds no times"),
        (
            "time,rps\n0,1\n60,1\n120,1\n4000000000,1\n",
            ": it spans 46296 days for 1 domains, more than a year of sixteen: is a time wrong?",
        ),
    ] {
        assert_eq!(refusal(text), sentence, "{text:?}");
    }
    let error = read_text(b"time,rps\n0,1\n\xff\xfe,2\n", &Options::default()).unwrap_err();
    assert!(error.to_string().ends_with("shop.csv, line 3: it is not UTF-8"), "{error}");
    let missing = read(&[PathBuf::from("not/there.csv")], &Options::default()).unwrap_err();
    assert!(missing.to_string().starts_with("cannot read not/there.csv: "), "{missing}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic_or_gives_a_rate_that_is_none(text in "([0-9a-z,;\\-.:\" \n]{0,8}[,\n]?){0,24}") {
        if let Ok((history, _)) = read_text(text.as_bytes(), &Options::default()) {
            let sound = |rps: &f32| rps.is_nan() || *rps >= 0.0 && rps.is_finite();
            for series in &history.series {
                proptest::prop_assert_eq!(series.rps.len(), history.minutes());
                proptest::prop_assert!(series.rps.iter().all(sound));
            }
        }
    }
}
