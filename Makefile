# `make help` lists the targets. Everything that they need beyond Rust, Python 3 and make is
# installed by them, into target/ and .venv/.

CARGO ?= cargo
PYTHON ?= python3
VENV := .venv
BINARY := target/release/event-recovery
DEMO := target/demo

.DEFAULT_GOAL := help
.PHONY: help demo test check fmt lint bench memory

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

test: $(VENV)/installed ## run all tests, after installing what they need
	$(CARGO) test --workspace --locked --quiet

$(VENV)/installed: tests/requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --requirement tests/requirements.txt
	touch $@

check: lint ## lint, and check dependencies and licenses: what CI runs besides the tests
	scripts/check-dependencies.sh
	scripts/check-docs.sh
	scripts/cargo-deny.sh

fmt: ## format the code
	$(CARGO) fmt --all

lint: ## check format, clippy and the documentation's links
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked --quiet

bench: ## measure the splitter and the writers against serde_json in the same run
	$(CARGO) bench --locked --package event-recovery-format --bench recover

memory: ## measure the resident memory of recovering one object of 1 GB
	$(CARGO) build --release --locked --package event-recovery
	scripts/measure-memory.sh $(BINARY)
