//! `hirl check`: turns a cluster into a list of what is right and what is not, with a hint for
//! each. Writes nothing (access reviews are questions, though their verb is `create`).

mod capacity;
mod certificates;
mod interval;
mod line;
#[cfg(test)]
mod manifests;
pub(super) mod permissions;
mod prometheus;
mod registration;
mod scheduler;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::connect::{ClusterArgs, connect};
use crate::cli::lint;
use crate::cli::objects::{Objects, live};
use crate::cluster::METRIC;
use crate::config::Config;

use line::{Line, Mark};
use permissions::Who;

/// Refused HPAs that are named one by one.
const NAMED: usize = 5;

/// Checks that a cluster is ready for the server, or that an installed one works.
///
/// Prints one line per check: ✓ right, ! worth knowing, ✗ wrong, the last two with a hint. With
/// --pre the checks are those before installation; an external metrics API that belongs to
/// another server is refused in both. Writes nothing.
///
/// Exit code: 0 no ✗, 1 at least one, 2 the kubeconfig or the configuration cannot be used.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check before installation: what must be absent, and whether you may install.
    #[arg(long)]
    pre: bool,
    /// Namespace of the server.
    #[arg(short, long, value_name = "NAME", default_value = "hirl-system")]
    namespace: String,
    /// Name of its Service.
    #[arg(long, value_name = "NAME", default_value = "hirl")]
    service: String,
    /// Secret with its serving pair.
    #[arg(long, value_name = "NAME", default_value = "hirl-tls")]
    secret: String,
    /// PEM file with the serving chain, in place of the Secret.
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The user that the server acts as; `self` is the user of the kubeconfig. Without it the
    /// service account hirl of the server's namespace.
    #[arg(long, value_name = "USER")]
    serve_as: Option<String>,
    /// Configuration of the server: its Prometheus is asked too, from this machine, and where the
    /// extender is enabled its rights are checked, and whether it knows what pools can grow to.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say what is wrong with the configuration of a kube-scheduler that asks our extender, and
    /// ask no cluster.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["pre", "config"])]
    scheduler_config: Option<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(path) = &args.scheduler_config {
        return Ok(report(&scheduler::examine(path)?));
    }
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let lines = crate::cli::block_on(async {
        let client = connect(&args.cluster).await?;
        let now = jiff::Timestamp::now().as_second();
        let mut lines = examine(&client, args, config.as_ref(), now).await;
        if let Some(config) = config {
            lines.push(prometheus::examine(&config.telemetry).await);
        }
        Ok(lines)
    })?;
    Ok(report(&lines))
}

/// Prints the lines; the exit code says whether one is wrong.
fn report(lines: &[Line]) -> ExitCode {
    let text: String = lines.iter().map(Line::render).collect();
    crate::cli::print(&text);
    let failed = lines.iter().any(|line| line.mark == Mark::Fail);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// All checks, in the order of the report. `now` in seconds since the epoch.
async fn examine(
    client: &kube::Client,
    args: &Args,
    config: Option<&Config>,
    now: i64,
) -> Vec<Line> {
    let Args { namespace, service, pre, .. } = args;
    let mut lines = match client.apiserver_version().await {
        Ok(info) => vec![registration::version(&info)],
        // Nothing else could be asked either.
        Err(error) => {
            let what = format!("the API server does not answer: {}", live::plain(&error));
            return vec![Line::fail(what, "see --kubeconfig and --context")];
        }
    };
    let (line, api_service) = registration::api_service(client, service, namespace, *pre).await;
    lines.push(line);
    lines.push(registration::request_header(client).await);
    lines.push(registration::crd(client, *pre).await);
    if *pre {
        lines.extend(permissions::installing(client, namespace).await);
        return lines;
    }
    let who = match args.serve_as.as_deref() {
        Some("self") => Who::Me,
        Some(user) => Who::User(user.to_owned()),
        None => Who::User(format!("system:serviceaccount:{namespace}:hirl")),
    };
    lines.extend(permissions::serving(client, &who, namespace).await);
    if let Some(config) = config.filter(|config| config.extender.enabled) {
        lines.extend(permissions::placing(client, &who, namespace, &config.extender).await);
        lines.push(capacity::growth(client, &who, &config.placement.growth).await);
    }
    let ours = api_service.is_some();
    if let Some(spec) = api_service.and_then(|found| found.spec) {
        let chain =
            registration::serving_chain(client, args.cert.as_deref(), namespace, &args.secret)
                .await;
        match (chain, spec.ca_bundle) {
            (Err(line), _) => lines.push(line),
            (Ok(_), None) => lines.push(Line::fail(
                "the APIService has no caBundle",
                "kube-apiserver then trusts public CAs only: see certs/README.md",
            )),
            (Ok(chain), Some(bundle)) => {
                let host = format!("{service}.{namespace}.svc");
                lines.extend(certificates::judge(&chain, &bundle.0, &host, now));
            }
        }
    }
    match read(client).await {
        Ok(objects) => {
            lines.extend(hpas(client, &objects, ours).await);
            lines.push(capacity::warm(client, &objects).await);
        }
        Err(what) => lines.push(Line::fail(
            format!("HPAs cannot be listed: {what}"),
            "run as a user that may list them",
        )),
    }
    lines
}

/// The HPAs of the cluster and what they scale; `Err` is one sentence.
async fn read(client: &kube::Client) -> Result<Objects, String> {
    let (documents, _) = live::read(client, None).await.map_err(|error| live::plain(&error))?;
    Objects::from_documents(documents, "default").map_err(|error| error.to_string())
}

/// What the HPAs that read our metric are like, and, where the answers are ours, how often they
/// do.
async fn hpas(client: &kube::Client, objects: &Objects, ours: bool) -> Vec<Line> {
    let reading: Vec<_> = lint::ours(objects).collect();
    if reading.is_empty() {
        return vec![Line::pass(format!(
            "none of {} HPAs reads {METRIC} yet: hirl adopt prints the patch",
            objects.hpas.len()
        ))];
    }
    let mut lines =
        vec![Line::pass(format!("{} of {} HPAs read {METRIC}", reading.len(), objects.hpas.len()))];
    let refused = lint::refusals(objects);
    for (object, sentence) in refused.iter().take(NAMED) {
        lines.push(Line::fail(format!("{object}: {sentence}"), "hirl lint prints the patch"));
    }
    if refused.len() > NAMED {
        let what = format!("{} more HPAs of ours get no number", refused.len() - NAMED);
        lines.push(Line::fail(what, "hirl lint -A prints all of them"));
    }
    if !ours {
        return lines;
    }
    let namespaces: BTreeSet<&str> =
        reading.iter().map(|placed| placed.hpa.metadata.namespace.as_str()).collect();
    let namespaces: Vec<String> = namespaces.into_iter().map(str::to_owned).collect();
    lines.push(interval::measure(client, &namespaces, objects.hpas.len()).await);
    lines
}
