use super::*;
use made_up::run;

fn measure(name: &str) -> &'static Measure {
    MEASURES.iter().find(|measure| measure.name == name).unwrap()
}

#[test]
fn measures_are_read_off_a_run() {
    let mut run = run(["steady", "hpa"], 3, [100.0, 40.0], 800.0);
    run.summary.counts.nodes_added = 7;
    run.summary.counts.nodes_removed = 4;
    run.summary.counts.preempted = [0, 1, 2, 3];
    let value = |name| (measure(name).of)(&run);
    // payments weighs 1, data 0.5.
    assert_eq!(value("weightedBreachMinutes"), 120.0);
    assert_eq!(value("breachMinutes"), 140.0);
    assert_eq!((value("breachMinutesP0"), value("breachMinutesP2")), (100.0, 40.0));
    assert_eq!((value("overProvisioningP0"), value("overProvisioningP2")), (1.5, 1.25));
    assert!(value("overProvisioningP1").is_nan());
    assert_eq!((value("paidCoreHours"), value("nodeChurn")), (800.0, 11.0));
    assert_eq!((value("preemptions"), value("preemptionsP3")), (6.0, 3.0));
    assert_eq!((value("lostShare"), value("shieldedShare")), (0.1, 5.0));
}

#[test]
fn no_two_measures_share_a_name() {
    let names: std::collections::BTreeSet<_> = MEASURES.iter().map(|it| it.name).collect();
    assert_eq!(names.len(), MEASURES.len());
}

#[test]
fn a_table_has_a_line_per_run_and_quotes_what_needs_it() {
    let runs = [
        run(["steady", "hpa"], 0, [1.0, 0.0], 5.0),
        run(["a, \"b\"", "rules+forecast"], 1, [0.5, 0.0], 6.0),
    ];
    let text = csv("gates", &runs).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("scenario,level,policy,space,seed,weightedBreachMinutes,"));
    assert!(lines[1].starts_with("steady,6,hpa,gates,0,1,1,1,0,0,0,"), "{}", lines[1]);
    assert!(lines[2].starts_with("\"a, \"\"b\"\"\",6,rules+forecast,gates,1,"), "{}", lines[2]);
    let width = |line: &str| line.matches(',').count();
    assert_eq!(width(lines[0]), width(lines[1]));
}
