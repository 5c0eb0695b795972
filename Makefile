# `make help` lists the targets. Everything that they need beyond Rust, Python 3 and make is
# installed by them, into target/ and .venv/.

CARGO ?= cargo
PYTHON ?= python3
VENV := .venv
BINARY := target/release/event-recovery
DEMO := target/demo
RACES ?= 1000
MINIMUM_RUST = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt lint bench bench-gate test-instructions mutants races memory build validate deploy invoke-local e2e measure-functions fuzz advisories minimum-rust

# SAM finds cargo-lambda, and cargo-lambda finds zig, on the path.
TOOLS := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" SAM_CLI_TELEMETRY=0
ARCHITECTURE ?= x86_64

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 18

demo: ## build, make a sample backup, recover it to Parquet and show the result
	$(CARGO) build --release --locked --package event-recovery
	rm -rf $(DEMO)
	$(BINARY) sample $(DEMO)/backup --hours 6
	$(BINARY) run --org-id tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be \
		--source $(DEMO)/backup --destination $(DEMO)/recovered --execution-id demo \
		--start 2024-04-01T00:00:00Z --end 2024-04-01T06:00:00Z
	@echo
	@find $(DEMO)/recovered/execution_id=demo -name '*.parquet' | sort | head -n 3
	@echo "...: in all `find $(DEMO)/recovered/execution_id=demo -name '*.parquet' | wc -l` Parquet files"

test: $(VENV)/installed ## run all tests but those of the whole stack, after installing what they need
	$(CARGO) test --workspace --locked --quiet

test-instructions: $(VENV)/installed ## run the tests around the splitter with each kind of instructions
	scripts/test-instructions.sh

e2e: $(VENV)/installed ## build and deploy the stack into an emulator, and test it from end to end
	$(TOOLS) $(VENV)/bin/python tests/e2e/e2e.py $(SCENARIOS)

$(VENV)/installed: tests/requirements.txt infra/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement tests/requirements.txt --requirement infra/requirements.txt
	touch $@

build: $(VENV)/installed ## build the functions with SAM, into .aws-sam/
	$(TOOLS) sam build --parameter-overrides Architecture=$(ARCHITECTURE)

validate: $(VENV)/installed ## check the template with SAM, cfn-lint and checkov
	$(TOOLS) sam validate --lint --region us-east-1
	$(VENV)/bin/cfn-lint template.yaml
	$(VENV)/bin/checkov --skip-download --quiet --compact --config-file .checkov.yaml --file template.yaml

deploy: build ## deploy the stack to AWS, asking for what is not in samconfig.toml
	$(TOOLS) sam deploy --guided

invoke-local: build ## run each function with each payload of infra/events in a container (needs Docker)
	$(TOOLS) scripts/invoke-local.sh

check: lint ## lint, and check dependencies and licenses: what CI runs besides the tests
	$(PYTHON) scripts/check-modules.py
	scripts/check-dependencies.sh
	scripts/check-docs.sh
	scripts/cargo-machete.sh
	scripts/cargo-deny.sh

fmt: ## format the code
	$(CARGO) fmt --all

advisories: ## look for known vulnerabilities in the dependencies (needs the advisory database on GitHub)
	scripts/cargo-deny.sh advisories

minimum-rust: ## check that the workspace compiles with the `rust-version` of Cargo.toml
	rustup toolchain install --profile minimal $(MINIMUM_RUST)
	rustup run $(MINIMUM_RUST) cargo check --workspace --all-targets --locked

lint: ## check format, clippy and the documentation's links
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

bench: $(VENV)/bench-installed$(BENCH_SPARK) ## compare with other tools that could do the work (BENCH_SPARK=1: with Spark)
	$(CARGO) build --release --locked --package event-recovery
	$(VENV)/bin/python bench/compare.py --binary $(BINARY) \
		--micro "$(CARGO) bench --locked --quiet --package event-recovery-format --bench recover" \
		--json target/bench/result.json --markdown docs/performance.md --chart docs/performance.svg

$(VENV)/bench-installed$(BENCH_SPARK): $(VENV)/installed bench/requirements.txt bench/requirements-spark.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt \
		$(if $(BENCH_SPARK),--requirement bench/requirements-spark.txt)
	touch $@

bench-gate: ## count instructions and compare them with the recorded ones
	$(PYTHON) bench/gate.py

measure-functions: $(VENV)/installed ## measure size, cold start and memory of the built functions
	$(VENV)/bin/python scripts/measure-functions.py

fuzz: ## fuzz the splitter for 20 s a target, or FUZZ_SECONDS
	scripts/fuzz.sh $(FUZZ_SECONDS)

mutants: ## split all damaged events of the test that looks at a sample of them
	MUTANTS_STRIDE=1 $(CARGO) test --locked --package event-recovery-splitter --test mutants -- --nocapture

races: ## run 1,000 races of processes for one destination, or RACES
	RACES=$(RACES) $(CARGO) test --workspace --locked --test races

memory: ## measure the resident memory of recovering one object of 1 GB
	$(CARGO) build --release --locked --package event-recovery
	scripts/measure-memory.sh $(BINARY)
