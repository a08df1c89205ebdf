//! A control plane with pools of nodes, priority classes and an audit log, and pods to place.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::testbed::control_plane::{self, ControlPlane, Kubelets};
use crate::testbed::judge::{Course, Room};
use crate::testbed::objects;
pub(crate) use crate::testbed::placing::apply_shipped as shipped;
use crate::testbed::wait::until;

/// The namespace label by which tests say which domain a namespace belongs to.
pub(crate) const DOMAIN: &str = "domain";
/// Patience with what takes a few seconds.
pub(crate) const SOON: Duration = Duration::from_secs(40);
/// The scheduler that pods ask for unless a test says otherwise.
pub(crate) const SCHEDULER: &str = crate::testbed::scheduler::SHIPPED;

/// A size cut to fit `make test`, or the full one with `HIRL_SCALE=1` (`make e2e-scale`).
pub(crate) fn sized(small: usize, full: usize) -> usize {
    if std::env::var_os("HIRL_SCALE").is_some() { full } else { small }
}

/// So many cores in thousandths.
pub(crate) fn milli(cores: usize) -> i64 {
    i64::try_from(cores * 1000).unwrap_or(i64::MAX)
}

/// The cluster that pods are placed in.
pub(crate) struct Rig {
    /// The control plane.
    pub(crate) plane: ControlPlane,
    /// Somebody with all rights.
    pub(crate) client: Client,
}

impl Rig {
    /// Starts it, with the four priority classes and no nodes.
    pub(crate) async fn start() -> Result<Self> {
        Self::start_with(true).await
    }

    /// The same, with a default scheduler or without.
    pub(crate) async fn start_with(scheduler: bool) -> Result<Self> {
        let options = control_plane::Options {
            audit: true,
            scheduler,
            kubelets: Some(Kubelets { ready_after: Duration::from_millis(50) }),
            ..control_plane::Options::default()
        };
        let plane = Box::pin(ControlPlane::start(options)).await?;
        let client = plane.client();
        shipped(&plane, &["priorityclasses.yaml"]).await?;
        Ok(Self { plane, client })
    }

    /// Nodes `POOL-0`, `POOL-1`, ... of `cpu` cores, and waits until pods may go there.
    pub(crate) async fn nodes(&self, pool: &str, count: usize, cpu: u32) -> Result<()> {
        self.nodes_with(pool, count, cpu, "1000Gi").await
    }

    /// The same with this much memory.
    pub(crate) async fn nodes_with(
        &self,
        pool: &str,
        count: usize,
        cpu: u32,
        memory: &str,
    ) -> Result<()> {
        let names = (0..count).map(|index| format!("{pool}-{index}"));
        let nodes = names.map(|name| objects::node(&name, pool, cpu, memory));
        let client = &self.client;
        futures::stream::iter(nodes)
            .map(|node| async move { objects::apply(client, &node?).await })
            .buffer_unordered(32)
            .try_collect::<Vec<()>>()
            .await?;
        let label = format!("hirl-scale.io/pool={pool}");
        let nodes: Api<Node> = Api::all(self.client.clone());
        until(format_args!("{count} nodes of {pool} to take pods"), SOON, async || {
            let found = nodes.list(&ListParams::default().labels(&label)).await?;
            let open = |node: &Node| {
                let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
                taints.is_none_or(Vec::is_empty)
            };
            let open = found.items.iter().filter(|node| open(node)).count();
            ensure!(open >= count, "{open} do");
            Ok(())
        })
        .await
    }

    /// A namespace of a domain.
    pub(crate) async fn namespace(&self, name: &str, domain: &str) -> Result<()> {
        self.namespace_with(name, &[(DOMAIN, domain)]).await
    }

    /// A namespace with labels.
    pub(crate) async fn namespace_with(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        objects::apply(&self.client, &objects::namespace(name, labels)?).await?;
        // Pods may be made in it at once.
        Api::<Namespace>::all(self.client.clone()).get(name).await.map(|_| ()).context("reading it")
    }

    /// Changes a node.
    pub(crate) async fn patch_node(&self, name: &str, patch: Value) -> Result<()> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        nodes
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("changing node {name}"))?;
        Ok(())
    }

    /// All pods of a namespace.
    pub(crate) async fn pods(&self, namespace: &str) -> Result<Vec<Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(api.list(&ListParams::default()).await.context("listing pods")?.items)
    }

    /// Names and nodes of the bound pods of a namespace whose name begins with `prefix`.
    pub(crate) async fn placed(
        &self,
        namespace: &str,
        prefix: &str,
    ) -> Result<BTreeMap<String, String>> {
        let placed = |pod: Pod| {
            let name = pod.metadata.name.filter(|name| name.starts_with(prefix))?;
            Some((name, pod.spec?.node_name?))
        };
        Ok(self.pods(namespace).await?.into_iter().filter_map(placed).collect())
    }

    /// Waits until exactly `count` of those are bound.
    pub(crate) async fn bound(
        &self,
        namespace: &str,
        prefix: &str,
        count: usize,
        within: Duration,
    ) -> Result<()> {
        until(format_args!("{count} bound pods {namespace}/{prefix}*"), within, async || {
            let now = self.placed(namespace, prefix).await?.len();
            ensure!(now == count, "{now} are bound");
            Ok(())
        })
        .await
    }

    /// The reason and message of the `PodScheduled` condition of each pod that is not bound.
    pub(crate) async fn waiting(
        &self,
        namespace: &str,
        prefix: &str,
    ) -> Result<BTreeMap<String, (String, String)>> {
        let said = |pod: Pod| {
            let name = pod.metadata.name.filter(|name| name.starts_with(prefix))?;
            let conditions = pod.status?.conditions?;
            let found = conditions.into_iter().find(|found| found.type_ == "PodScheduled")?;
            let said = (found.reason.unwrap_or_default(), found.message.unwrap_or_default());
            (found.status == "False").then_some((name, said))
        };
        Ok(self.pods(namespace).await?.into_iter().filter_map(said).collect())
    }

    /// Deletes a pod at once.
    pub(crate) async fn delete(&self, namespace: &str, name: &str) -> Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        api.delete(name, &at_once).await.with_context(|| format!("deleting {namespace}/{name}"))?;
        Ok(())
    }

    /// Fails unless the audit log adds up to what the API server holds: the judge missed nothing.
    pub(crate) async fn adds_up(
        &self,
        course: &Course,
        namespace: &str,
        domain: &str,
    ) -> Result<()> {
        let mut held = Room::default();
        for pod in self.pods(namespace).await? {
            let pod = serde_json::to_value(pod)?;
            let phase = pod["status"]["phase"].as_str().unwrap_or_default();
            if pod["spec"]["nodeName"].is_string() && !["Succeeded", "Failed"].contains(&phase) {
                held = held.plus(Room::of_pod(&pod["spec"])?);
            }
        }
        let of_domain = course.used.iter().filter(|((whose, _), _)| whose == domain);
        let told = of_domain.fold(Room::default(), |sum, (_, room)| sum.plus(*room));
        ensure!(told == held, "the audit log tells of {told}, the API server holds {held}");
        Ok(())
    }

    /// What happened so far, by the audit log.
    pub(crate) fn course(&self) -> Result<Course> {
        Course::read(&self.plane.audit_log()?, DOMAIN)
    }
}

/// Pods that are all the same.
#[derive(Debug, Clone)]
pub(crate) struct Batch<'a> {
    /// Namespace.
    pub(crate) namespace: &'a str,
    /// Their names are this with a number.
    pub(crate) prefix: &'a str,
    /// CPU request, as a quantity.
    pub(crate) cpu: &'a str,
    /// Memory request, as a quantity.
    pub(crate) memory: &'a str,
    /// Name of the priority class; empty for none.
    pub(crate) class: &'a str,
    /// Who shall place them.
    pub(crate) scheduler: &'a str,
    /// Labels.
    pub(crate) labels: &'a [(&'a str, &'a str)],
    /// What else their spec says.
    pub(crate) more: Value,
}

impl<'a> Batch<'a> {
    /// Pods of 1 Mi and this much CPU.
    pub(crate) fn new(namespace: &'a str, prefix: &'a str, cpu: &'a str) -> Self {
        Self {
            namespace,
            prefix,
            cpu,
            memory: "1Mi",
            class: "",
            scheduler: SCHEDULER,
            labels: &[],
            more: json!({}),
        }
    }

    /// The same with a priority class.
    pub(crate) fn class(self, class: &'a str) -> Self {
        Self { class, ..self }
    }

    /// Number `index` of them.
    pub(crate) fn pod(&self, index: usize) -> Result<Pod> {
        let labels: BTreeMap<_, _> = self.labels.iter().copied().collect();
        let mut spec = json!({
            "schedulerName": self.scheduler,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "app",
                "image": "simulated",
                "resources": {"requests": {"cpu": self.cpu, "memory": self.memory}},
            }],
        });
        if !self.class.is_empty() {
            spec["priorityClassName"] = self.class.into();
        }
        for (key, value) in self.more.as_object().into_iter().flatten() {
            spec[key] = value.clone();
        }
        objects::object(json!({
            "metadata": {
                "namespace": self.namespace,
                "name": format!("{}{index}", self.prefix),
                "labels": labels,
            },
            "spec": spec,
        }))
    }

    /// Makes so many of them, many at a time.
    pub(crate) async fn create(&self, client: &Client, count: usize) -> Result<()> {
        let pods = (0..count).map(|index| self.pod(index)).collect::<Result<Vec<_>>>()?;
        let api: Api<Pod> = Api::namespaced(client.clone(), self.namespace);
        futures::stream::iter(pods)
            .map(|pod| {
                let api = api.clone();
                async move {
                    api.create(&PostParams::default(), &pod).await.context("making a pod")
                }
            })
            .buffered(16)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(())
    }
}
