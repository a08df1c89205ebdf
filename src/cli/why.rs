//! `hirl why`: asks a server why a pod is where it is, and says it in sentences.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::AUTHORIZATION;
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use serde_json::Value;

use crate::cluster::Amount;
use crate::placement::Epoch;
use crate::tls;

/// Where a pod finds the token of its service account.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
/// The whole exchange.
const LIMIT: Duration = Duration::from_secs(5);
/// Bytes of an answer.
const BODY_LIMIT: usize = 16 << 20;

/// Says why something is as it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A pod: its domain and class, the budgets of its domain per node pool, and the last refusal
    ///
    /// Asks a server, and the owner of the placement ledger where that is another one: holds and
    /// refusals are known to the owner alone. Exit code: 0 known, 1 not known, 2 not asked.
    Pod(PodArgs),
}

#[derive(Debug, clap::Args)]
struct PodArgs {
    /// The pod
    #[arg(value_name = "NAMESPACE/NAME")]
    pod: String,
    /// Address of a server
    #[arg(long, value_name = "URL", default_value = "https://localhost:8443")]
    server: Uri,
    /// PEM file with the CA that signed its certificate
    #[arg(long, value_name = "FILE", default_value = "certs/ca.crt")]
    ca: PathBuf,
    /// Name in its certificate; without it the host of the address
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// File with a bearer token: that of our pod, or from a workstation one of your own, as
    /// `kubectl create token` writes it
    #[arg(long, value_name = "FILE", default_value = TOKEN)]
    token_file: PathBuf,
    /// PEM file with a client certificate, in place of a token
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let What::Pod(args) = &args.what;
    let Some((namespace, name)) =
        args.pod.split_once('/').filter(|(namespace, name)| is_name(namespace) && is_name(name))
    else {
        bail!("{:?} is no NAMESPACE/NAME", args.pod);
    };
    let found = crate::cli::block_on(async {
        let limited = tokio::time::timeout(LIMIT, ask(args, namespace, name));
        limited.await.with_context(|| format!("no answer within {} s", LIMIT.as_secs()))?
    })?;
    let Some(found) = found else {
        crate::cli::complain(&format!("the placement ledger knows no pod {namespace}/{name}"));
        return Ok(ExitCode::FAILURE);
    };
    crate::cli::print(&if args.json {
        serde_json::to_string_pretty(&found)?
    } else {
        let answer = Answer::deserialize(&found).context("the answer has another shape")?;
        sentences(&answer)
    });
    Ok(ExitCode::SUCCESS)
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    !text.is_empty() && text.bytes().all(fits)
}

async fn ask(args: &PodArgs, namespace: &str, name: &str) -> anyhow::Result<Option<Value>> {
    let server = Server::new(args)?;
    let Some(authority) = args.server.authority() else {
        bail!("{} is no address of a server", args.server);
    };
    let first = authority.as_str();
    let (code, body) = server.get(first, "/hirl/v1/placement").await?;
    let whose: Whose = parsed(first, code, &body)?;
    let mut from = first.to_owned();
    if let (false, Some(owner)) = (whose.owner, whose.owner_address) {
        from = owner;
    } else if !whose.owner {
        crate::cli::note("nobody owns the placement ledger now: holds and refusals are not known");
    }
    let path = format!("/hirl/v1/placement/pods/{namespace}/{name}");
    let (code, body) = match server.get(&from, &path).await {
        Err(error) if from != first => {
            crate::cli::note(&format!(
                "the owner does not answer, so holds and refusals are not known: {error:#}"
            ));
            server.get(first, &path).await?
        }
        answered => answered?,
    };
    if code == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    parsed(&from, code, &body).map(Some)
}

fn parsed<T: for<'de> Deserialize<'de>>(
    from: &str,
    code: StatusCode,
    body: &[u8],
) -> anyhow::Result<T> {
    if code != StatusCode::OK {
        let status: Value = serde_json::from_slice(body).unwrap_or_default();
        bail!("{from} answered {code}: {}", status["message"].as_str().unwrap_or("no reason"));
    }
    serde_json::from_slice(body).with_context(|| format!("{from} answered no JSON"))
}

/// A server, whichever replica it is.
struct Server {
    http: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    token: Option<String>,
}

impl Server {
    fn new(args: &PodArgs) -> anyhow::Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
        };
        let identity = match (&args.cert, &args.key) {
            (Some(cert), Some(key)) => Some((read(cert)?, read(key)?)),
            _ => None,
        };
        let token = if identity.is_some() {
            None
        } else {
            let token = read(&args.token_file)
                .context("no bearer token: name one with --token-file, or --cert and --key")?;
            let token = String::from_utf8(token)
                .with_context(|| format!("{} holds no text", args.token_file.display()))?;
            Some(token.trim().to_owned())
        };
        let pair = identity.as_ref().map(|(cert, key)| (cert.as_slice(), key.as_slice()));
        let config = tls::client_config(&read(&args.ca)?, pair)
            .with_context(|| format!("{}", args.ca.display()))?;
        let host = args.server.host().unwrap_or_default();
        let name = args
            .server_name
            .clone()
            .unwrap_or_else(|| host.trim_start_matches('[').trim_end_matches(']').to_owned());
        let name = ServerName::try_from(name.clone())
            .with_context(|| format!("{name:?} is no name of a server"))?;
        let http =
            legacy::Client::builder(TokioExecutor::new()).build(tls::connector(config, name));
        Ok(Self { http, token })
    }

    async fn get(&self, authority: &str, path: &str) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::get(format!("https://{authority}{path}"));
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).context("the token or the address is no text")?;
        let response = self
            .http
            .request(request)
            .await
            .map_err(|error| anyhow::anyhow!("asking {authority}: {}", tls::chain(&error)))?;
        let code = response.status();
        let body = Limited::new(response.into_body(), BODY_LIMIT).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("asking {authority}: {error}"))?;
        Ok((code, body.to_bytes()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Whose {
    owner: bool,
    owner_address: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    owner: bool,
    placement: Placement,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Placement {
    pod: String,
    domain: Option<String>,
    bypass: Option<String>,
    class: String,
    request: Amount,
    state: String,
    node: Option<String>,
    epoch: Epoch,
    refused: Option<String>,
    pools: Vec<Pool>,
}

#[derive(Debug, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the answer")]
struct Pool {
    pool: String,
    share: f64,
    target: Amount,
    floor: Amount,
    most: Option<Amount>,
    used: Amount,
    waiting: Amount,
    held: Amount,
}

fn cores(amount: Amount) -> f64 {
    amount.cpu_milli as f64 / 1000.0
}

fn gib(amount: Amount) -> f64 {
    amount.memory as f64 / f64::from(1 << 30)
}

/// The answer in plain words. Writing into a string cannot fail.
fn sentences(answer: &Answer) -> String {
    let Placement { pod, class, request, state, epoch, .. } = &answer.placement;
    let place = &answer.placement;
    let mut text = String::new();
    let node = place.node.as_ref().map_or(String::new(), |node| format!(" to {node}"));
    let what = match state.as_str() {
        "bound" => format!("is bound{node}"),
        "binding" => format!("is being bound{node}"),
        "held" => "holds a part of the budget and was not bound yet".to_owned(),
        "gated" => "waits behind a scheduling gate".to_owned(),
        _ => "is not bound".to_owned(),
    };
    let _ = writeln!(text, "Pod {pod} {what}.");
    if let Some(bypass) = &place.bypass {
        let why = match bypass.as_str() {
            "namespace" => "its namespace is exempt",
            "daemon-set" => "it belongs to a DaemonSet or is static",
            "system-priority" => "its priority is a system priority",
            _ => "no Domain selects its namespace",
        };
        let _ = writeln!(text, "It needs no budget: {why}.");
        return text;
    }
    if let Some(domain) = &place.domain {
        let _ = writeln!(
            text,
            "It is charged to domain {domain} as {class}: {:.3} cores and {:.2} GiB.",
            cores(*request),
            gib(*request)
        );
    }
    match &place.refused {
        Some(refused) => {
            let _ = writeln!(text, "It was refused: {refused}.");
        }
        None if state == "pending" && answer.owner => {
            let _ =
                writeln!(text, "The scheduler has not asked about it, or found no node itself.");
        }
        None => {}
    }
    if !answer.owner {
        let _ = writeln!(text, "This was said by a replica that does not own the ledger.");
    }
    if place.pools.is_empty() {
        let _ = writeln!(text, "There is no shared node pool.");
        return text;
    }
    let _ = writeln!(text, "Budgets of decision {epoch}, in cores:");
    let wide = place.pools.iter().map(|pool| pool.pool.len()).max().unwrap_or(0).max(4);
    let _ = writeln!(
        text,
        "  {:wide$}   share      used    target     floor   waiting      held   at most",
        "pool"
    );
    for pool in &place.pools {
        let most = pool.most.map_or_else(|| "-".to_owned(), |most| format!("{:.3}", cores(most)));
        let _ = writeln!(
            text,
            "  {:wide$}  {:>4.1} %  {:>8.3}  {:>8.3}  {:>8.3}  {:>8.3}  {:>8.3}  {most:>8}",
            pool.pool,
            pool.share * 100.0,
            cores(pool.used),
            cores(pool.target),
            cores(pool.floor),
            cores(pool.waiting),
            cores(pool.held),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(change: impl FnOnce(&mut Value)) -> String {
        let cpu = |milli: u64| json!({"cpu_milli": milli, "memory": 0});
        let mut answer = json!({
            "owner": true, "standing": "owner", "ownerAddress": null,
            "placement": {
                "pod": "pay/web-1", "uid": "u", "domain": "payments", "bypass": null,
                "class": "P0", "request": {"cpu_milli": 1500, "memory": 1 << 30},
                "state": "pending", "node": null, "epoch": {"term": 3, "sequence": 14},
                "refused": "budget: spent",
                "pools": [{"pool": "general", "domain": "payments", "share": 0.5,
                    "target": cpu(5000), "floor": cpu(1000), "most": null, "used": cpu(4750),
                    "waiting": cpu(2000), "growth": null, "bound": cpu(4000), "binding": cpu(500),
                    "held": cpu(250), "cap": cpu(9000), "all": cpu(4750)}],
            },
        });
        change(&mut answer);
        sentences(&Answer::deserialize(&answer).unwrap())
    }

    #[test]
    fn a_refused_pod_is_explained_with_the_use_of_its_pools() {
        let text = said(|_| {});
        for part in [
            "Pod pay/web-1 is not bound.",
            "domain payments as P0: 1.500 cores and 1.00 GiB",
            "refused: budget: spent.",
            "decision 3-14",
            "general  50.0 %     4.750     5.000     1.000     2.000     0.250         -",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
    }

    #[test]
    fn a_pod_without_a_budget_is_said_to_need_none() {
        let text = said(|answer| {
            answer["placement"]["bypass"] = json!("no-domain");
            answer["placement"]["state"] = json!("bound");
            answer["placement"]["node"] = json!("n1");
        });
        assert_eq!(
            text,
            "Pod pay/web-1 is bound to n1.\nIt needs no budget: no Domain selects its namespace.\n"
        );
    }

    #[test]
    fn the_ledger_s_own_words_are_understood() {
        use crate::placement::Explanation;
        let explained = Explanation {
            pod: "a/b".into(),
            uid: "u".into(),
            domain: None,
            bypass: Some(crate::placement::Bypass::DaemonSet),
            class: crate::cluster::Class::P2,
            request: Amount::ZERO,
            state: "pending",
            node: None,
            epoch: Epoch::default(),
            refused: None,
            pools: Vec::new(),
        };
        let said = |explained: &Explanation| {
            let answer = json!({"owner": false, "placement": explained});
            sentences(&Answer::deserialize(&answer).unwrap())
        };
        let text = said(&explained);
        assert!(text.contains("DaemonSet"), "{text}");
        let cpu = |cpu_milli| Amount { cpu_milli, memory: 0 };
        let pools = vec![crate::placement::PoolUse {
            pool: "general".into(),
            domain: "payments".into(),
            share: 0.25,
            used: cpu(6000),
            target: cpu(5000),
            floor: cpu(1000),
            most: Some(cpu(7000)),
            waiting: cpu(2000),
            growth: None,
            bound: cpu(5500),
            binding: cpu(250),
            held: cpu(250),
            cap: cpu(19_000),
            all: cpu(12_000),
        }];
        let text = said(&Explanation { bypass: None, pools, ..explained });
        let row = "general  25.0 %     6.000     5.000     1.000     2.000     0.250     7.000";
        assert!(text.contains(row), "{text}");
    }
}
