use std::sync::LazyLock;

use super::html::{Cell, Tone, escaped, number, percent, table};
use super::*;
use crate::evaluation::made_up::shaped;
use crate::simulation::{Run, Seed};

const POLICIES: [(&str, f64); 6] = [
    ("hpa", 0.0),
    ("hpa-tuned", 0.25),
    ("rules", 0.55),
    ("rules+forecast", 0.68),
    ("static-peak", 0.9),
    ("oracle", 0.95),
];

/// A report of made-up runs; the name of one scenario tries to break out of the page.
fn page() -> &'static str {
    static PAGE: LazyLock<String> = LazyLock::new(made_up_page);
    &PAGE
}

fn made_up_page() -> String {
    let scenarios = ["flash-sale", "payday", "</script><b>x"];
    let runs: Vec<Run> = scenarios
        .iter()
        .flat_map(|scenario| POLICIES.map(|(policy, skill)| (*scenario, policy, skill)))
        .flat_map(|(scenario, policy, skill)| {
            let skill = if policy == "rules" && scenario == "payday" { -0.1 } else { skill };
            (0..6).map(move |seed| shaped([scenario, policy], seed, skill))
        })
        .collect();
    let policies: Vec<String> = POLICIES.iter().map(|(name, _)| (*name).to_owned()).collect();
    let comparison =
        Comparison::new(&runs, &policies, "hpa", Some("oracle"), Seed::root(1)).unwrap();
    let recordings: Vec<Recording> = runs.iter().map(recorded).collect();
    let report = Report {
        comparison: &comparison,
        descriptions: &BTreeMap::from([(
            "payday".to_owned(),
            "Salaries arrive <all at once>.".to_owned(),
        )]),
        facts: &[("Command", "hirl evaluate --policies 'a&b'".to_owned())],
        recordings: &recordings,
    };
    report.html()
}

#[test]
fn a_page_needs_nothing_from_anywhere_and_nothing_breaks_out_of_it() {
    let page = page();
    for outside in ["src=", "href=\"http", "@import", "url(", "<link"] {
        assert!(!page.contains(outside), "{outside}");
    }
    // The one URL is the name space of SVG.
    assert_eq!(page.matches("http").count(), page.matches("http://www.w3.org/2000/svg").count());
    assert!(!page.contains("</script><b>") && !page.contains("<all at once>"));
    let opened = page.matches("<script").count();
    assert_eq!(opened, page.matches("</script>").count());
    // 108 recordings, their list, and the code.
    assert_eq!(opened, 110);
    assert!(page.contains("hirl evaluate --policies &#39;a&amp;b&#39;"));
}

#[test]
fn the_page_says_who_won_and_where_it_got_worse() {
    let page = page();
    assert!(
        page.contains("<b>rules+forecast</b>: fewer weighted breach minutes (−6"),
        "no verdict"
    );
    assert!(page.contains("of the gap from hpa to the oracle"));
    let losses =
        page.split("section id=\"losses\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(losses.contains("rules in payday</th><td>Breach, weighted"), "{losses}");
    assert!(!losses.contains("rules in flash-sale</th><td>Breach"), "{losses}");
}

#[test]
fn a_recording_is_short_and_keeps_the_peak() {
    let mut run = shaped(["a", "hpa"], 0, 0.3);
    let row = run.timeline.rows[70].clone();
    run.timeline.rows = vec![row; 1000];
    run.timeline.rows[501].domains[0].p99_ratio = 7.654_321;
    run.timeline.rows[502].domains[0].p99_ratio = f64::NAN;
    run.timeline.rows[502].cascades = 5;
    let recording = recorded(&run);
    let course: serde_json::Value = serde_json::from_str(recording.json()).unwrap();
    let ratios = course["domains"][0]["p99"].as_array().unwrap();
    assert_eq!(ratios.len(), 200);
    assert_eq!(ratios[100], 7.65);
    let cascades: u64 =
        course["cascades"].as_array().unwrap().iter().map(|it| it.as_u64().unwrap()).sum();
    assert_eq!(cascades, 5 + 999 * u64::from(run.timeline.rows[0].cascades));
    // Without a budget: null.
    assert!(course["domains"][0]["budget"][0].is_null());
}

#[test]
fn a_run_without_a_course_is_no_trouble() {
    let mut run = shaped(["a", "hpa"], 0, 0.3);
    run.timeline = crate::simulation::Timeline::default();
    assert!(recorded(&run).json().contains("\"minutes\":[]"));
}

#[test]
fn numbers_are_short_and_grouped() {
    let cases = [
        (0.0, "0"),
        (-0.0, "0"),
        (0.001, "0"),
        (-0.001, "0"),
        (0.25, "0.25"),
        (1.5, "1.5"),
        (9.999, "10"),
        (12.34, "12.3"),
        (99.96, "100"),
        (-123.4, "−123"),
        (1_234_567.0, "1\u{202f}234\u{202f}567"),
        (f64::NAN, "–"),
        (f64::INFINITY, "–"),
    ];
    for (value, text) in cases {
        assert_eq!(number(value), text, "{value}");
    }
    assert_eq!([-0.4, 0.0, 0.031].map(percent), ["−40\u{a0}%", "0\u{a0}%", "+3.1\u{a0}%"]);
}

#[test]
fn tables_escape_and_say_by_a_sign_what_they_say_by_colour() {
    let cell = Cell { text: "<1>".into(), note: "a & b".into(), tone: Tone::Worse };
    let html = table(&["\"q\"".to_owned()], &[vec![Cell::plain("row"), cell]]);
    assert!(html.contains("<th scope=\"row\">row</th>"));
    assert!(
        html.contains("<td class=\"worse\">▲ &lt;1&gt;<small>a &amp; b</small></td>"),
        "{html}"
    );
    assert!(html.contains("&quot;q&quot;"));
    assert_eq!(escaped("'"), "&#39;");
}
