# The front door. Anything longer than a few lines is a verb of `hirl` or of the testbed.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
TESTBED := $(CARGO) run --quiet --locked --example testbed --
# One test at a time: each may start a control plane of its own.
END_TO_END := $(CARGO) test --locked --test end_to_end -- --test-threads=1
# Property tests draw the same cases every time: a run that fails here fails for everybody. Another
# seed looks elsewhere, and PROPTEST_CASES=20000 looks harder.
export PROPTEST_RNG_SEED ?= 1
# How long `make demo-live` runs, in seconds; 0 until Ctrl-C.
FOR ?= 0
# A CSV (time, value) whose shape drives the traffic of `make demo-live`.
TRACE ?=

.PHONY: help demo demo-live run test check e2e e2e-scale bench certs testbed prerequisites deny

help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: prerequisites ## A simulated cluster under hirl beside plain HPAs, with HTTPS (ARGS="--speed 10")
	$(CARGO) run --locked --release --bin hirl -- demo $(ARGS)

demo-live: testbed ## Stock HPAs follow hirl on a real control plane, live (FOR=60, TRACE=file.csv)
	@$(CARGO) build --quiet --locked --bin hirl
	@$(TESTBED) demo --for $(FOR) $(if $(TRACE),--trace $(TRACE))

run: ## Serve against the cluster of your kubeconfig (ARGS="--config FILE")
	$(CARGO) run --locked --release --bin hirl -- serve $(ARGS)

test: testbed ## All tests, the real control plane included
	$(CARGO) test --locked --lib --bins --examples --test architecture --test integration
	$(END_TO_END)

check: ## Format, lints, docs and architecture: before each commit
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	$(CARGO) test --locked --quiet --test architecture

e2e: testbed ## The tests on the real control plane alone, with their figures
	$(END_TO_END) --nocapture

e2e-scale: testbed ## The same at full size and at real time: 1,550 HPAs, the long waits (an hour)
	$(CARGO) build --locked --release --bin hirl
	HIRL_SCALE=1 $(CARGO) test --locked --release --test end_to_end -- --test-threads=1 --nocapture

bench: testbed ## Print figures: reads per CPU-second beside the Go adapter, decision time, memory
	$(CARGO) build --locked --release --bin hirl
	$(CARGO) run --locked --release --example bench

certs: ## A CA and a serving pair in certs/ (never committed)
	$(CARGO) run --quiet --locked --bin hirl -- certs

testbed: prerequisites ## Build the control plane, KWOK and Prometheus from pinned sources, once
	@tests/testbed/parts/build.sh >/dev/null

prerequisites:
	@command -v $(CARGO) >/dev/null || { echo "Rust is needed: install rustup, it reads rust-toolchain.toml"; exit 1; }

deny: ## Licences, advisories and duplicates of the dependencies (needs cargo-deny)
	cargo deny check
