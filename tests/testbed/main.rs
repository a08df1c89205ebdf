//! `cargo run --example testbed`: the real control plane, and the demo on it.

#[path = "mod.rs"]
mod testbed;

fn main() -> anyhow::Result<()> {
    testbed::run(async {
        testbed::Testbed::start(testbed::Options::default()).await?;
        Ok(())
    })
}
