//! Where scenarios come from, and policies that are files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};

use crate::policy::hirl::Model;
use crate::simulation::Seed;
use crate::simulation::arms::{self, Arm, Part};
use crate::simulation::scenario::{Scenario, builtin, families, read};

/// One scenario before its seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    BuiltIn(String),
    Family(u8),
    File(PathBuf),
}

impl Source {
    /// What it was called on the command line.
    pub(super) fn name(&self) -> String {
        match self {
            Self::BuiltIn(name) => name.clone(),
            Self::Family(level) => format!("level-{level}"),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The scenario with what this seed draws.
    pub(super) fn scenario(&self, seed: Seed) -> anyhow::Result<Scenario> {
        Ok(match self {
            Self::BuiltIn(name) => {
                builtin::scenario(name, seed).with_context(|| unknown(name))??
            }
            Self::Family(level) => families::generate(*level, seed)?,
            Self::File(path) => {
                let name = self.name();
                let text = std::fs::read_to_string(path);
                read(&text.with_context(|| format!("cannot read {name}"))?, &name, seed)?
            }
        })
    }
}

/// The networks of a file of weights.
pub(super) fn model(path: &Path) -> anyhow::Result<Model> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Model::from_bytes(&bytes).with_context(|| path.display().to_string())
}

/// A policy by its name; the learned ones with the weights of a file, if one is given.
pub(super) fn policy(name: &str, weights: Option<&Arc<Model>>) -> anyhow::Result<Arm> {
    match (Part::of(name), weights) {
        (Some(part), Some(weights)) => {
            arms::learned(Arc::clone(weights), part).map_err(anyhow::Error::msg)
        }
        _ => arms::arm(name).with_context(|| {
            format!("there is no policy {name:?}; there are {}", arms::NAMES.join(", "))
        }),
    }
}

pub(super) fn unknown(name: &str) -> String {
    let known: Vec<&str> = builtin::names().collect();
    format!(
        "{name:?} is no file or folder and no scenario; built in are {}, and level-1 to level-8",
        known.join(", ")
    )
}

/// The scenarios that these names mean, each once.
pub(super) fn all(names: &[String]) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for name in names {
        for source in one(name.trim())? {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
    }
    Ok(sources)
}

/// The one scenario that this name means, with what this seed draws.
pub(super) fn single(name: &str, seed: Seed) -> anyhow::Result<Scenario> {
    match one(name)?.as_slice() {
        [source] => source.scenario(seed),
        sources => bail!("{name} holds {} scenarios: name one of them", sources.len()),
    }
}

fn one(name: &str) -> anyhow::Result<Vec<Source>> {
    if builtin::text(name).is_some() {
        return Ok(vec![Source::BuiltIn(name.to_owned())]);
    }
    let level = name.strip_prefix("level-").and_then(|level| level.parse().ok());
    if let Some(level) = level.filter(|level| families::LEVELS.contains(level)) {
        return Ok(vec![Source::Family(level)]);
    }
    let path = Path::new(name);
    if path.is_dir() {
        return folder(path);
    }
    if path.is_file() {
        return Ok(vec![Source::File(path.to_owned())]);
    }
    bail!(unknown(name))
}

fn folder(path: &Path) -> anyhow::Result<Vec<Source>> {
    let unread = || format!("cannot read {}", path.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).with_context(unread)? {
        let file = entry.with_context(unread)?.path();
        if file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            files.push(file);
        }
    }
    if files.is_empty() {
        bail!("{} holds no scenario: there is no .yaml or .yml file in it", path.display());
    }
    files.sort();
    Ok(files.into_iter().map(Source::File).collect())
}
