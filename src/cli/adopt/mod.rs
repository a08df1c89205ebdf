//! `hirl adopt`: turns an existing HPA into the patch that points it at our metric, or back.
//! Never writes to a cluster: all it sends are dry runs.

mod plan;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};

use crate::cli::connect::{ClusterArgs, connect};
use crate::cli::lint::pace;
use crate::cli::objects::view::{Hpa, Workload};
use crate::cli::objects::{Objects, live, patch, same_target, typed, yaml};
use crate::cluster::METRIC;

use plan::{Plan, Refused};

/// Prints the patch that points an HPA at our metric, or (--back) the one that takes it back.
///
/// The old metrics and behavior are kept in annotations, so that --back restores them exactly.
/// `tolerance: "0"` is part of the patch only when a server-side dry run shows that the cluster
/// keeps it. Nothing is written; apply the patch with the command in its first lines.
///
/// Exit code: 0 a patch was printed, 2 refused (one sentence says why).
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The HPA, as NAMESPACE/NAME; a bare name means the namespace of the kubeconfig's context.
    #[arg(value_name = "NAMESPACE/HPA")]
    hpa: String,
    /// Print the patch that undoes an adoption.
    #[arg(long)]
    back: bool,
    /// Also send the final patch as a server-side dry run and print the spec that would be stored.
    #[arg(long, conflicts_with = "file")]
    apply_dry_run: bool,
    /// Read the HPA from a file (`-` is standard input) in place of a cluster. Its scale target,
    /// when in the same file, gives the CPU request. Tolerance cannot be verified then.
    #[arg(short, long, value_name = "PATH")]
    file: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// How to print the patch.
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A patch file with the command in comments.
    Yaml,
    /// The patch alone, on one line.
    Json,
}

/// What the annotation may say, in percent: a target above the request is no share of it.
const SHARE: RangeInclusive<u32> = 1..=100;

/// What the patch is made from.
struct Subject {
    /// The object as it stands.
    now: Value,
    hpa: Hpa,
    target: Option<Workload>,
    /// Other HPAs of the namespace.
    others: Vec<Hpa>,
}

/// What is known about the field that makes every change count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tolerance {
    /// A dry run showed that it is stored.
    Kept,
    /// A dry run showed that it is dropped.
    Dropped,
    /// There was no dry run.
    Unverified,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    crate::cli::print(&crate::cli::block_on(make(args))?);
    Ok(ExitCode::SUCCESS)
}

async fn make(args: &Args) -> anyhow::Result<String> {
    if let Some(path) = &args.file {
        let subject = from_file(path, &args.hpa)?;
        let plan = plan(&subject, args.back, Tolerance::Unverified)?;
        return render(args, &subject, &plan);
    }
    from_client(args, &connect(&args.cluster).await?).await
}

async fn from_client(args: &Args, client: &kube::Client) -> anyhow::Result<String> {
    let (namespace, name) = split(&args.hpa, client.default_namespace());
    let subject = from_cluster(client, namespace, name).await?;
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &live::hpa());
    let plan = if args.back {
        plan(&subject, true, Tolerance::Kept)?
    } else {
        // The first dry run asks for the field, the answer tells whether it is stored.
        let with_tolerance = plan(&subject, false, Tolerance::Kept)?;
        match dry_run(&api, name, &with_tolerance.body).await {
            Ok(stored) if keeps_tolerance(&stored) => with_tolerance,
            Ok(_) => plan(&subject, false, Tolerance::Dropped)?,
            Err(error) if forbidden(&error) => {
                let mut plan = plan(&subject, false, Tolerance::Unverified)?;
                plan.notes.push(format!("the dry run was not allowed: {}", live::plain(&error)));
                plan
            }
            Err(error) => bail!("the API server refuses the patch: {}", live::plain(&error)),
        }
    };
    let mut text = render(args, &subject, &plan)?;
    if args.apply_dry_run {
        let stored = dry_run(&api, name, &plan.body)
            .await
            .map_err(|error| anyhow!("the dry run failed: {}", live::plain(&error)))?;
        let yaml = serde_saphyr::to_string(&stored["spec"])?;
        text.push_str("# The API server would store this spec (dry run, nothing was written):\n");
        for line in yaml.lines() {
            writeln!(text, "#   {line}")?;
        }
    }
    Ok(text)
}

fn split<'a>(id: &'a str, default: &'a str) -> (&'a str, &'a str) {
    id.split_once('/').unwrap_or((default, id))
}

async fn dry_run(api: &Api<DynamicObject>, name: &str, body: &Value) -> Result<Value, kube::Error> {
    let params = PatchParams::default().dry_run();
    let stored = api.patch(name, &params, &Patch::Merge(body)).await?;
    serde_json::to_value(stored).map_err(kube::Error::SerdeError)
}

fn forbidden(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 403)
}

fn keeps_tolerance(stored: &Value) -> bool {
    let behavior = &stored["spec"]["behavior"];
    ["scaleUp", "scaleDown"].iter().all(|direction| behavior[direction]["tolerance"] == "0")
}

fn from_file(path: &str, id: &str) -> anyhow::Result<Subject> {
    let (namespace, name) = split(id, "default");
    let documents = yaml::read(path)?;
    let raw: Vec<Value> = documents
        .iter()
        .filter(|it| it.value["kind"] == "HorizontalPodAutoscaler")
        .map(|it| it.value.clone())
        .collect();
    let objects = Objects::from_documents(documents, namespace)?;
    let mut found = None;
    let mut others = Vec::new();
    for (placed, raw) in objects.hpas.iter().zip(raw) {
        let meta = &placed.hpa.metadata;
        if meta.namespace != namespace {
            continue;
        }
        if meta.name == name {
            if raw["apiVersion"] != "autoscaling/v2" {
                bail!(
                    "{}: HPA {namespace}/{name} is {}: only autoscaling/v2 can name an external metric",
                    placed.origin,
                    raw["apiVersion"]
                );
            }
            found = Some((raw, placed.hpa.clone()));
        } else {
            others.push(placed.hpa.clone());
        }
    }
    let (now, hpa) = found.with_context(|| format!("{path} has no HPA {namespace}/{name}"))?;
    let target = objects.target(&hpa).cloned();
    Ok(Subject { now, hpa, target, others })
}

async fn from_cluster(
    client: &kube::Client,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Subject> {
    let found = live::list(client, &live::hpa(), Some(namespace))
        .await
        .map_err(|error| anyhow!("cannot read HPAs of {namespace}: {}", live::plain(&error)))?;
    let mut subject = None;
    let mut others = Vec::new();
    for document in found {
        let now = document.value.clone();
        let hpa: Hpa = typed(&document.origin, "HorizontalPodAutoscaler", document.value)?;
        if hpa.metadata.name == name {
            subject = Some((now, hpa));
        } else {
            others.push(hpa);
        }
    }
    let (now, hpa) =
        subject.with_context(|| format!("there is no HPA {name} in namespace {namespace}"))?;
    let target = read_target(client, namespace, &now).await;
    Ok(Subject { now, hpa, target, others })
}

/// The scale target, for its CPU request. Kinds that cannot be read give none: only a CPU target
/// in cores needs it.
async fn read_target(client: &kube::Client, namespace: &str, now: &Value) -> Option<Workload> {
    let reference = &now["spec"]["scaleTargetRef"];
    let (kind, name) = (reference["kind"].as_str()?, reference["name"].as_str()?);
    let version = reference["apiVersion"].as_str().unwrap_or("apps/v1");
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let plural = format!("{}s", kind.to_lowercase());
    let what = live::resource(group, version, kind, &plural);
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &what);
    let found = serde_json::to_value(api.get(name).await.ok()?).ok()?;
    typed("cluster", kind, found).ok()
}

fn plan(subject: &Subject, back: bool, tolerance: Tolerance) -> anyhow::Result<Plan> {
    let Subject { now, hpa, target, others } = subject;
    if back {
        return Ok(plan::back(now, hpa)?);
    }
    if let Some(other) = others.iter().find(|other| same_target(other, hpa)) {
        let id = |hpa: &Hpa| format!("{}/{}", hpa.metadata.namespace, hpa.metadata.name);
        let target = hpa.spec.scale_target_ref.to_string();
        return Err(Refused::SharedTarget(id(hpa), target, id(other)).into());
    }
    let kept = tolerance == Tolerance::Kept;
    let mut plan = plan::adopt(now, hpa, target_cpu(hpa, target.as_ref()), kept)?;
    let max = u32::try_from(hpa.spec.max_replicas).unwrap_or(0);
    let (low, high) = pace::dead_band(max, 0.1, 0.1);
    let lost = if low == max {
        String::new()
    } else {
        format!("; without it at {max} replicas the numbers {low}..{high} are ignored")
    };
    match tolerance {
        Tolerance::Kept => {}
        Tolerance::Dropped => plan.notes.push(format!(
            "this cluster drops tolerance (on by default from Kubernetes 1.35){lost}"
        )),
        Tolerance::Unverified => plan.notes.push(format!(
            "whether the cluster keeps tolerance \"0\" was not verified, so that it is not in the patch{lost}"
        )),
    }
    Ok(plan)
}

/// The CPU target in percent of the request.
fn target_cpu(hpa: &Hpa, target: Option<&Workload>) -> Option<u32> {
    hpa.resource("cpu").find_map(|metric| {
        if let Some(percent) = metric.target.average_utilization {
            return u32::try_from(percent).ok().filter(|it| SHARE.contains(it));
        }
        let cores = metric.target.average_value.as_ref()?.value;
        let request = match &metric.container {
            Some(container) => target?.container_request(container, "cpu")?,
            None => target?.request("cpu")?,
        };
        let percent = (100.0 * cores / request).round();
        Some(percent as u32).filter(|it| SHARE.contains(it))
    })
}

fn render(args: &Args, subject: &Subject, plan: &Plan) -> anyhow::Result<String> {
    let meta = &subject.hpa.metadata;
    let command = patch::Patch::on_hpa(&meta.namespace, &meta.name, json!({}));
    if args.output == Output::Json {
        for note in &plan.notes {
            crate::cli::note(note);
        }
        return Ok(format!("{}\n", plan.body));
    }
    let mut text = String::new();
    let metrics: Vec<String> =
        subject.hpa.spec.metrics.iter().map(super::objects::view::Metric::describe).collect();
    if args.back {
        writeln!(text, "# Takes HPA {}/{} back to what it was.", meta.namespace, meta.name)?;
    } else {
        writeln!(
            text,
            "# HPA {}/{} reads {METRIC} in place of: {}.",
            meta.namespace,
            meta.name,
            if metrics.is_empty() { "nothing".to_owned() } else { metrics.join(", ") }
        )?;
    }
    writeln!(
        text,
        "# Apply: kubectl -n {} patch {} {} --type=merge --patch-file FILE",
        meta.namespace, command.resource, meta.name
    )?;
    for note in &plan.notes {
        writeln!(text, "# Note: {note}.")?;
    }
    text.push_str(&serde_saphyr::to_string(&plan.body)?);
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
