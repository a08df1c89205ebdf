//! `hirl lint`: turns HPAs and what belongs to them into findings with numbers and patches. Never
//! writes to a cluster.

mod conflicts;
mod finding;
mod memory;
mod metric;
pub(super) mod pace;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::connect::{ClusterArgs, connect};
use crate::cli::objects::{Objects, live, yaml};

use finding::{Finding, Severity};

pub(super) use metric::ours;

/// Finds HPAs that cannot do what they are meant to do.
///
/// Reads a cluster, or files (YAML or JSON, several documents, Lists; `kubectl get ... -o yaml`
/// output brings the measured values along). Prints each finding with its numbers and, where one
/// change puts it right, the command that does. Writes nothing.
///
/// Exit code: 0 nothing worse than warnings, 1 at least one error, 2 the input could not be read.
#[derive(Debug, clap::Args)]
#[command(after_long_help = rules_help())]
pub(crate) struct Args {
    /// Files or folders to read in place of a cluster; `-` is standard input.
    #[arg(short, long, value_name = "PATH", num_args = 1..)]
    file: Vec<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace to read; in files: the namespace of objects that name none.
    #[arg(short, long, value_name = "NAME", conflicts_with = "all_namespaces")]
    namespace: Option<String>,
    /// Read all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// How to print.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Text,
    /// A list of findings.
    Json,
}

fn rules_help() -> String {
    let mut text = "Rules:\n".to_owned();
    for rule in &rules::RULES {
        let _ = writeln!(text, "  {:26}{}", rule.name, rule.summary);
    }
    text
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (objects, notes) = crate::cli::block_on(read(args))?;
    let findings = rules::run(&objects);
    crate::cli::print(&match args.output {
        Output::Text => report(&objects, &findings, &notes),
        Output::Json => serde_json::to_string_pretty(&as_json(&findings))?,
    });
    let failed = findings.iter().any(|finding| finding.severity == Severity::Error);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn read(args: &Args) -> anyhow::Result<(Objects, Vec<String>)> {
    if !args.file.is_empty() {
        let mut documents = Vec::new();
        for path in &args.file {
            documents.extend(yaml::read(path)?);
        }
        let namespace = args.namespace.as_deref().unwrap_or("default");
        return Ok((Objects::from_documents(documents, namespace)?, Vec::new()));
    }
    let client = connect(&args.cluster).await?;
    let default = client.default_namespace().to_owned();
    let namespace = args.namespace.as_deref().unwrap_or(&default);
    let scope = if args.all_namespaces { None } else { Some(namespace) };
    let (documents, mut notes) = live::read(&client, scope)
        .await
        .map_err(|error| anyhow::anyhow!(live::plain(&error)))
        .context("cannot list HPAs")?;
    let mut objects = Objects::from_documents(documents, namespace)?;
    if scope.is_some() && !objects.nodes.is_empty() {
        // One namespace's HPAs say nothing about the size of the whole pool.
        objects.nodes.clear();
        notes.push("the sum of maxReplicas is compared with the nodes only with -A".to_owned());
    }
    Ok((objects, notes))
}

fn as_json(findings: &[Finding]) -> serde_json::Value {
    findings
        .iter()
        .map(|finding| {
            let mut value = serde_json::json!(finding);
            value["command"] = serde_json::json!(
                finding.patch.as_ref().map(super::objects::patch::Patch::command)
            );
            value
        })
        .collect()
}

fn report(objects: &Objects, findings: &[Finding], notes: &[String]) -> String {
    let mut text = String::new();
    for finding in findings {
        let Finding { rule, severity, object, origin, sentence, patch } = finding;
        let place = if origin == "cluster" { String::new() } else { format!(" ({origin})") };
        let _ = write!(text, "{}: {rule}: {object}{place}\n  {sentence}\n", severity.as_str());
        if let Some(patch) = patch {
            let _ = writeln!(text, "  {}", patch.command());
        }
    }
    for note in notes {
        let _ = writeln!(text, "note: {note}");
    }
    let errors = findings.iter().filter(|it| it.severity == Severity::Error).count();
    let warnings = findings.len() - errors;
    let _ = writeln!(text, "HPAs: {}, errors: {errors}, warnings: {warnings}", objects.hpas.len());
    text
}

/// HPAs of ours with an error: the object and the sentence. They get no number, or not theirs.
pub(super) fn refusals(objects: &Objects) -> Vec<(String, String)> {
    let ours: Vec<String> = ours(objects)
        .map(|placed| Finding::on(placed, Severity::Error, String::new()).object)
        .collect();
    rules::run(objects)
        .into_iter()
        .filter(|it| it.severity == Severity::Error && ours.contains(&it.object))
        .map(|it| (it.object, format!("{} ({})", it.sentence, it.rule)))
        .collect()
}

/// The rules that find something.
#[cfg(test)]
pub(crate) fn names(objects: &Objects) -> Vec<&'static str> {
    rules::run(objects).iter().map(|finding| finding.rule).collect()
}
