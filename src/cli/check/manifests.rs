//! What `manifests/` promises, read from its files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::cli::lint;
use crate::cli::objects::{Objects, yaml};
use crate::config::Config;

use super::permissions::{SERVE, Scope};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

/// Every YAML file below a folder of the manifests, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            all.push(path);
        }
    }
    all.sort();
    all
}

fn objects(file: &Path) -> Vec<Value> {
    let read = yaml::read(&file.display().to_string()).unwrap();
    read.into_iter().map(|document| document.value).collect()
}

/// Everything of one folder that is applied.
fn scheduler(folder: &str) -> Vec<Value> {
    let folder = root().join("scheduler").join(folder);
    let kustomization = objects(&folder.join("kustomization.yaml")).remove(0);
    let resources = strings(&kustomization["resources"]);
    resources.into_iter().flat_map(|name| objects(&folder.join(name))).collect()
}

fn base() -> Vec<Value> {
    let manifests = files(&root().join("base"));
    let manifests = manifests.iter().filter(|file| !file.ends_with("config.yaml"));
    manifests.flat_map(|file| objects(file)).collect()
}

fn of_kind<'a>(all: &'a [Value], kind: &str) -> Vec<&'a Value> {
    all.iter().filter(|object| object["kind"] == kind).collect()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().map_or(Vec::new(), |items| items.iter().filter_map(Value::as_str).collect())
}

#[test]
fn every_manifest_parses_and_every_kustomization_lists_its_folder() {
    for folder in [
        "base",
        "overlays/own-ca",
        "overlays/cert-manager",
        "overlays/own-ca-scheduler",
        "overlays/cert-manager-scheduler",
        "scheduler",
        "scheduler/open",
        "scheduler/gates",
        "scheduler/reclaim",
        "scheduler/balloon",
        "scheduler/capacity-buffer",
        "scheduler/cert-manager",
    ] {
        let folder = root().join(folder);
        let kustomization = &objects(&folder.join("kustomization.yaml"))[0];
        let mut listed: BTreeSet<String> =
            strings(&kustomization["resources"]).into_iter().map(str::to_owned).collect();
        for generator in kustomization["configMapGenerator"].as_array().into_iter().flatten() {
            listed.extend(strings(&generator["files"]).into_iter().map(str::to_owned));
        }
        listed.retain(|resource| !resource.starts_with("../"));
        if folder == root().join("scheduler") {
            // For a scheduler that somebody else runs.
            listed.insert("default-scheduler-marker.yaml".to_owned());
        }
        let there: BTreeSet<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| Path::new(name).extension().is_some_and(|it| it == "yaml"))
            .filter(|name| name != "kustomization.yaml")
            .collect();
        assert_eq!(listed, there, "{}", folder.display());
    }
    for file in files(&root()) {
        if !file.ends_with("config.yaml") {
            assert!(!objects(&file).is_empty(), "{} holds nothing", file.display());
        }
    }
}

#[test]
fn the_configuration_is_one_that_the_server_accepts() {
    let config = Config::load(&root().join("base/config.yaml")).unwrap();
    let all = base();
    let pod = &of_kind(&all, "Deployment")[0]["spec"]["template"]["spec"];
    let port = pod["containers"][0]["ports"][0]["containerPort"].as_u64().unwrap();
    assert_eq!(u64::from(config.http.listen.port()), port);
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mounted = |file: &Path| {
        mounts.iter().any(|mount| file.starts_with(mount["mountPath"].as_str().unwrap()))
    };
    assert!(mounted(&config.http.cert_file) && mounted(&config.http.key_file));
    assert!(mounted(config.control.peer.ca_file.as_ref().unwrap()));
    assert_eq!(config.control.peer.server_name, "hirl.hirl-system.svc");
}

#[test]
fn tls_is_verified_everywhere() {
    for file in files(&root()) {
        let text = fs::read_to_string(&file).unwrap();
        assert!(!text.contains("insecureSkipTLSVerify"), "{}", file.display());
        assert!(!text.contains("PRIVATE KEY"), "{}", file.display());
    }
}

/// Resources whose change starts, stops or moves pods.
const WORKLOADS: [&str; 12] = [
    "pods",
    "deployments",
    "statefulsets",
    "replicasets",
    "daemonsets",
    "jobs",
    "cronjobs",
    "horizontalpodautoscalers",
    "nodes",
    "namespaces",
    "replicationcontrollers",
    "*",
];

#[test]
fn no_role_writes_a_workload_or_reads_a_secret() {
    let all = base();
    let roles = [of_kind(&all, "ClusterRole"), of_kind(&all, "Role")].concat();
    assert!(roles.len() > 3);
    for role in roles {
        for rule in role["rules"].as_array().unwrap() {
            let name = &role["metadata"]["name"];
            let writes = strings(&rule["verbs"])
                .into_iter()
                .any(|verb| !["get", "list", "watch"].contains(&verb));
            for resource in strings(&rule["resources"]) {
                let whole = resource.split('/').next().unwrap();
                assert!(!(writes && WORKLOADS.contains(&whole)), "{name} writes {resource}");
                assert_ne!(resource, "secrets", "{name} reads secrets");
            }
        }
    }
}

/// Whether the roles that are bound to the server allow one verb.
fn granted(all: &[Value], scope: Scope, group: &str, resource: &str, verb: &str) -> bool {
    let rules: Vec<&Value> = match scope {
        Scope::Cluster => of_kind(all, "ClusterRole"),
        Scope::Own => of_kind(all, "Role"),
        Scope::KubeSystem => Vec::new(),
    }
    .into_iter()
    .filter(|role| role["metadata"]["name"] == "hirl")
    .flat_map(|role| role["rules"].as_array().unwrap())
    .collect();
    rules.into_iter().any(|rule| {
        strings(&rule["apiGroups"]).contains(&group)
            && strings(&rule["resources"]).contains(&resource)
            && strings(&rule["verbs"]).contains(&verb)
    })
}

#[test]
fn the_roles_grant_what_the_server_needs_and_no_more() {
    let all = base();
    let mut needed = BTreeSet::new();
    for need in SERVE {
        for verb in need.verbs {
            // These two come with roles that every cluster has.
            let delegated = ["tokenreviews", "subjectaccessreviews"].contains(&need.resource);
            if delegated || need.scope == Scope::KubeSystem {
                continue;
            }
            let what = format!("{verb} {}", need.resource);
            assert!(
                granted(&all, need.scope, need.group, need.resource, verb),
                "no role allows to {what}"
            );
            needed.insert(what);
        }
    }
    let own = [of_kind(&all, "ClusterRole"), of_kind(&all, "Role")].concat();
    for role in own.into_iter().filter(|role| role["metadata"]["name"] == "hirl") {
        for rule in role["rules"].as_array().unwrap() {
            for resource in strings(&rule["resources"]) {
                for verb in strings(&rule["verbs"]) {
                    assert!(
                        needed.contains(&format!("{verb} {resource}")),
                        "{verb} {resource} is too much"
                    );
                }
            }
        }
    }
    let bound: Vec<&str> = of_kind(&all, "ClusterRoleBinding")
        .into_iter()
        .chain(of_kind(&all, "RoleBinding"))
        .filter_map(|binding| binding["roleRef"]["name"].as_str())
        .collect();
    for role in ["hirl", "system:auth-delegator", "extension-apiserver-authentication-reader"] {
        assert!(bound.contains(&role), "{role} is not bound");
    }
}

#[test]
fn the_pods_are_locked_down_spread_and_probed() {
    let all = base();
    let deployment = of_kind(&all, "Deployment")[0];
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert!(!pod["topologySpreadConstraints"].as_array().unwrap().is_empty());
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
        assert!(container["resources"]["requests"]["cpu"].is_string());
        assert!(container["resources"]["limits"]["memory"].is_string());
        for (probe, path) in [("livenessProbe", "/livez"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"]["path"], path);
            assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS");
        }
    }
    assert_eq!(of_kind(&all, "PodDisruptionBudget")[0]["spec"]["maxUnavailable"], 1);
}

#[test]
fn one_label_joins_service_pods_budget_and_network_policy() {
    let all = base();
    let wanted = serde_json::json!({"app.kubernetes.io/name": "hirl"});
    let find = |kind: &str| of_kind(&all, kind)[0];
    assert_eq!(find("Service")["spec"]["selector"], wanted);
    assert_eq!(find("Deployment")["spec"]["selector"]["matchLabels"], wanted);
    assert_eq!(find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"], wanted);
    assert_eq!(find("NetworkPolicy")["spec"]["podSelector"]["matchLabels"], wanted);
    let service = &find("APIService")["spec"]["service"];
    assert_eq!(service["name"], find("Service")["metadata"]["name"]);
    assert_eq!(service["port"], find("Service")["spec"]["ports"][0]["port"]);
}

#[test]
fn the_example_hpas_are_clean_but_for_the_tolerance_of_old_clusters() {
    for (file, findings) in [("hpa-1.35.yaml", vec![]), ("hpa-before-1.35.yaml", vec!["tolerance"])]
    {
        let path = root().join("examples").join(file);
        let read = yaml::read(&path.display().to_string()).unwrap();
        let objects = Objects::from_documents(read, "default").unwrap();
        assert_eq!(objects.hpas.len(), 1);
        assert_eq!(lint::names(&objects), findings, "{file}");
    }
}

#[test]
fn beside_the_base_hirl_may_bind_and_no_more_unless_switched_on() {
    let may = |folder: &str, subject: &str| {
        let all = scheduler(folder);
        let mut found = BTreeSet::new();
        for binding in [of_kind(&all, "ClusterRoleBinding"), of_kind(&all, "RoleBinding")].concat()
        {
            if binding["subjects"][0]["name"] != subject {
                continue;
            }
            let granted = &binding["roleRef"]["name"];
            let all_roles = [of_kind(&all, "ClusterRole"), of_kind(&all, "Role")].concat();
            for rule in all_roles
                .into_iter()
                .filter(|role| role["metadata"]["name"] == *granted)
                .flat_map(|role| role["rules"].as_array().unwrap())
            {
                for (verb, resource) in strings(&rule["verbs"]).into_iter().flat_map(|verb| {
                    strings(&rule["resources"]).into_iter().map(move |it| (verb, it))
                }) {
                    let name = strings(&rule["resourceNames"]).join(",");
                    found.insert(format!("{verb} {resource} {name}").trim().to_owned());
                }
            }
        }
        found.into_iter().collect::<Vec<String>>()
    };
    assert_eq!(
        may("", "hirl"),
        [
            "create endpointslices",
            "create pods/binding",
            "get endpointslices hirl-extender",
            "get nodepools",
            "get pods",
            "list nodepools",
            "update endpointslices hirl-extender",
            "watch nodepools",
        ]
    );
    assert_eq!(may("gates", "hirl"), ["patch pods"]);
    assert_eq!(may("reclaim", "hirl"), ["create pods/eviction"]);
    assert!(may("open", "hirl").is_empty() && may("cert-manager", "hirl").is_empty());
    let own = ["create leases", "get leases hirl-scheduler", "update leases hirl-scheduler"];
    assert_eq!(may("", "hirl-scheduler"), own, "the rest comes with the cluster's own roles");
}

#[test]
fn the_schedulers_are_locked_down_and_find_their_files() {
    for (folder, name) in [("", "hirl-scheduler"), ("open", "hirl-scheduler-open")] {
        let all = scheduler(folder);
        let deployment = of_kind(&all, "Deployment")[0];
        assert_eq!(deployment["metadata"]["name"], name);
        assert_eq!(deployment["spec"]["replicas"], 2);
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        let container = &pod["containers"][0];
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(strings(&security["capabilities"]["drop"]), ["ALL"]);
        assert_eq!(pod["schedulerName"], Value::Null, "it cannot place itself");
        let budget = of_kind(&all, "PodDisruptionBudget")[0];
        assert_eq!(budget["spec"]["selector"], deployment["spec"]["selector"]);
        let network = &of_kind(&scheduler(""), "NetworkPolicy")[0]["spec"]["podSelector"].clone();
        for (key, value) in network["matchLabels"].as_object().unwrap() {
            assert_eq!(&labels[key], value, "{key}");
        }

        let config = &objects(&root().join(format!("scheduler/{name}.yaml")))[0];
        assert_eq!(config["profiles"][0]["schedulerName"], name);
        assert_eq!(config["leaderElection"]["resourceName"], name);
        let mounted = |file: &Value| {
            let file = Path::new(file.as_str().unwrap());
            let mounts = container["volumeMounts"].as_array().unwrap();
            let mut at = mounts
                .iter()
                .filter(|mount| file.parent() == mount["mountPath"].as_str().map(Path::new));
            let volume = &at.next().unwrap()["name"];
            let mut sources = pod["volumes"].as_array().unwrap().iter();
            let source = sources.find(|source| source["name"] == *volume).unwrap();
            let items = source["secret"]["items"].as_array().unwrap();
            let file = file.file_name().unwrap().to_str().unwrap();
            assert!(items.iter().any(|item| item["path"] == file), "{file} is not mounted");
        };
        let tls = &config["extenders"][0]["tlsConfig"];
        [&tls["caFile"], &tls["certFile"], &tls["keyFile"]].into_iter().for_each(mounted);

        let all = scheduler("");
        let service = of_kind(&all, "Service")[0];
        assert_eq!(service["spec"]["selector"], Value::Null);
        let place = format!(
            "https://{}.{}.svc:{}/",
            service["metadata"]["name"].as_str().unwrap(),
            service["metadata"]["namespace"].as_str().unwrap(),
            service["spec"]["ports"][0]["port"]
        );
        let url = config["extenders"][0]["urlPrefix"].as_str().unwrap();
        assert!(url.starts_with(&place), "{url} is not at {place}");
    }
}

#[test]
fn the_classes_are_in_order_and_the_lowest_never_preempts() {
    let all = scheduler("");
    let classes = of_kind(&all, "PriorityClass");
    let names: Vec<&str> =
        classes.iter().map(|class| class["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["hirl-p0", "hirl-p1", "hirl-p2", "hirl-p3"]);
    let known = crate::placement::Settings::default().priority_classes;
    assert!(names.iter().all(|name| known.contains_key(*name)));
    assert!(classes.is_sorted_by(|a, b| a["value"].as_i64() > b["value"].as_i64()));
    for class in classes {
        let lowest = class["metadata"]["name"] == "hirl-p3";
        let policy = if lowest { "Never" } else { "PreemptLowerPriority" };
        assert_eq!(class["preemptionPolicy"], policy);
        assert_eq!(class["globalDefault"], false);
    }
}

#[test]
fn the_overlays_configure_the_extender_that_the_scheduler_asks() {
    for overlay in ["cert-manager-scheduler", "own-ca-scheduler"] {
        let file = root().join("overlays").join(overlay).join("config.yaml");
        let config = Config::load(&file).unwrap();
        let all = scheduler("");
        let service = of_kind(&all, "Service")[0];
        assert!(config.extender.enabled && config.extender.endpoint_slice.enabled);
        assert_eq!(config.extender.endpoint_slice.name, service["metadata"]["name"]);
        assert_eq!(config.extender.listen.port(), service["spec"]["ports"][0]["port"]);
        let base = Config::load(&root().join("base/config.yaml")).unwrap();
        assert_eq!(Config { extender: base.extender.clone(), ..config }, base, "{overlay}");
    }
}

#[test]
fn warm_capacity_follows_the_metric_by_the_size_of_one_pod() {
    for (folder, name) in [("balloon", "hirl-balloon"), ("capacity-buffer", "hirl-warm")] {
        let all = scheduler(folder);
        let deployment = of_kind(&all, "Deployment")[0];
        let hpa = &of_kind(&all, "HorizontalPodAutoscaler")[0]["spec"];
        assert_eq!(deployment["metadata"]["name"], name);
        assert_eq!(hpa["scaleTargetRef"]["name"], name);
        let external = &hpa["metrics"][0]["external"];
        assert_eq!(external["metric"]["name"], crate::http::WARM_METRIC);
        let pod = &deployment["spec"]["template"]["spec"];
        let request = &pod["containers"][0]["resources"]["requests"]["cpu"];
        assert_eq!(external["target"]["averageValue"], *request, "{folder}");
        // Balloons hold nodes, placeholders must not.
        assert_eq!(pod["schedulingGates"].is_array(), folder == "capacity-buffer");
        assert_ne!(pod["schedulingGates"][0]["name"], crate::kubernetes::GATE, "hirl opens it");
    }
    let buffers = scheduler("capacity-buffer");
    let buffer = &of_kind(&buffers, "CapacityBuffer")[0];
    assert_eq!(buffer["spec"]["scalableRef"]["name"], "hirl-warm");
    assert_eq!(buffer["spec"]["percentage"], 100);
    assert_eq!(buffer["metadata"]["namespace"], "hirl-system");
    // Below -10 the Cluster Autoscaler adds no node for a pod.
    let balloons = scheduler("balloon");
    assert_eq!(of_kind(&balloons, "PriorityClass")[0]["value"], -10);
}
