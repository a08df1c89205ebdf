#![doc = include_str!("../ARCHITECTURE.md")]

pub mod cluster;
pub mod hash;
pub mod nn;
pub mod seed;

pub mod forecast;

pub mod observation;
pub mod placement;
pub mod policy;
pub mod safety;

pub mod pilot;

pub mod simulation;

pub mod evaluation;
pub mod learning;
pub mod reward;

pub mod clock;
pub mod files;
pub mod supervision;
pub mod tls;

pub mod instruments;

pub mod history;
pub mod kubernetes;
pub mod telemetry;

pub mod control;
pub mod extender;
pub mod http;
pub mod https;

pub mod config;

pub mod cli;
