use std::collections::BTreeMap;
use std::fs;

use super::*;
use crate::policy::hirl::GROUPS;
use crate::seed::Seed;

/// Sleeps, panics, or says this step of everything.
#[derive(Clone)]
enum Fake {
    Sleeps(Duration),
    Panics,
    Says(f64),
}

impl Actor for Fake {
    fn command(&mut self, _: &CommanderView) -> Option<Vec<Command>> {
        None
    }

    fn order(&mut self, views: &[SoldierView]) -> Vec<Option<Orders>> {
        let step = match self {
            Self::Sleeps(time) => {
                // Nobody sends: it is as long as a network that is stuck.
                let (_sender, never) = mpsc::channel::<()>();
                let _ = never.recv_timeout(*time);
                1.0
            }
            Self::Panics => panic!("a network that panics"),
            Self::Says(step) => *step,
        };
        let orders = Orders { steps: vec![step], splits: [0.0; GROUPS], velocity: 0.0 };
        views.iter().map(|_| Some(orders.clone())).collect()
    }
}

fn asked(networks: &mut Networks<Fake>) -> Option<f64> {
    let view = SoldierView { members: vec![0], ..SoldierView::default() };
    let orders = networks.order(&[view]);
    orders.first()?.as_ref().map(|orders| orders.steps[0])
}

fn faults(instruments: &Instruments, outcome: &'static str) -> u64 {
    instruments.policy_faults.get_or_create(&OutcomeLabel { outcome }).get()
}

fn settings(limit_seconds: f64) -> Settings {
    Settings { enabled: true, limit_seconds, reload_seconds: 0.02, ..Settings::default() }
}

#[test]
fn who_is_late_or_panics_is_not_waited_for_and_is_asked_again() {
    let instruments = Arc::new(Instruments::default());
    let (sender, receiver) = watch::channel(Fake::Sleeps(Duration::from_secs(2)));
    let mut networks = Networks::new(receiver, &settings(0.05), Arc::clone(&instruments));
    assert_eq!(asked(&mut networks), None);
    assert_eq!(faults(&instruments, "late"), 1);
    // While the thread is still busy nobody queues up behind it for ever.
    for _ in 0..3 {
        assert_eq!(asked(&mut networks), None);
    }
    assert_eq!(faults(&instruments, "late"), 4);

    let mut networks = Networks::new(sender.subscribe(), &settings(5.0), Arc::clone(&instruments));
    sender.send_replace(Fake::Panics);
    assert_eq!(asked(&mut networks), None);
    assert_eq!(faults(&instruments, "panic"), 1);
    sender.send_replace(Fake::Says(1.0));
    assert_eq!(asked(&mut networks), Some(1.0), "a new thread answers");
    sender.send_replace(Fake::Says(f64::NAN));
    assert!(asked(&mut networks).is_some_and(f64::is_nan), "the policy leaves it to the rule");
    assert_eq!(faults(&instruments, "not_finite"), 1);
}

fn weights(seed: u64, more: &[(&str, &str)]) -> Vec<u8> {
    let origin = more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    let model = Model::untrained(Seed::root(seed)).unwrap();
    model.to_bytes(origin.collect::<BTreeMap<_, _>>()).unwrap()
}

#[tokio::test]
async fn other_weights_take_over_and_broken_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.safetensors");
    fs::write(&path, weights(1, &[])).unwrap();
    let settings = Settings { weights_file: Some(path.clone()), ..settings(1.0) };
    let (sender, mut receiver) = watch::channel(settings.model().unwrap().unwrap());
    let first = receiver.borrow_and_update().id().cloned();
    let instruments = Arc::new(Instruments::default());
    let stop = CancellationToken::new();
    let running = tokio::spawn(reload(settings, sender, Arc::clone(&instruments), stop.clone()));
    let refused =
        || instruments.weights_reloads.get_or_create(&OutcomeLabel { outcome: "refused" });

    let mut expected = 0;
    let rule = r#"{"latencyGain": 0.1}"#;
    for broken in [b"nothing".to_vec(), weights(2, &[(Model::CONSTANTS, rule)])] {
        // Whole or not at all, as kubelet does it.
        let beside = folder.path().join("new");
        fs::write(&beside, broken).unwrap();
        fs::rename(&beside, &path).unwrap();
        expected += 1;
        while refused().get() < expected {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(receiver.borrow().id(), first.as_ref());
    }
    let beside = folder.path().join("new");
    fs::write(&beside, weights(3, &[])).unwrap();
    fs::rename(&beside, &path).unwrap();
    receiver.changed().await.unwrap();
    assert_ne!(receiver.borrow().id(), first.as_ref());
    stop.cancel();
    running.await.unwrap();
}

#[test]
fn what_cannot_be_used_at_the_start_is_refused_in_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.safetensors");
    let mut half = weights(1, &[]);
    half.truncate(half.len() / 2);
    let foolish = weights(1, &[(Model::CONSTANTS, r#"{"reserveShare": 7}"#)]);
    let flat = weights(1, &[(Model::ABLATION, "flat")]);
    for (bytes, word) in [(half, "safetensors"), (foolish, "reserveShare"), (flat, "ablation")] {
        fs::write(&path, bytes).unwrap();
        let settings = Settings { weights_file: Some(path.clone()), ..settings(1.0) };
        let error = settings.model().unwrap_err();
        assert!(error.contains(word) && !error.contains('\n'), "{error}");
    }
    let off = Settings { enabled: false, ..Settings::default() };
    assert!(off.model().unwrap().is_none());
    assert!(settings(1.0).model().unwrap().is_some(), "the built-in weights");
    assert!(
        Settings { limit_seconds: 0.0, ..off }.validate().unwrap_err().contains("limitSeconds")
    );
}

#[test]
fn the_rule_beneath_is_the_trained_one_unless_somebody_wrote_another() {
    let rule = rules::Settings { latency_gain: 0.1, ..rules::Settings::default() };
    let text = serde_json::to_string(&rule).unwrap();
    let model = Model::from_bytes(&weights(1, &[(Model::CONSTANTS, &text)])).unwrap();
    assert_eq!(super::rule(Some(&model), &rules::Settings::default()), rule);
    let written = rules::Settings { latency_gain: 0.3, ..rules::Settings::default() };
    assert_eq!(super::rule(Some(&model), &written), written);
    assert_eq!(super::rule(None, &written), written);
    let searched = Model::builtin().unwrap().rule().cloned().unwrap();
    assert_eq!(super::rule(None, &rules::Settings::default()), searched, "searched constants");
    assert!(!Settings::default().enabled, "a gate of the weights that ship is missed");
}
