//! The placement ledger alone: one thread, no I/O, 100,000 pods on 5,000 nodes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use hirl_scale::cluster::{Amount, Class, Timestamp};
use hirl_scale::placement::{
    Ask, BindVerdict, Budgets, DomainBudget, Epoch, FilterVerdict, Ledger, NodeFacts, Outcome, Pod,
    Settings, Standing,
};

use crate::DOMAINS;
use crate::report::{Report, quantile};

const PODS: usize = 100_000;
const NODES: usize = 5_000;
/// Verdicts that are timed.
const CALLS: usize = 5_000;
/// Pods that wait for room all the while, in the second part.
const WAITERS: usize = 10_000;

/// Fills a ledger, counts it anew, and times verdicts over all names.
pub(crate) fn run(report: &mut Report) -> Result<()> {
    report.title(&format!(
        "Placement ledger: {PODS} pods, {NODES} nodes, {DOMAINS} domains, one thread"
    ));
    let before = resident_mib()?;
    let mut ledger = Ledger::new(Settings::default(), &[], "hirl-system");
    ledger.set_namespaces(
        (0..DOMAINS).map(|at| (namespace(at), domain(at))).collect::<HashMap<_, _>>(),
    );
    ledger.install(budgets());
    let names: Vec<String> = (0..NODES)
        .map(|at| format!("ip-10-{}-{}.eu-central-1.compute.internal", at / 250, at % 250))
        .collect();
    for name in &names {
        ledger.put_node(name, node());
    }
    let started = Instant::now();
    for at in 0..PODS {
        let mut pod = pod(at);
        pod.node = Some(Arc::from(names[at % NODES].as_str()));
        ledger.put_pod(&pod);
    }
    report.figure("taking in all pods", started.elapsed().as_secs_f64(), "s", None)?;
    let memory = resident_mib()? - before;
    report.figure("memory of the ledger (VmRSS)", memory, "MiB", Some("<= 60 MiB"))?;
    let started = Instant::now();
    let recount = ledger.recount();
    let took = started.elapsed().as_secs_f64() * 1e3;
    report.figure("full recount", took, "ms", Some("<= 1000 ms"))?;
    ensure!(recount == ledger.sums(), "the running sums are not the recount");
    ledger.stand(Standing::Owner);
    verdicts(report, &mut ledger, &names, PODS)?;
    for at in 0..WAITERS {
        let mut pod = pod(PODS + CALLS + at);
        // As much as a whole node: none has room for it.
        pod.request = Amount { cpu_milli: 32_000, memory: 64 << 30 };
        pod.unscheduled = 1;
        pod.unschedulable = Some(Arc::default());
        ledger.put_pod(&pod);
    }
    report.title(&format!("The same while {WAITERS} pods wait for room"));
    let started = Instant::now();
    let evictions =
        ledger.excess((120.0, 10), &|_| false, Timestamp::from_seconds(1e9 + 60.0)).len();
    let took = started.elapsed().as_secs_f64() * 1e3;
    report.figure("reclaim looks at all that wait", took, "ms", None)?;
    report.note(&format!("{evictions} evictions are named"));
    verdicts(report, &mut ledger, &names, PODS + CALLS + WAITERS)
}

/// Places further pods, numbered from `first`, one after another.
fn verdicts(
    report: &mut Report,
    ledger: &mut Ledger,
    names: &[String],
    first: usize,
) -> Result<()> {
    let (mut filters, mut binds) = (Vec::new(), Vec::new());
    for at in 0..CALLS {
        // A hundred pods a second.
        let now = Timestamp::from_seconds(1e9 + 61.0 + at as f64 / 100.0);
        let ask = Ask { pod: pod(first + at), ..Ask::default() };
        let started = Instant::now();
        let verdict = ledger.filter(&ask, names, now);
        filters.push(started.elapsed().as_secs_f64() * 1e3);
        let FilterVerdict::Narrowed(chosen) = verdict else {
            anyhow::bail!("pod {at} was refused: {verdict:?}");
        };
        let node = &names[chosen[0] as usize];
        let started = Instant::now();
        let bind = ledger.bind((&ask.pod.uid, &ask.pod.namespace), node, now);
        ensure!(matches!(bind, BindVerdict::Send(Some(_))), "pod {at} was not bound: {bind:?}");
        ledger.settle(&ask.pod.uid, Outcome::Bound);
        binds.push(started.elapsed().as_secs_f64() * 1e3);
    }
    filters.sort_by(f64::total_cmp);
    binds.sort_by(f64::total_cmp);
    let (p50, p99) = (quantile(&filters, 0.5), quantile(&filters, 0.99));
    report.figure("filter over all names, p50", p50, "ms", Some("<= 0.3 ms in the server"))?;
    report.figure("filter over all names, p99", p99, "ms", Some("<= 1 ms in the server"))?;
    report.figure("bind and settle, p99", quantile(&binds, 0.99), "ms", None)
}

/// Equal shares.
fn budgets() -> Budgets {
    Budgets {
        epoch: Epoch { term: 1, sequence: 1 },
        domains: (0..DOMAINS)
            .map(|at| DomainBudget {
                name: domain(at),
                class: Class::ALL[at % Class::ALL.len()],
                share: 0.95 / DOMAINS as f64,
                pool_shares: Vec::new(),
                floor: 0.15,
                borrowing: hirl_scale::cluster::LoanLimit::Unlimited,
                lending: hirl_scale::cluster::LoanLimit::Unlimited,
                breach_until: None,
                emergency_until: None,
            })
            .collect(),
        reserve: 0.05,
        band: 0.1,
    }
}

fn namespace(at: usize) -> Arc<str> {
    Arc::from(format!("team-{at}"))
}

fn domain(at: usize) -> Arc<str> {
    Arc::from(format!("domain-{at}"))
}

fn node() -> NodeFacts {
    NodeFacts {
        pool: Arc::from("general"),
        usable: Some(Amount { cpu_milli: 32_000, memory: 128 << 30 }),
        labels: vec![("topology.kubernetes.io/zone".to_owned(), "a".to_owned())],
        taints: Vec::new(),
    }
}

fn pod(at: usize) -> Pod {
    Pod {
        uid: Arc::from(format!("{at:08x}-1111-2222-3333-444444444444")),
        namespace: namespace(at % DOMAINS),
        name: Arc::from(format!("app-{}-7c9d8f6b5-{at:05}", at % 1550)),
        request: Amount { cpu_milli: 500, memory: 512 << 20 },
        ..Pod::default()
    }
}

pub(crate) fn resident_mib() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("reading our own memory")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
    let kib = line.split_whitespace().nth(1).context("no figure in VmRSS")?;
    Ok(kib.parse::<f64>().context("reading VmRSS")? / 1024.0)
}
