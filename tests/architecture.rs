//! The invariants of ARCHITECTURE.md that a text search can prove.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own sources has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom, in the order of the data path: modules only look down.
const MAY_USE: &[(&str, &[&str])] = &[
    ("cluster", &[]),
    ("seed", &[]),
    ("hash", &[]),
    ("nn", &["seed"]),
    ("forecast", &["cluster", "seed", "nn"]),
    ("observation", &["cluster"]),
    ("policy", &["cluster", "hash", "seed", "nn", "observation"]),
    ("safety", &["cluster", "observation", "policy"]),
    ("placement", &["cluster", "safety"]),
    ("pilot", &["cluster", "observation", "policy", "safety"]),
    (
        "simulation",
        &["cluster", "seed", "forecast", "observation", "policy", "safety", "placement", "pilot"],
    ),
    (
        "evaluation",
        &["cluster", "observation", "policy", "safety", "placement", "pilot", "simulation"],
    ),
    (
        "learning",
        &[
            "cluster",
            "seed",
            "nn",
            "observation",
            "policy",
            "safety",
            "pilot",
            "simulation",
            "reward",
        ],
    ),
    ("reward", &["cluster", "observation", "policy", "safety", "placement", "pilot", "simulation"]),
    ("clock", &["cluster"]),
    ("files", &[]),
    ("supervision", &[]),
    ("tls", &[]),
    ("instruments", &[]),
    ("telemetry", &["cluster", "clock", "tls", "instruments"]),
    ("history", &["cluster", "hash", "forecast", "files", "telemetry"]),
    (
        "kubernetes",
        &["cluster", "clock", "safety", "placement", "supervision", "tls", "instruments"],
    ),
    (
        "control",
        &[
            "cluster",
            "seed",
            "forecast",
            "clock",
            "files",
            "policy",
            "safety",
            "pilot",
            "supervision",
            "tls",
            "instruments",
            "telemetry",
            "kubernetes",
        ],
    ),
    ("https", &["tls", "instruments"]),
    (
        "http",
        &[
            "cluster",
            "clock",
            "safety",
            "placement",
            "tls",
            "instruments",
            "kubernetes",
            "control",
            "https",
        ],
    ),
    (
        "extender",
        &[
            "cluster",
            "clock",
            "safety",
            "placement",
            "supervision",
            "tls",
            "instruments",
            "kubernetes",
            "control",
            "https",
        ],
    ),
    (
        "config",
        &[
            "observation",
            "policy",
            "safety",
            "placement",
            "telemetry",
            "kubernetes",
            "control",
            "http",
            "extender",
        ],
    ),
    (
        "cli",
        &[
            "cluster",
            "seed",
            "hash",
            "nn",
            "forecast",
            "history",
            "clock",
            "files",
            "observation",
            "policy",
            "safety",
            "pilot",
            "supervision",
            "tls",
            "instruments",
            "telemetry",
            "kubernetes",
            "placement",
            "simulation",
            "evaluation",
            "learning",
            "control",
            "https",
            "http",
            "extender",
            "config",
        ],
    ),
];

/// Modules that do no I/O, read no clock and draw no random number of their own.
const PURE: &[&str] = &[
    "cluster",
    "seed",
    "hash",
    "nn",
    "forecast",
    "observation",
    "policy",
    "safety",
    "placement",
    "pilot",
    "simulation",
    "evaluation",
    "learning",
    "reward",
];

/// What a pure module must not name.
const IMPURE: &[&str] = &[
    "tokio::",
    "kube::",
    "k8s_openapi::",
    "axum::",
    "hyper::",
    "hyper_util::",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "SystemTime",
    "Instant",
    "::now()",
    "rand::",
    "Mutex",
    "RwLock",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file under `path`, or `path` itself.
fn files(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        return vec![path.to_owned()];
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries.flat_map(|entry| files(&entry.unwrap().path())).collect();
    found.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    found.sort();
    found
}

/// The files of one module with their code, comments left out.
fn sources(module: &str) -> Vec<(String, String)> {
    let mut found = files(&root().join(format!("{module}.rs")));
    found.extend(files(&root().join(module)));
    assert!(!found.is_empty(), "module {module} has no files");
    found
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            (file.display().to_string(), code.collect::<Vec<_>>().join("\n"))
        })
        .collect()
}

/// The names that follow `prefix` in `text`.
fn names_after(text: &str, prefix: &str) -> BTreeSet<String> {
    text.match_indices(prefix)
        .map(|(at, _)| {
            let rest = &text[at + prefix.len()..];
            rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
        })
        .collect()
}

#[test]
fn modules_only_look_down() {
    let mut broken = Vec::new();
    for (module, allowed) in MAY_USE {
        for (file, text) in sources(module) {
            for other in names_after(&text, "crate::") {
                if other.is_empty() {
                    broken.push(format!("{file} groups modules in one use: name one per line"));
                } else if other != *module && !allowed.contains(&other.as_str()) {
                    broken.push(format!("{file} uses crate::{other}"));
                }
            }
            if text.contains("super::super") {
                broken.push(format!("{file} reaches above its parent"));
            }
        }
    }
    assert!(broken.is_empty(), "modules look up:\n{}", broken.join("\n"));
}

#[test]
fn the_core_does_no_io_and_reads_no_clock() {
    let mut broken = Vec::new();
    for module in PURE {
        for (file, text) in sources(module) {
            let named = IMPURE.iter().filter(|name| text.contains(**name));
            broken.extend(named.map(|name| format!("{file} names {name}")));
        }
    }
    assert!(broken.is_empty(), "the core is not pure:\n{}", broken.join("\n"));
}

#[test]
fn every_module_of_the_crate_stands_in_the_table() {
    let lib = fs::read_to_string(root().join("lib.rs")).unwrap();
    let declared = names_after(&lib, "\npub mod ");
    let listed: BTreeSet<String> = MAY_USE.iter().map(|(module, _)| (*module).to_owned()).collect();
    assert_eq!(declared, listed, "lib.rs and the table of this test differ");
}

#[test]
fn every_source_file_is_in_the_module_tree() {
    let mut orphans = Vec::new();
    for base in ["src", "tests"] {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(base);
        for file in files(&base) {
            let stem = file.file_stem().unwrap().to_str().unwrap();
            let folder = file.parent().unwrap();
            if matches!(stem, "main" | "lib") || folder == base && stem == "architecture" {
                continue;
            }
            // `foo/mod.rs` is declared beside `foo/`, `foo/bar.rs` by `foo/mod.rs` or `foo.rs`.
            let (name, declaring) = if stem == "mod" {
                (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap())
            } else {
                (stem, folder)
            };
            let beside = folder.with_extension("rs");
            let parents = ["mod.rs", "main.rs", "lib.rs"].map(|parent| declaring.join(parent));
            // The testbed is shared: its users name it by path.
            let shared = base.join("end_to_end/main.rs");
            let declared = parents.iter().chain([&beside, &shared]).any(|parent| {
                fs::read_to_string(parent)
                    .is_ok_and(|text| names_after(&text, "mod ").contains(name))
            });
            if !declared {
                orphans.push(file.display().to_string());
            }
        }
    }
    assert!(orphans.is_empty(), "no `mod` line names:\n{}", orphans.join("\n"));
}

#[test]
fn only_the_shield_makes_decisions() {
    let mut makers = Vec::new();
    for (module, _) in MAY_USE.iter().filter(|(module, _)| *module != "safety") {
        for (file, text) in sources(module) {
            let code = text.split("#[cfg(test)]").next().unwrap_or_default();
            // `Decision { ..` after anything but a keyword that declares or matches.
            let made = ["= Decision {", "(Decision {", "(AppDecision {", "= AppDecision {"];
            let test = file.ends_with("tests.rs") || file.contains("/tests/");
            if !test && made.iter().any(|made| code.contains(made)) {
                makers.push(file);
            }
        }
    }
    assert!(makers.is_empty(), "decisions are made outside safety/: {makers:?}");
}

#[test]
fn there_is_exactly_one_crypto_provider() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).unwrap();
    assert!(lock.contains("name = \"ring\""));
    for other in ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys", "native-tls"] {
        assert!(!lock.contains(&format!("name = \"{other}\"")), "{other} is in Cargo.lock");
    }
}

#[test]
fn no_stock_layer_can_drop_a_gradient() {
    // candle-nn's layer_norm, rms_norm and softmax_last_dim have no gradient and do not say so: what stands
    // below them never learns. Its starts cannot be seeded, and its optimiser's state cannot be saved.
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["Cargo.toml", "Cargo.lock"] {
        let text = fs::read_to_string(base.join(file)).unwrap();
        assert!(text.contains("candle-core"), "{file} has no candle-core: this test looks in vain");
        assert!(
            !text.contains("candle-nn"),
            "candle-nn is in {file}; networks are built on src/nn"
        );
    }
}
