# The same commands for people and CI. `make help` lists them.

# One build cache for every checkout: RocksDB and librdkafka take minutes to compile, once.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/evenkeel/target

SECONDS_OF_DEMO ?= 60
SEEDS ?= 20000
SECONDS_OF_CHAOS ?= 420
SECONDS_OF_FUZZ ?= 60
MUTATIONS ?= all

.PHONY: help demo demo-real test test-real chaos simulate mutate fuzz bench lint docs packages stack

help: ## list the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

packages:
	@command -v cargo >/dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 1; }
	@tests/install.sh build

stack: packages
	@tests/install.sh stack

demo: packages ## build Evenkeel and watch it find injected faults, about a minute
	@echo "Building. The first time takes 10 to 20 minutes: RocksDB and librdkafka are compiled from source."
	cargo build
	$(CARGO_TARGET_DIR)/debug/evenkeel demo --seconds $(SECONDS_OF_DEMO)

demo-real: stack ## real PostgreSQL, MariaDB, Kafka and Debezium: rows that Debezium loses in silence are found
	@echo "Building. The first time takes 10 to 20 minutes: RocksDB and librdkafka are compiled from source."
	cargo test --test it -- --ignored --nocapture real_rows_that_a_connector_loses_are_found

lint: packages ## format and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings

test: lint ## everything: lint, unit tests, stories, simulation, embedded broker, real stack
	cargo test -- --test-threads=4 # more than cores: most tests wait for graces and promises to pass
	$(MAKE) test-real

test-real: stack ## the real stack: PostgreSQL, MariaDB, Kafka, Debezium
	cargo build --example fixer
	cargo test --test it -- --ignored --nocapture --test-threads=1 real_

chaos: stack ## the real stack while it fails in every way, 10 minutes; then the restart figure
	EVENKEEL_CHAOS_SECONDS=$(SECONDS_OF_CHAOS) cargo test --test it -- --ignored --nocapture --test-threads=1 full_chaos

simulate: packages ## the simulator against its oracle: make simulate SEEDS=100000
	EVENKEEL_SEEDS=$(SEEDS) cargo test --test it -- --nocapture sim_

mutate: packages ## break the core line by line and show that the simulator notices (MUTATIONS=new: what was not tried yet)
	@tests/install.sh mutate
	tests/mutate.sh $(MUTATIONS)

fuzz: packages ## libFuzzer on everything that reads what others wrote, SECONDS_OF_FUZZ each (nightly Rust)
	tests/fuzz/run.sh $(SECONDS_OF_FUZZ)

bench: stack ## end-to-end throughput beside the bare floor
	cargo bench --bench catch_up

docs: packages ## write the generated parts of the docs anew
	UPDATE_DOCS=1 cargo test --test it tidy_generated
