# `make help` lists the targets. They install everything that they need beyond Rust, Python 3 and make
# into target/ and .venv/.

CARGO ?= cargo
PYTHON ?= python3
VENV := .venv
BROWSER_VENV := target/browser-venv
BINARY := target/release/event-recovery
DEMO := target/demo
RACES ?= 1000
KILLS ?= 200
IDS ?= 10000000
DUCKDB ?= 1
MINIMUM_RUST = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt lint bench bench-compare bench-gate test-instructions test-neon report-page mutants races delivery-kills memory build validate deploy invoke-local e2e acceptance measure-functions fuzz advisories minimum-rust

# SAM finds cargo-lambda, and cargo-lambda finds zig, on the path.
TOOLS := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" SAM_CLI_TELEMETRY=0
ARCHITECTURE ?= x86_64

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  make \1\t/' | expand -t 26

demo: ## build, generate a sample backup, recover it to Parquet and show the result
	$(CARGO) build --release --locked --package event-recovery
	rm -rf $(DEMO)
	$(BINARY) sample $(DEMO)/backup --hours 6
	$(BINARY) run --org-id tn-34778262-f4f0-464d-b4c6-a14e2dc6f4be \
		--source $(DEMO)/backup --destination $(DEMO)/recovered --execution-id demo \
		--start 2024-04-01T00:00:00Z --end 2024-04-01T06:00:00Z
	@echo
	@find $(DEMO)/recovered/execution_id=demo -name '*.parquet' | sort | head -n 3
	@echo "...: `find $(DEMO)/recovered/execution_id=demo -name '*.parquet' | wc -l` Parquet files in total"

test: $(VENV)/installed ## install what the tests need, and run all except those of the whole stack
	$(CARGO) test --workspace --locked --quiet

test-instructions: $(VENV)/installed ## run the tests that use the splitter with each kind of vector instructions
	scripts/test-instructions.sh

test-neon: ## run the splitter's tests with NEON, in an emulator where the processor has none
	scripts/test-neon.sh

report-page: $(BROWSER_VENV)/installed ## show reports in a headless browser, and check their pages; screenshots are in target/report-pages
	rm -rf target/report-pages && mkdir -p target/report-pages
	$(CARGO) run --quiet --locked --package event-recovery-pipeline --example report_pages -- target/report-pages
	$(BROWSER_VENV)/bin/python tests/report_page.py target/report-pages

$(BROWSER_VENV)/installed: tests/requirements-browser.txt
	$(PYTHON) -m venv $(BROWSER_VENV)
	$(BROWSER_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/requirements-browser.txt
	touch $@

e2e: $(VENV)/installed ## deploy the stack into an emulator and test it end to end, or only the named SCENARIOS
	$(TOOLS) $(VENV)/bin/python tests/e2e/e2e.py $(SCENARIOS)

acceptance: $(VENV)/installed ## recover a backup and check everything around it, in an emulator or, with ACCOUNT=aws, on AWS
	$(TOOLS) $(VENV)/bin/python tests/e2e/acceptance.py $(if $(filter aws,$(ACCOUNT)),--aws) $(if $(REMOVE),--remove $(REMOVE))

$(VENV)/installed: tests/requirements.txt infra/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--requirement tests/requirements.txt --requirement infra/requirements.txt
	touch $@

build: $(VENV)/installed ## build the functions with SAM, into .aws-sam/ (ARCHITECTURE=arm64: for arm64)
	$(TOOLS) sam build --parameter-overrides Architecture=$(ARCHITECTURE)
	$(VENV)/bin/python scripts/set-architecture.py $(ARCHITECTURE)

validate: $(VENV)/installed ## check the template with SAM, cfn-lint and checkov, and how it builds the functions
	$(TOOLS) sam validate --lint --region us-east-1
	$(VENV)/bin/cfn-lint template.yaml
	$(VENV)/bin/checkov --skip-download --quiet --compact --config-file .checkov.yaml --file template.yaml
	$(VENV)/bin/python tests/check_template.py
	$(TOOLS) scripts/check-unwinding.sh

deploy: build ## deploy the stack to AWS, as built for ARCHITECTURE; asks for each parameter
	$(TOOLS) sam deploy --guided

invoke-local: build ## run each function with each payload of infra/events in a container (needs Docker)
	$(TOOLS) scripts/invoke-local.sh

check: lint ## lint, and check modules, dependencies, documents and licenses
	$(PYTHON) scripts/check-modules.py
	scripts/check-dependencies.sh
	scripts/check-docs.sh
	scripts/cargo-machete.sh
	scripts/cargo-deny.sh

fmt: ## format the code
	$(CARGO) fmt --all

advisories: ## check the dependencies for known vulnerabilities (downloads the advisory database from GitHub)
	scripts/cargo-deny.sh advisories

minimum-rust: ## check that the workspace compiles with the `rust-version` of Cargo.toml
	rustup toolchain install --profile minimal $(MINIMUM_RUST)
	rustup run $(MINIMUM_RUST) cargo check --workspace --all-targets --locked

lint: ## check formatting, clippy lints and links in doc comments
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

bench: $(VENV)/bench-installed$(BENCH_SPARK) ## compare speed and results with other tools (BENCH_SPARK=1: also with Spark)
	$(CARGO) build --release --locked --package event-recovery
	$(CARGO) build --release --locked --package event-recovery-lambda
	$(CARGO) bench --no-run --locked --quiet --package event-recovery-pipeline --bench plan_many
	$(VENV)/bin/python bench/compare.py --binary $(BINARY) --functions target/release \
		--micro "$(CARGO) bench --locked --quiet --package event-recovery-format --bench recover" \
		--planner "$(CARGO) bench --locked --quiet --package event-recovery-pipeline --bench plan_many -- 10000000" \
		--json target/bench/result.json --markdown docs/performance.md --chart docs/performance.svg

$(VENV)/bench-installed$(BENCH_SPARK): $(VENV)/installed bench/requirements.txt bench/requirements-spark.txt
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement bench/requirements.txt \
		$(if $(BENCH_SPARK),--requirement bench/requirements-spark.txt)
	touch $@

bench-compare: $(VENV)/bench-installed ## compare a run with 10,000,000 received ids, or IDS, and with DuckDB (DUCKDB=: without)
	$(CARGO) build --release --locked --package event-recovery
	$(VENV)/bin/python bench/many_ids.py --binary $(BINARY) --ids $(IDS) $(if $(DUCKDB),--duckdb)

bench-gate: ## count instructions and compare the counts with the recorded ones
	$(PYTHON) bench/gate.py

measure-functions: $(VENV)/installed ## measure size, cold start and memory of the built functions
	$(VENV)/bin/python scripts/measure-functions.py

fuzz: ## fuzz the splitter for 20 s per target, or FUZZ_SECONDS
	scripts/fuzz.sh $(FUZZ_SECONDS)

mutants: ## split every damaged event of the test that otherwise takes a sample of them
	MUTANTS_STRIDE=1 $(CARGO) test --locked --package event-recovery-splitter --test mutants -- --nocapture

races: ## race processes for one destination 1,000 times, or RACES times
	RACES=$(RACES) $(CARGO) test --workspace --locked --test races

delivery-kills: ## kill deliveries 200 times, or KILLS times
	DELIVERY_KILLS=$(KILLS) $(CARGO) test --workspace --locked --test deliver killed -- --nocapture

memory: ## measure the resident memory while recovering one object of 1 GB
	$(CARGO) build --release --locked --package event-recovery
	scripts/measure-memory.sh $(BINARY)
