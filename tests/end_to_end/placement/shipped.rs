//! The configuration files that we ship, with nothing but addresses and paths replaced, on the real
//! scheduler with the rights that we ship: budgets hold, and who needs none is left alone.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::rig::{Batch, Rig, SCHEDULER, SOON, shipped as apply};
use super::stand::{Stand, limit};
use crate::testbed::placing::{Budget, Choices};
use crate::testbed::run;
use crate::testbed::scheduler::{Scheduler, USER, shipped};
use crate::testbed::wait::throughout;

/// Starts a scheduler with the file that we ship as `user` of the API server.
async fn start(stand: &Stand, file: &str, user: &str, more: &[(&str, &str)]) -> Result<Scheduler> {
    let plane = &stand.rig.plane;
    let name = file.trim_end_matches(".yaml");
    let groups = ["system:serviceaccounts", "system:serviceaccounts:hirl-system"];
    let groups: &[&str] = if user == USER { &[] } else { &groups };
    let kubeconfig = plane.kubeconfig_for(&format!("{name}-user"), user, groups)?;
    let address = format!("https://127.0.0.1:{}", stand.hirl.place().spare_port);
    let authority = text(&stand.hirl.place().serving_ca);
    let mut problem = None;
    let scheduler = Scheduler::start_with(plane, name, None, |place| {
        let (certificate, key) = (text(&place.client.certificate), text(&place.client.key));
        let kubeconfig = text(&kubeconfig);
        let inside = format!("clientConnection:\n  kubeconfig: {kubeconfig}");
        let folder = if user == USER { "/etc/kubernetes/hirl" } else { "/etc/hirl-scheduler" };
        let (ca, tls) = if user == USER { ("", "") } else { ("/ca", "/client") };
        let paths = [
            format!("{folder}{ca}/ca.crt"),
            format!("{folder}{tls}/tls.crt"),
            format!("{folder}{tls}/tls.key"),
        ];
        let mut pairs: Vec<(&str, &str)> = vec![
            ("https://hirl-extender.hirl-system.svc:10262", &address),
            (&paths[0], &authority),
            (&paths[1], &certificate),
            (&paths[2], &key),
        ];
        if more.is_empty() {
            pairs.push(("clientConnection:", &inside));
        } else {
            pairs.push((more[0].0, &kubeconfig));
        }
        shipped(file, &pairs).unwrap_or_else(|error| {
            problem = Some(error);
            String::new()
        })
    });
    let scheduler = scheduler.await;
    problem.map_or(scheduler, Err)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn the_configuration_files_that_we_ship_keep_budgets_on_the_real_scheduler() -> Result<()> {
    run(async {
        let rig = Rig::start_with(false).await?;
        rig.nodes("general", 10, 10).await?;
        for (namespace, domain) in [("strict", "a"), ("open", "b"), ("marked", "c")] {
            rig.namespace(namespace, domain).await?;
        }
        let budgets = ["a", "b", "c"].map(|domain| Budget::new(domain, "P1", 0.05));
        let mut stand = Stand::start(rig, &Choices::new(&["general"]), &budgets, 5000).await?;
        stand.scheduler.process().kill()?;
        apply(&stand.rig.plane, &["open/rbac.yaml"]).await?;
        let account = |name: &str| format!("system:serviceaccount:hirl-system:{name}");
        let own = account(SCHEDULER);
        let _strict = start(&stand, "hirl-scheduler.yaml", &own, &[]).await?;
        let _open = start(&stand, "hirl-scheduler-open.yaml", &own, &[]).await?;
        let kubeconfig = [("/etc/kubernetes/scheduler.conf", "")];
        let file = "default-scheduler-marker.yaml";
        let _marked = start(&stand, file, USER, &kubeconfig).await?;

        let client = &stand.rig.client;
        Batch::new("strict", "p-", "1").create(client, 10).await?;
        let open = Batch { scheduler: "hirl-scheduler-open", ..Batch::new("open", "p-", "1") };
        open.create(client, 10).await?;
        let resources = json!({
            "requests": {"cpu": "1", "memory": "1Mi", "hirl-scale.io/budgeted": "1"},
            "limits": {"hirl-scale.io/budgeted": "1"},
        });
        let more = json!({"containers": [
            {"name": "app", "image": "simulated", "resources": resources},
        ]});
        let scheduler = "default-scheduler";
        let marked = Batch { scheduler, more, ..Batch::new("marked", "p-", "1") };
        marked.create(client, 10).await?;
        // Without the marker the default scheduler asks nobody.
        Batch { scheduler, ..Batch::new("default", "p-", "1") }.create(client, 10).await?;
        for namespace in ["strict", "open", "marked"] {
            stand.rig.bound(namespace, "p-", 5, SOON).await?;
        }
        stand.rig.bound("default", "p-", 10, SOON).await?;
        throughout("the budgets", Duration::from_secs(12), async || {
            for namespace in ["strict", "open", "marked"] {
                let bound = stand.rig.placed(namespace, "p-").await?.len();
                ensure!(bound == 5, "{bound} are bound in {namespace}");
            }
            Ok(())
        })
        .await?;
        let limits = ["a", "b", "c"].map(|domain| limit(domain, "general", 5000));
        stand.judged(&limits).map(|_| ())
    })
}
