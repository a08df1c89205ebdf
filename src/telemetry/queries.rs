//! Turns a signal and the namespaces of a domain into one `PromQL` query. Never talks to anybody.
//!
//! One query answers three questions per workload, told apart by a label: the value, when the
//! newest sample behind it was taken, and whether the same traffic is counted more than once.
//! Asking them in one request means that the answers belong together.

use std::fmt::Write as _;

use crate::cluster::SignalKind;

use super::settings::{Preset, Query, Settings, field};

/// The label that tells the three parts of an answer apart.
pub(super) const PART: &str = "hirl_part";
/// Value of [`PART`] on the values.
pub(super) const VALUE: &str = "value";
/// Value of [`PART`] on the sample times, in Unix seconds.
pub(super) const AT: &str = "at";
/// Value of [`PART`] on workloads that are counted more than once.
pub(super) const COPIES: &str = "copies";

/// The query of one signal as configured, or as the preset has it.
#[must_use]
pub fn template(settings: &Settings, kind: SignalKind) -> Query {
    settings.queries.of(kind).cloned().unwrap_or_else(|| preset(settings.preset, kind))
}

/// The configuration key to look at when the query of `kind` is refused.
#[must_use]
pub fn key(settings: &Settings, kind: SignalKind) -> String {
    if settings.queries.of(kind).is_some() {
        format!("telemetry.queries.{}", field(kind))
    } else {
        "telemetry.preset".to_owned()
    }
}

/// The whole query of one signal for the workloads of `namespaces`.
#[must_use]
pub fn render(settings: &Settings, kind: SignalKind, namespaces: &[&str]) -> String {
    let template = template(settings, kind);
    let matcher = matcher(namespaces, settings.max_namespaces);
    let window = settings.windows.of(kind).map_or_else(String::new, |window| format!("{window}s"));
    let fill = |text: &str| text.replace("{namespaces}", &matcher).replace("{window}", &window);

    let value = fill(&template.query);
    let sample = fill(&template.sample);
    let join = fill(&template.join);
    let times = join.replace(Query::SERIES, &format!("timestamp({sample})"));
    let series = join.replace(Query::SERIES, &sample);
    let by = format!("{}, {}", template.namespace_label, template.workload_label);
    let mut copy = by.clone();
    for label in &settings.dedup_labels {
        let _ = write!(copy, ", {label}");
    }
    format!(
        "label_replace({value}, \"{PART}\", \"{VALUE}\", \"\", \"\")\n\
         or label_replace(max by ({by}) ({times}), \"{PART}\", \"{AT}\", \"\", \"\")\n\
         or label_replace(count by ({by}) (count by ({copy}) ({series})) > 1, \
         \"{PART}\", \"{COPIES}\", \"\", \"\")"
    )
}

/// The value of one signal that adds up over all workloads of `namespaces`, as one series. For traffic of the
/// past: it has neither ages nor copies.
#[must_use]
pub fn total(settings: &Settings, kind: SignalKind, namespaces: &[&str]) -> String {
    let matcher = matcher(namespaces, settings.max_namespaces);
    let window = settings.windows.of(kind).map_or_else(String::new, |window| format!("{window}s"));
    let query = template(settings, kind).query;
    format!("sum({})", query.replace("{namespaces}", &matcher).replace("{window}", &window))
}

/// A regular expression of `namespaces`, escaped for a `PromQL` string in double quotes.
fn matcher(namespaces: &[&str], max: usize) -> String {
    if namespaces.len() > max {
        return ".+".to_owned();
    }
    let mut text = String::new();
    for (index, namespace) in namespaces.iter().enumerate() {
        if index > 0 {
            text.push('|');
        }
        for char in namespace.chars() {
            match char {
                // Special in the expression, and the backslash itself in the string around it.
                '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => {
                    text.push_str(r"\\");
                    text.push(char);
                }
                '\\' => text.push_str(r"\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                _ => text.push(char),
            }
        }
    }
    text
}

/// What a preset asks for.
fn preset(preset: Preset, kind: SignalKind) -> Query {
    match kind {
        SignalKind::Cpu => cadvisor("container_cpu_usage_seconds_total", |sample| {
            format!("rate({sample}[{{window}}])")
        }),
        SignalKind::Memory => cadvisor("container_memory_working_set_bytes", str::to_owned),
        SignalKind::Rps | SignalKind::P99 | SignalKind::ErrorRatio => {
            requests(&traffic(preset), kind)
        }
    }
}

/// CPU and memory of all containers, brought from pods to workloads. `of` turns the selector into
/// what is added up.
///
/// `image` is empty on the kubelet's second copy of these series and on the sums per pod.
fn cadvisor(metric: &str, of: impl Fn(&str) -> String) -> Query {
    let sample = format!("{metric}{{container!=\"\",image!=\"\",namespace=~\"{{namespaces}}\"}}");
    // `max by` because two copies of kube-state-metrics must not make the join ambiguous.
    let join = format!(
        "{} * on (namespace, pod) group_left (workload) max by (namespace, pod, workload) \
         (namespace_workload_pod:kube_pod_owner:relabel{{namespace=~\"{{namespaces}}\"}})",
        Query::SERIES
    );
    let value = join.replace(Query::SERIES, &of(&sample));
    Query {
        query: format!("sum by (namespace, workload) ({value})"),
        sample,
        join,
        namespace_label: "namespace".to_owned(),
        workload_label: "workload".to_owned(),
    }
}

/// The series by which a mesh or library reports requests.
struct Traffic {
    namespace: &'static str,
    workload: &'static str,
    /// Counter of requests, for the rate.
    requests: &'static str,
    /// Counter of requests that also carries the outcome.
    outcomes: &'static str,
    /// Matcher of a failed outcome.
    failed: &'static str,
    /// Latency histogram, without `_bucket`.
    latency: &'static str,
    /// What divides the histogram's unit into seconds.
    per_second: &'static str,
    /// A matcher that all series share, with its comma; may be empty.
    side: &'static str,
}

const fn traffic(preset: Preset) -> Traffic {
    match preset {
        Preset::Istio => Traffic {
            namespace: "destination_workload_namespace",
            workload: "destination_workload",
            requests: "istio_requests_total",
            outcomes: "istio_requests_total",
            failed: "response_code=~\"5..\"",
            latency: "istio_request_duration_milliseconds",
            per_second: " / 1000",
            side: "reporter=\"destination\",",
        },
        Preset::Linkerd => Traffic {
            namespace: "namespace",
            workload: "deployment",
            requests: "response_total",
            outcomes: "response_total",
            failed: "classification=\"failure\"",
            latency: "response_latency_ms",
            per_second: " / 1000",
            side: "direction=\"inbound\",",
        },
        Preset::Envoy => Traffic {
            namespace: "namespace",
            workload: "envoy_cluster_name",
            requests: "envoy_cluster_upstream_rq_total",
            outcomes: "envoy_cluster_upstream_rq_xx",
            failed: "envoy_response_code_class=\"5\"",
            latency: "envoy_cluster_upstream_rq_time",
            per_second: " / 1000",
            side: "",
        },
        Preset::OpenTelemetry => Traffic {
            namespace: "service_namespace",
            workload: "service_name",
            requests: "http_server_request_duration_seconds_count",
            outcomes: "http_server_request_duration_seconds_count",
            failed: "http_response_status_code=~\"5..\"",
            latency: "http_server_request_duration_seconds",
            per_second: "",
            side: "",
        },
    }
}

fn requests(source: &Traffic, kind: SignalKind) -> Query {
    let Traffic { namespace, workload, side, latency, per_second, .. } = source;
    let by = format!("{namespace}, {workload}");
    let select = |metric: &str| format!("{metric}{{{side}{namespace}=~\"{{namespaces}}\"}}");
    let rate = |selector: &str| format!("sum by ({by}) (rate({selector}[{{window}}]))");
    let (query, sample) = match kind {
        SignalKind::P99 => {
            let buckets = select(&format!("{latency}_bucket"));
            let query = format!(
                "histogram_quantile(0.99, sum by (le, {by}) (rate({buckets}[{{window}}]))){per_second}"
            );
            // One series where the buckets are a dozen, scraped in the same instant.
            (query, select(&format!("{latency}_count")))
        }
        SignalKind::ErrorRatio => {
            let all = select(source.outcomes);
            let failed = all.replacen('{', &format!("{{{},", source.failed), 1);
            // An app that never failed has no series of failures: that is 0, not unknown.
            let query = format!(
                "({failed} or 0 * {all}) / {all}",
                failed = rate(&failed),
                all = rate(&all)
            );
            (query, all)
        }
        SignalKind::Rps | SignalKind::Cpu | SignalKind::Memory => {
            let all = select(source.requests);
            (rate(&all), all)
        }
    };
    Query {
        query,
        sample,
        join: Query::SERIES.to_owned(),
        namespace_label: (*namespace).to_owned(),
        workload_label: (*workload).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Queries;

    const PRESETS: [Preset; 4] =
        [Preset::Istio, Preset::Linkerd, Preset::Envoy, Preset::OpenTelemetry];

    fn all_queries(namespaces: &[&str]) -> String {
        let mut text = String::new();
        for preset in PRESETS {
            let settings = Settings { preset, ..Settings::default() };
            for kind in SignalKind::ALL {
                let query = render(&settings, kind, namespaces);
                let _ = writeln!(text, "# {preset:?} {kind}\n{query}\n");
            }
        }
        text
    }

    #[test]
    fn the_queries_of_every_preset_are_what_was_reviewed() {
        insta::assert_snapshot!(all_queries(&["pay", "fraud-eu"]));
    }

    #[test]
    fn the_traffic_of_a_whole_domain_is_one_series() {
        insta::assert_snapshot!(
            total(&Settings::default(), SignalKind::Rps, &["pay", "fraud-eu"]),
            @r#"sum(sum by (destination_workload_namespace, destination_workload) (rate(istio_requests_total{reporter="destination",destination_workload_namespace=~"pay|fraud-eu"}[60s])))"#
        );
    }

    #[test]
    fn no_placeholder_is_left_in_a_query() {
        let text = all_queries(&["pay"]);
        for placeholder in ["{namespaces}", "{window}", Query::SERIES] {
            assert!(!text.contains(placeholder), "{placeholder} is left in\n{text}");
        }
    }

    #[test]
    fn every_sample_of_a_preset_passes_the_check_on_configured_ones() {
        for preset in PRESETS {
            let mut settings = Settings { preset, ..Settings::default() };
            let own = |kind| Some(template(&settings, kind));
            settings.queries = Queries {
                rps: own(SignalKind::Rps),
                p99: own(SignalKind::P99),
                error_ratio: own(SignalKind::ErrorRatio),
                cpu: own(SignalKind::Cpu),
                memory: own(SignalKind::Memory),
            };
            assert_eq!(settings.validate(), Ok(()), "{preset:?}");
        }
    }

    #[test]
    fn a_namespace_cannot_leave_the_string_it_stands_in() {
        assert_eq!(matcher(&["a.b", r#"c"} or x"#, r"d\"], 9), r#"a\\.b|c\"\\} or x|d\\\\"#);
    }

    #[test]
    fn a_domain_of_very_many_namespaces_is_asked_for_without_a_matcher() {
        assert_eq!(matcher(&["a", "b", "c"], 3), "a|b|c");
        assert_eq!(matcher(&["a", "b", "c", "d"], 3), ".+");
    }

    #[test]
    fn a_configured_query_replaces_the_preset_and_names_its_key() {
        let mut settings = Settings::default();
        assert_eq!(key(&settings, SignalKind::Cpu), "telemetry.preset");
        let own: Query = serde_json::from_str(
            r#"{"query": "sum by (namespace, workload) (rate(app_cpu[{window}]))", "sample": "app_cpu"}"#,
        )
        .unwrap();
        settings.queries.cpu = Some(own);
        settings.dedup_labels = vec!["job".to_owned()];
        assert_eq!(key(&settings, SignalKind::Cpu), "telemetry.queries.cpu");
        insta::assert_snapshot!(render(&settings, SignalKind::Cpu, &["pay"]), @r#"
        label_replace(sum by (namespace, workload) (rate(app_cpu[120s])), "hirl_part", "value", "", "")
        or label_replace(max by (namespace, workload) (timestamp(app_cpu)), "hirl_part", "at", "", "")
        or label_replace(count by (namespace, workload) (count by (namespace, workload, job) (app_cpu)) > 1, "hirl_part", "copies", "", "")
        "#);
    }
}
