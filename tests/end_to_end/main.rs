//! Everything that is only proved on the real parts. `make test` runs it; see `tests/testbed/`.

#[path = "../testbed/mod.rs"]
mod testbed;

#[path = "../hpa_table/mod.rs"]
mod hpa_table;

mod alerts;
mod contract;
mod domains;
mod failover;
mod fidelity;
mod fixed_footprint;
mod following;
mod forecasts;
mod history_import;
mod hpa_answers;
mod install;
mod learned;
mod placement;
mod placing_manifests;
mod post_mortem;
mod recovery;
mod replay;
mod rotation;
mod scale;
mod scenarios;
mod stage;
mod testbed_works;
mod training;
