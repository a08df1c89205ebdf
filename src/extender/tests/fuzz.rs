//! Whatever comes in: a correct answer or a 4xx, never a panic, and the sums stay right.

use proptest::prelude::*;

use super::*;

const PATHS: [&str; 8] = [
    "/v1/strict/filter",
    "/v1/open/filter",
    "/v1/strict/prioritize",
    "/v1/open/prioritize",
    "/v1/strict/preempt",
    "/v1/open/preempt",
    "/v1/strict/bind",
    "/v1/open/bind",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "(n1|n2|uid-a|pay|a|\\PC{0,6})".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let key =
            "(Pods|UID|metadata|spec|name|namespace|uid|containers|resources|requests|cpu|n1)";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Something near a question: its fields, each right or anything.
fn any_question() -> impl Strategy<Value = Value> {
    let pod = prop_oneof![
        3 => (0..3u8, "(1|500m|0|-1|9999999999|1e3|x|)").prop_map(|(number, cpu)| {
            pod(if number == 2 { "other" } else { "pay" }, &format!("p{number}"), &cpu)
        }),
        1 => any_json(),
    ];
    let names = prop_oneof![
        3 => prop::collection::vec("(n1|n2|n3|x|)", 0..6).prop_map(Value::from),
        1 => any_json(),
    ];
    let victims = prop_oneof![
        2 => prop::collection::btree_map("(n1|n2|x)", prop::collection::vec("(uid-p0|v)", 0..3), 0..3)
            .prop_map(|map| map.into_iter().map(|(node, uids)| {
                let pods: Vec<Value> = uids.into_iter().map(|uid| json!({"UID": uid})).collect();
                (node, json!({"Pods": pods, "NumPDBViolations": 1}))
            }).collect::<serde_json::Map<_, _>>().into()),
        1 => any_json(),
    ];
    let nodes = prop_oneof![3 => Just(Value::Null), 1 => any_json()];
    let text = || prop_oneof![3 => "(p0|p1|pay|uid-p0|uid-p1|n1|n2|)".prop_map(Value::from), 1 => any_json()];
    (pod, nodes, names, victims, (text(), text(), text(), text())).prop_map(
        |(pod, nodes, names, victims, (name, namespace, uid, node))| {
            json!({"Pod": pod, "Nodes": nodes, "NodeNames": names, "NodeNameToVictims": null,
                "NodeNameToMetaVictims": victims, "PodName": name, "PodNamespace": namespace,
                "PodUID": uid, "Node": node})
        },
    )
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn is_right(rig: &Rig, path: &str, question: Bytes) -> Result<(), TestCaseError> {
    let (code, body) = rig.send("POST", path, question.clone()).await;
    let text = String::from_utf8_lossy(&body).into_owned();
    if code != 200 {
        prop_assert!((400..500).contains(&code), "{} {}", code, text);
        prop_assert!(!text.is_empty() && text.lines().count() == 1, "{}", text);
        return Ok(());
    }
    let answer: Value = serde_json::from_slice(&body).unwrap();
    let asked: Value = serde_json::from_slice(&question).unwrap();
    let given: Vec<&str> = asked["NodeNames"]
        .as_array()
        .map(|names| names.iter().map(|name| name.as_str().unwrap_or_default()).collect())
        .unwrap_or_default();
    match path.rsplit('/').next().unwrap() {
        "filter" => {
            prop_assert_eq!(answer.as_object().unwrap().len(), 5);
            for name in answer["NodeNames"].as_array().unwrap() {
                prop_assert!(given.contains(&name.as_str().unwrap()), "{} was not asked", name);
            }
            for name in answer["FailedAndUnresolvableNodes"].as_object().unwrap().keys() {
                prop_assert!(given.contains(&name.as_str()));
            }
        }
        "prioritize" => {
            let scores = answer.as_array().unwrap();
            prop_assert_eq!(scores.len(), given.len());
            for score in scores {
                prop_assert!(score["Score"].as_u64().unwrap() <= 10);
            }
        }
        "preempt" => {
            for (node, victims) in answer["NodeNameToMetaVictims"].as_object().unwrap() {
                let offered = &asked["NodeNameToMetaVictims"][node]["Pods"];
                prop_assert!(!victims["Pods"].as_array().unwrap().is_empty());
                prop_assert_eq!(&victims["Pods"], offered);
            }
        }
        _ => {
            prop_assert!(answer["Error"].is_string());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_a_right_answer(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..8)) {
        runtime().block_on(async {
            let rig = Rig::new(0.5).await;
            for body in bodies {
                for path in PATHS {
                    is_right(&rig, path, body.clone().into()).await?;
                }
            }
            Ok::<(), TestCaseError>(())
        })?;
    }

    #[test]
    fn any_shape_gets_a_right_answer_and_leaves_the_sums_right(
        questions in prop::collection::vec((0..PATHS.len(), any_question()), 1..24),
    ) {
        runtime().block_on(async {
            let rig = Rig::new(0.5).await;
            for _ in 0..questions.len() {
                rig.api_server.then(made());
            }
            for (path, question) in questions {
                is_right(&rig, PATHS[path], question.to_string().into()).await?;
            }
            let ledger = rig.placements.lock();
            prop_assert_eq!(ledger.recount(), ledger.sums());
            Ok::<(), TestCaseError>(())
        })?;
    }
}
