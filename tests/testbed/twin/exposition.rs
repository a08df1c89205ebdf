//! The twin's state in Prometheus' text format: Istio's and cAdvisor's series, and plain gauges.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use super::state::{BOUNDS, Fault, Running, State};

/// Writes series, bent by the fault of the app that they belong to.
struct Page {
    text: String,
    at: SystemTime,
}

/// How a gauge is read.
type Read = fn(&Running) -> f64;

/// The whole page.
pub(super) fn render(state: &State) -> String {
    let mut page = Page { text: String::new(), at: SystemTime::now() };
    // Every family in one piece, as the format wants it.
    page.family("istio_requests_total", "counter", state, requests);
    page.family("istio_request_duration_milliseconds", "histogram", state, durations);
    page.family("container_cpu_usage_seconds_total", "counter", state, |page, app| {
        for (name, pod) in &app.pods {
            page.container("container_cpu_usage_seconds_total", app, name, pod.cpu_seconds);
        }
    });
    page.family("container_memory_working_set_bytes", "gauge", state, |page, app| {
        for (name, pod) in &app.pods {
            page.container("container_memory_working_set_bytes", app, name, pod.memory);
        }
    });
    page.family("namespace_workload_pod:kube_pod_owner:relabel", "gauge", state, |page, app| {
        for name in app.pods.keys() {
            let labels = format!(
                "namespace=\"{}\",workload=\"{}\",pod=\"{name}\",workload_type=\"deployment\"",
                app.app.namespace, app.app.workload
            );
            page.line("namespace_workload_pod:kube_pod_owner:relabel", app, &labels, 1.0);
        }
    });
    let gauges: [(&str, Read); 5] = [
        ("twin_app_rps", |app| app.sample.rps),
        ("twin_app_cpu_cores", |app| app.sample.cpu),
        ("twin_app_p99_seconds", |app| app.sample.p99),
        ("twin_app_error_ratio", |app| app.sample.error_ratio),
        ("twin_app_memory_bytes", |app| app.sample.memory),
    ];
    for (name, read) in gauges {
        page.family(name, "gauge", state, |page, app| {
            let labels =
                format!("namespace=\"{}\",workload=\"{}\"", app.app.namespace, app.app.workload);
            page.line(name, app, &labels, read(app));
        });
    }
    page.text
}

fn requests(page: &mut Page, app: &Running) {
    for (code, count) in [("200", app.served), ("503", app.failed)] {
        let labels = format!("{},response_code=\"{code}\"", destination(app));
        page.line("istio_requests_total", app, &labels, count);
    }
}

fn durations(page: &mut Page, app: &Running) {
    let name = "istio_request_duration_milliseconds";
    let destination = destination(app);
    let mut total = 0.0;
    let bounds = BOUNDS.iter().map(ToString::to_string).chain(["+Inf".to_owned()]);
    for (count, bound) in app.buckets.iter().zip(bounds) {
        total += count;
        let labels = format!("{destination},le=\"{bound}\"");
        page.line(&format!("{name}_bucket"), app, &labels, total);
    }
    page.line(&format!("{name}_sum"), app, &destination, app.latency_sum * 1000.0);
    page.line(&format!("{name}_count"), app, &destination, total);
}

fn destination(app: &Running) -> String {
    format!(
        "reporter=\"destination\",destination_workload_namespace=\"{}\",destination_workload=\"{}\"",
        app.app.namespace, app.app.workload
    )
}

impl Page {
    fn family(
        &mut self,
        name: &str,
        kind: &str,
        state: &State,
        write: impl Fn(&mut Self, &Running),
    ) {
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        for app in state.apps.values() {
            // A gap in a recording is a gap in the telemetry.
            if app.sample.offered.is_some() {
                write(self, app);
            }
        }
    }

    fn container(&mut self, name: &str, app: &Running, pod: &str, value: f64) {
        let labels = format!(
            "namespace=\"{}\",pod=\"{pod}\",container=\"app\",image=\"simulated\"",
            app.app.namespace
        );
        self.line(name, app, &labels, value);
    }

    fn line(&mut self, name: &str, app: &Running, labels: &str, value: f64) {
        let fault = app.fault.map(|(fault, _)| fault);
        let at = match app.fault {
            Some((Fault::Frozen, since)) => format!(" {}", millis(since)),
            _ if app.app.timestamps => format!(" {}", millis(self.at)),
            _ => String::new(),
        };
        let value = match fault {
            Some(Fault::Silent) => return,
            Some(Fault::NotANumber) => "NaN".to_owned(),
            Some(Fault::Infinite) => "+Inf".to_owned(),
            _ => value.to_string(),
        };
        // Infallible: the text grows in memory.
        let _ = writeln!(self.text, "{name}{{{labels}}} {value}{at}");
        if fault == Some(Fault::Duplicate) {
            let _ = writeln!(self.text, "{name}{{{labels},job=\"twin-copy\"}} {value}{at}");
        }
    }
}

/// A time as the format writes it.
fn millis(time: SystemTime) -> u128 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()
}
