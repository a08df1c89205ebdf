//! Lower classes borrow what higher ones do not use, and give it back at once: no pod waits for room
//! while a lower class uses more than its floor, whatever happens meanwhile. Judged by the statement
//! itself on the audit log (`testbed::judge::Order`), with a control in which it does not hold.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::json;

use super::rig::{Batch, Rig, SCHEDULER, SOON, milli, sized};
use super::stand::{Stand, limit};
use crate::testbed::hirl;
use crate::testbed::judge::waits::{Inversions, Order};
use crate::testbed::judge::{Course, Limit, Room};
use crate::testbed::objects;
use crate::testbed::placing::{Budget, Choices, uses};
use crate::testbed::run;
use crate::testbed::scheduler::USER;
use crate::testbed::wait::{throughout, until};

const POOL: &str = "general";
/// Cores of a node; every pod here requests one.
const CORES: u32 = 8;
/// The domains, each with a namespace of its name: class, share and floor.
const DOMAINS: [(&str, u8, f64, f64); 4] =
    [("pay", 0, 0.3, 0.1), ("shop", 1, 0.3, 0.1), ("data", 2, 0.2, 0.05), ("lake", 3, 0.15, 0.05)];
const RESERVE: f64 = 0.05;
/// Fragments over several nodes are freed by eviction.
const RECLAIM: &str = "  reclaim: {enabled: true, delaySeconds: 30, perMinute: 120}\n";

/// How long a pod may wait: no grace, one bind, one back-off of ten seconds, and the slowness of this
/// machine. What preemption cannot free on one node waits for the reclaimer on top of that: ten seconds, a
/// look every five, and another back-off.
fn patience() -> Duration {
    Duration::from_secs(sized(30, 120) as u64)
}

/// Patience with what takes a wave of pods.
fn settled() -> Duration {
    Duration::from_secs(sized(90, 600) as u64)
}

/// The pool with its four domains, and hirl.
struct Scene {
    stand: Stand,
    /// Nodes to begin with.
    nodes: usize,
}

impl Scene {
    /// Starts it with these lines of the section `extender`; `first` is the budget of the domain of P0 with
    /// the cores of its target.
    async fn start(extender: &str, first: Option<(Budget<'_>, i64)>) -> Result<Self> {
        let nodes = sized(20, 400);
        let rig = Rig::start().await?;
        rig.nodes(POOL, nodes, CORES).await?;
        let classes = ["P0", "P1", "P2", "P3"];
        let mut budgets = Vec::new();
        for (domain, class, share, floor) in DOMAINS {
            rig.namespace(domain, domain).await?;
            budgets.push(Budget::lending(domain, classes[usize::from(class)], share, floor));
        }
        let cores = milli(nodes * CORES as usize);
        let mut target = cores * 3 / 10;
        if let Some((budget, cores)) = first {
            (budgets[0], target) = (budget, cores);
        }
        let choices = Choices { reserve: RESERVE, extender, ..Choices::new(&[POOL]) };
        let stand = Stand::start(rig, &choices, &budgets, target).await?;
        Ok(Self { stand, nodes })
    }

    /// What of 20 nodes are `pods` pods.
    fn part(&self, pods: usize) -> usize {
        pods * self.nodes / 20
    }

    /// Pods that a domain has on nodes, as the API server says.
    async fn bound(&self, domain: &str) -> Result<usize> {
        let api: Api<Pod> = Api::namespaced(self.stand.rig.client.clone(), domain);
        let placed = ListParams::default().fields("spec.nodeName!=");
        Ok(api.list_metadata(&placed).await.context("listing pods")?.items.len())
    }

    /// Fails unless each of the domains has so many pods (of 20 nodes) on nodes.
    async fn hold(&self, pods: &[(&str, usize)]) -> Result<()> {
        for &(domain, pods) in pods {
            let (found, wanted) = (self.bound(domain).await?, self.part(pods));
            ensure!(found == wanted, "{found} pods of {domain}, not {wanted}");
        }
        Ok(())
    }

    /// Waits until they do.
    async fn holds(&self, pods: &[(&str, usize)]) -> Result<()> {
        until(format_args!("pods of 20 nodes: {pods:?}"), settled(), async || self.hold(pods).await)
            .await
    }

    /// A Deployment of the class of its domain: what it loses it makes again.
    async fn deploy(&self, domain: &str, name: &str, pods: usize) -> Result<()> {
        let class = DOMAINS.iter().find(|one| one.0 == domain).context("no such domain")?.1;
        let deployment: Deployment = objects::object(json!({
            "metadata": {"namespace": domain, "name": name},
            "spec": {
                "replicas": self.part(pods),
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {
                        "schedulerName": SCHEDULER,
                        "priorityClassName": format!("hirl-p{class}"),
                        "automountServiceAccountToken": false,
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{
                            "name": "app", "image": "simulated",
                            "resources": {"requests": {"cpu": "1", "memory": "1Mi"}},
                        }],
                    },
                },
            },
        }))?;
        objects::apply_namespaced(&self.stand.rig.client, &deployment).await
    }

    async fn scale(&self, domain: &str, name: &str, pods: usize) -> Result<()> {
        let api: Api<Deployment> = Api::namespaced(self.stand.rig.client.clone(), domain);
        let patch = Patch::Merge(json!({"spec": {"replicas": self.part(pods)}}));
        api.patch(name, &PatchParams::default(), &patch).await.context("scaling")?;
        Ok(())
    }

    /// Pods of P0 that nobody makes again.
    async fn urgent(&self, prefix: &str, pods: usize) -> Result<()> {
        let batch = Batch::new("pay", prefix, "1").class("hirl-p0");
        batch.create(&self.stand.rig.client, self.part(pods)).await
    }

    /// P2 and P3 take the whole pool, far above their shares, while nobody higher wants it; six pods of P3
    /// are protected.
    async fn fill(&self) -> Result<()> {
        self.deploy("data", "batch", 60).await?;
        self.deploy("lake", "kept", 6).await?;
        self.holds(&[("data", 60), ("lake", 6)]).await?;
        let budget: PodDisruptionBudget = objects::object(json!({
            "metadata": {"namespace": "lake", "name": "kept"},
            "spec": {"minAvailable": self.part(6), "selector": {"matchLabels": {"app": "kept"}}},
        }))?;
        objects::apply_namespaced(&self.stand.rig.client, &budget).await?;
        self.deploy("lake", "low", 114).await?;
        // All but the reserve: 152 of 160.
        let full = [("data", 60), ("lake", 92)];
        self.holds(&full).await?;
        throughout("the reserve", Duration::from_secs(5), async || self.hold(&full).await).await
    }

    /// More nodes, of the same pool.
    async fn grow(&self, nodes: usize) -> Result<()> {
        for index in self.nodes..self.nodes + self.part(nodes) {
            let node = objects::node(&format!("{POOL}-{index}"), POOL, CORES, "1000Gi")?;
            objects::apply(&self.stand.rig.client, &node).await?;
        }
        Ok(())
    }

    /// The statement, for a pool that grew to so many nodes (of 20) at these instants.
    fn order(&self, nodes_after: &[(Timestamp, usize)], allowed: Duration) -> Result<Order> {
        let of_pool = |share: f64| {
            let room = |nodes| {
                Room::cpu((share * milli(self.part(nodes) * CORES as usize) as f64).round() as i64)
            };
            let later = nodes_after.iter().map(|&(at, nodes)| (at, room(nodes)));
            let steps = [(Timestamp::MIN, room(20))].into_iter().chain(later).collect();
            Limit { steps, ..limit("", POOL, 0) }
        };
        let floors = DOMAINS.map(|(domain, _, _, floor)| Limit {
            domain: Some(domain.to_owned()),
            ..of_pool(floor)
        });
        let domains = DOMAINS.map(|(domain, class, ..)| (domain, class));
        Ok(Order {
            reserves: vec![of_pool(RESERVE)],
            judged: preempting()?,
            ..Order::of_pool(POOL, &domains, floors.to_vec(), allowed)
        })
    }
}

/// Classes whose pods may preempt, by the `PriorityClass`es that we ship.
fn preempting() -> Result<Vec<u8>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/scheduler/priorityclasses.yaml");
    let text = std::fs::read_to_string(path).context("reading the priority classes")?;
    let may = |class: &u8| {
        let name = format!("name: hirl-p{class}");
        let found = text.split("\n---").find(|one| one.lines().any(|line| line.trim() == name));
        found.is_some_and(|one| !one.contains("preemptionPolicy: Never"))
    };
    let classes: Vec<u8> = (0..4).filter(may).collect();
    ensure!(classes.starts_with(&[0, 1]), "only {classes:?} may preempt");
    Ok(classes)
}

fn longest(course: &Course, prefix: &str) -> f64 {
    course.waits(prefix).last().copied().unwrap_or_default()
}

fn fair(verdict: &Inversions) -> Result<()> {
    let Some(first) = verdict.found.first() else { return Ok(()) };
    anyhow::bail!("{} inversions, the first: {first}", verdict.found.len())
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story, told in its order")]
fn nobody_waits_while_a_lower_class_borrows_and_floors_are_kept() -> Result<()> {
    run(async {
        let scene = Box::pin(Scene::start(RECLAIM, None)).await?;
        scene.fill().await?;
        let filled = Timestamp::now();

        // Two preemptors at once; who loses its place is made again and wants it back.
        scene.deploy("shop", "web", 20).await?;
        scene.urgent("a-", 30).await?;
        scene.holds(&[("pay", 30), ("shop", 20)]).await?;
        // Nodes join while P0 waits: of 160 cores become 200.
        let ((grows, nodes_after), ()) = tokio::try_join!(
            async {
                scene.scale("shop", "web", 40).await?;
                let begin = Timestamp::now();
                scene.grow(5).await?;
                // By then the ledger has seen the last of them, and not before.
                Ok::<_, anyhow::Error>((begin, Timestamp::now() + SignedDuration::from_secs(5)))
            },
            scene.urgent("b-", 40),
        )?;
        scene.holds(&[("pay", 70), ("shop", 40)]).await?;
        tokio::try_join!(scene.scale("shop", "web", 52), scene.urgent("c-", 40))?;
        scene.holds(&[("pay", 110), ("shop", 52)]).await?;
        let calm = scene.stand.rig.course()?;
        let preemptors = calm.bound("pay/") + calm.bound("shop/");

        // More than there is: P0 takes all but the floors of the others, to the pod.
        scene.urgent("d-", 60).await?;
        let pressed = async || {
            let first = scene.bound("pay").await?;
            let mut all = first;
            for (domain, floor) in [("shop", 20), ("data", 10), ("lake", 10)] {
                let (found, floor) = (scene.bound(domain).await?, scene.part(floor));
                ensure!(found <= floor, "{domain} has {found} pods, its floor is {floor}");
                all += found;
            }
            ensure!(all == scene.part(200), "{all} pods of {}, {first} of P0", scene.part(200));
            Ok(())
        };
        until("P0 to have all but the floors", settled(), pressed).await?;
        throughout("that", patience() + Duration::from_secs(10), async || {
            tokio::time::sleep(Duration::from_millis(500)).await;
            pressed().await
        })
        .await?;

        let course = scene.stand.rig.course()?;
        let evicted =
            |course: &Course| (course.ended_by(USER).len(), course.ended_by(hirl::USER).len());
        let (by_scheduler, by_us) = evicted(&calm);
        let each = (by_scheduler + by_us) as f64 / preemptors as f64;
        let verdict = course.inversions(&scene.order(&[(grows, 25)], patience())?);
        let kept = course.named("lake/kept-").filter(|pod| !pod.deletions.is_empty()).count();
        println!(
            "borrowing: P3 used {} of a share of {}; then {preemptors} pods of P0 and P1 were bound \
             with {by_scheduler} evictions by the scheduler and {by_us} by us ({each:.2} each), in all {:?}; \
             longest waits: P0 {:.1} s, P1 {:.1} s; {} waited longer than {:?}, {} inversions, {} excused, \
             {} evictions refused, {kept} protected pods ended",
            course.peak("lake", POOL),
            scene.part(24),
            evicted(&course),
            ["a-", "b-", "c-"]
                .map(|one| longest(&calm, &format!("pay/{one}")))
                .into_iter()
                .fold(0.0, f64::max),
            longest(&calm, "shop/"),
            verdict.late,
            patience(),
            verdict.found.len(),
            verdict.excused.len(),
            verdict.refusals,
        );
        fair(&verdict)?;
        ensure!(verdict.late >= scene.part(10), "the judge saw {} wait", verdict.late);
        for (prefix, pods) in [("pay/a-", 30), ("pay/b-", 40), ("pay/c-", 40)] {
            let bound = course.bound(prefix);
            ensure!(bound == scene.part(pods), "{bound} of {prefix}");
        }
        let first = course.ended_by(USER).into_iter().filter(|pod| pod.name.starts_with("pay/"));
        ensure!(first.count() == 0, "pods of P0 were ended");
        ensure!(each <= 1.5, "{each} evictions for each pod");
        let floors = scene.order(&[(nodes_after, 25)], patience())?.floors;
        let robbed = course.robbed(&floors, &[USER, hirl::USER]);
        ensure!(robbed.is_empty(), "{} below a floor: {:?}", robbed.len(), robbed[0]);
        for domain in ["data", "lake"] {
            let (least, floor) = (course.least(domain, POOL, filled).cpu, milli(scene.part(8)));
            ensure!(least >= floor, "{domain} had {least}m, below its floor of {floor}m");
        }
        ensure!(course.bound_twice().is_empty(), "bound twice: {:?}", course.bound_twice());
        for (domain, ..) in DOMAINS {
            scene.stand.rig.adds_up(&course, domain, domain).await?;
        }
        Ok(())
    })
}

/// The control: the same with a hard cap for P0, as it was before.
#[test]
fn the_judge_finds_p0_that_waits_at_a_cap_while_p3_borrows() -> Result<()> {
    run(async {
        let allowed = Duration::from_secs(10);
        let capped = Budget::new("pay", "P0", 0.05);
        let target = milli(sized(20, 400) * CORES as usize) / 20;
        let scene = Box::pin(Scene::start("", Some((capped, target)))).await?;
        scene.fill().await?;
        scene.urgent("a-", 30).await?;
        scene.holds(&[("pay", 8)]).await?;
        let waiting = scene.part(22);
        let order = scene.order(&[], allowed)?;
        let verdict = until("the judge to find who waits", SOON, async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let verdict = scene.stand.rig.course()?.inversions(&order);
            let behind =
                |lower: &str| verdict.found.iter().filter(|one| one.lower == lower).count();
            let found = (behind("lake"), behind("data"));
            ensure!(found == (waiting, waiting), "behind P3 and P2: {found:?}, not {waiting}");
            Ok(verdict)
        })
        .await?;
        println!("control: {} inversions, the first: {}", verdict.found.len(), verdict.found[0]);
        // The same log does not speak against more patience.
        let patient = Order { allowed: Duration::from_hours(1), ..order };
        fair(&scene.stand.rig.course()?.inversions(&patient))
    })
}

/// One pod, and what its condition says.
async fn told(rig: &Rig, namespace: &str, name: &str) -> Result<(String, String)> {
    until(format_args!("{namespace}/{name} to be told why it waits"), SOON, async || {
        rig.waiting(namespace, name).await?.into_values().next().context("nothing is said")
    })
    .await
}

#[test]
fn an_entitled_pod_without_a_node_is_unschedulable_and_one_that_is_not_entitled_is_told_why()
-> Result<()> {
    run(async {
        let rig = Rig::start().await?;
        for pool in ["a", "b"] {
            rig.nodes(pool, 2, 4).await?;
        }
        for domain in ["pay", "lake"] {
            rig.namespace(domain, domain).await?;
        }
        // P0 may have three quarters of what `a` can grow to, and nothing of `b`; P3 the other way round.
        let (pay, lake) = ([("b", 0.0)], [("a", 0.0)]);
        let budgets = [
            Budget { pools: &pay, ..Budget::new("pay", "P0", 0.75) },
            Budget { pools: &lake, ..Budget::new("lake", "P3", 0.25) },
        ];
        let growth = "placement: {growth: {a: {cpu: 16}}}\n";
        let choices = Choices { extender: growth, ..Choices::new(&["a", "b"]) };
        let stand = Stand::start(rig, &choices, &budgets, 6000).await?;
        let rig = &stand.rig;
        Batch::new("pay", "first-", "1").class("hirl-p0").create(&rig.client, 8).await?;
        rig.bound("pay", "first-", 8, SOON).await?;
        // Entitled in `a`, which is full; the nodes of `b` have room, but not for it.
        Batch::new("pay", "late-", "1").class("hirl-p0").create(&rig.client, 1).await?;
        let (reason, text) = told(rig, "pay", "late-").await?;
        ensure!(reason == "Unschedulable", "{reason}: {text}");
        ensure!(text.contains("domain pay is entitled to room only in"), "{text}");
        println!("entitled, but no node: {reason}: {text}");
        // Entitled, and no node passes the scheduler's own rules.
        let here = json!({"nodeSelector": {"hirl-scale.io/pool": "a"}});
        let there = Batch { more: here, ..Batch::new("pay", "there-", "1") };
        there.class("hirl-p0").create(&rig.client, 1).await?;
        let (reason, text) = told(rig, "pay", "there-").await?;
        ensure!(reason == "Unschedulable", "{reason}: {text}");

        Batch::new("lake", "low-", "1").class("hirl-p3").create(&rig.client, 4).await?;
        rig.bound("lake", "low-", 2, SOON).await?;
        until("the others to be told", SOON, async || {
            let waiting = rig.waiting("lake", "low-").await?;
            ensure!(waiting.len() == 2, "{waiting:?}");
            Ok(())
        })
        .await?;
        let expected = "budget: domain lake may borrow no more cpu in the shared node pools";
        throughout("that text", Duration::from_secs(12), async || {
            for (reason, text) in rig.waiting("lake", "low-").await?.into_values() {
                ensure!(reason == "SchedulerError" && text.contains(expected), "{reason}: {text}");
            }
            Ok(())
        })
        .await?;
        // A node comes, as a provisioner would bring it: both are placed, and nobody died.
        objects::apply(&rig.client, &objects::node("a-2", "a", 4, "1000Gi")?).await?;
        rig.bound("pay", "late-", 1, SOON).await?;
        rig.bound("pay", "there-", 1, SOON).await?;
        let limits = [limit("pay", "b", 0), limit("lake", "a", 0), limit("lake", "b", 2000)];
        stand.judged(&limits).map(|_| ())
    })
}

/// Four nodes of eight cores for P0 and P3, which lend and borrow, with `agents`: one pod of the cluster's
/// own on each node, so that none is ever empty.
async fn small(more: &str, agents: bool, first: Budget<'_>) -> Result<Stand> {
    let rig = Rig::start().await?;
    rig.nodes(POOL, 4, CORES).await?;
    for domain in ["pay", "lake"] {
        rig.namespace(domain, domain).await?;
    }
    for node in 0..if agents { 4 } else { 0 } {
        let prefix = format!("agent-{node}-");
        let more = json!({"nodeName": format!("{POOL}-{node}")});
        let agent = Batch { more, ..Batch::new("kube-system", &prefix, "1") };
        agent.create(&rig.client, 1).await?;
    }
    let target = first.share * 32_000.0;
    let budgets = [first, Budget::lending("lake", "P3", 0.5, 0.0)];
    let choices = Choices { extender: more, ..Choices::new(&[POOL]) };
    Stand::start(rig, &choices, &budgets, target as i64).await
}

/// Waits until the ledger knows that pods of this domain wait for so many cores.
async fn waits(stand: &Stand, domain: &str, cores: i64) -> Result<()> {
    until(format_args!("{domain} to wait for {cores} cores"), SOON, async || {
        let found = uses(&stand.rig.plane, &stand.hirl, domain, POOL).await?;
        ensure!(found["waiting"]["cpu_milli"] == cores * 1000, "{found}");
        Ok(())
    })
    .await
}

/// Fails when hirl evicts more than `most` pods within `span`.
async fn spares(stand: &Stand, most: usize, span: Duration) -> Result<usize> {
    throughout(format_args!("at most {most} evictions"), span, async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let course = stand.rig.course()?;
        let evicted = course.ended_by(hirl::USER).len();
        ensure!(evicted <= most, "{evicted} evictions");
        Ok(())
    })
    .await?;
    Ok(stand.rig.course()?.ended_by(hirl::USER).len())
}

#[test]
fn a_p0_pod_that_fits_nowhere_ever_keeps_nobody_out() -> Result<()> {
    run(async {
        let stand =
            Box::pin(small(RECLAIM, false, Budget::lending("pay", "P0", 0.5, 0.25))).await?;
        let rig = &stand.rig;
        Batch::new("pay", "huge-", "1000").class("hirl-p0").create(&rig.client, 1).await?;
        let (reason, text) = told(rig, "pay", "huge-").await?;
        ensure!(reason == "Unschedulable", "{reason}: {text}");
        Batch::new("lake", "low-", "1").class("hirl-p3").create(&rig.client, 32).await?;
        rig.bound("lake", "low-", 32, SOON).await?;
        spares(&stand, 0, Duration::from_secs(25)).await?;
        rig.bound("lake", "low-", 32, SOON).await?;
        stand.judged(&[]).map(|_| ())
    })
}

#[test]
fn a_p0_pod_that_finds_no_node_keeps_only_its_own_room_and_not_for_ever() -> Result<()> {
    run(async {
        let guard = "placement: {guardSeconds: 30}\n";
        let stand = Box::pin(small(guard, true, Budget::lending("pay", "P0", 0.5, 0.25))).await?;
        let rig = &stand.rig;
        Batch::new("pay", "whole-", "8").class("hirl-p0").create(&rig.client, 1).await?;
        let (reason, text) = told(rig, "pay", "whole-").await?;
        ensure!(reason == "Unschedulable", "{reason}: {text}");
        waits(&stand, "pay", 8).await?;
        // Eight cores are kept for it: two nodes with seven free ones. The others are open.
        Batch::new("lake", "low-", "1").class("hirl-p3").create(&rig.client, 28).await?;
        rig.bound("lake", "low-", 14, SOON).await?;
        let (reason, text) = told(rig, "lake", "low-").await?;
        ensure!(reason == "SchedulerError" && text.contains("domain lake"), "{reason}: {text}");
        println!("kept out for a while: {text}");
        throughout("the guard", Duration::from_secs(5), async || {
            let bound = rig.placed("lake", "low-").await?.len();
            ensure!(bound == 14, "{bound} are bound");
            Ok(())
        })
        .await?;
        rig.bound("lake", "low-", 28, 2 * SOON).await?;
        ensure!(rig.placed("pay", "whole-").await?.is_empty(), "it found a node");
        stand.judged(&[]).map(|_| ())
    })
}

/// kueue#6947: a head that can never be admitted goes on evicting.
#[test]
fn nobody_is_evicted_for_a_p0_pod_that_its_own_limit_keeps_out() -> Result<()> {
    run(async {
        let stand = Box::pin(small(RECLAIM, false, Budget::new("pay", "P0", 0.25))).await?;
        let rig = &stand.rig;
        Batch::new("lake", "low-", "1").class("hirl-p3").create(&rig.client, 24).await?;
        rig.bound("lake", "low-", 24, SOON).await?;
        Batch::new("pay", "first-", "1").class("hirl-p0").create(&rig.client, 12).await?;
        rig.bound("pay", "first-", 8, SOON).await?;
        spares(&stand, 0, Duration::from_secs(30)).await?;
        rig.bound("pay", "first-", 8, SOON).await?;
        stand.judged(&[limit("pay", POOL, 8000)]).map(|_| ())
    })
}

/// volcano#1464: eviction although the preemptor still cannot run.
#[test]
fn nobody_is_evicted_for_a_p0_pod_that_no_node_can_ever_hold() -> Result<()> {
    run(async {
        let stand = Box::pin(small(RECLAIM, true, Budget::lending("pay", "P0", 0.5, 0.25))).await?;
        let rig = &stand.rig;
        Batch::new("lake", "low-", "1").class("hirl-p3").create(&rig.client, 28).await?;
        rig.bound("lake", "low-", 28, SOON).await?;
        Batch::new("pay", "whole-", "8").class("hirl-p0").create(&rig.client, 1).await?;
        waits(&stand, "pay", 8).await?;
        spares(&stand, 0, Duration::from_secs(40)).await?;
        stand.judged(&[]).map(|_| ())
    })
}

/// KAI#1750: evictions that stop half way, because a budget keeps one of those who would have to go.
#[test]
fn pods_that_have_to_go_together_stay_together_where_a_budget_keeps_one() -> Result<()> {
    run(async {
        let stand = Box::pin(small(RECLAIM, true, Budget::lending("pay", "P0", 0.5, 0.25))).await?;
        let rig = &stand.rig;
        // Six pods and one that is kept on each node; on the last, the oldest, all may go.
        for node in [3, 2, 1, 0] {
            let more = json!({"nodeName": format!("{POOL}-{node}")});
            let (low, kept) = (format!("low-{node}-"), format!("kept-{node}-"));
            let low =
                Batch { more: more.clone(), ..Batch::new("lake", &low, "1").class("hirl-p3") };
            low.create(&rig.client, if node == 3 { 7 } else { 6 }).await?;
            if node != 3 {
                let kept = Batch::new("lake", &kept, "1").class("hirl-p3");
                let kept = Batch { more, labels: &[("app", "kept")], ..kept };
                kept.create(&rig.client, 1).await?;
            }
            // Ages count in seconds.
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        let budget: PodDisruptionBudget = objects::object(json!({
            "metadata": {"namespace": "lake", "name": "kept"},
            "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "kept"}}},
        }))?;
        objects::apply_namespaced(&rig.client, &budget).await?;
        // The scheduler preempts for nobody: of the domain of P0, with the least priority of all.
        Batch::new("pay", "whole-", "7").create(&rig.client, 1).await?;
        rig.bound("pay", "whole-", 1, 2 * SOON).await?;
        let course = rig.course()?;
        let mut gone: Vec<String> =
            course.ended_by(hirl::USER).into_iter().map(|pod| pod.name.clone()).collect();
        gone.sort_unstable();
        let wanted: Vec<String> = (0..7).map(|index| format!("lake/low-3-{index}")).collect();
        ensure!(gone == wanted, "{gone:?} were evicted");
        let refused = course.protected.len();
        ensure!(refused == 3, "{refused} evictions were refused");
        ensure!(course.ended_by(USER).is_empty(), "the scheduler preempted");
        println!(
            "together: {} pods evicted on one node, none on three with {refused} refusals",
            gone.len()
        );
        Ok(())
    })
}
