# Modalens: `make run` and `make test` are all that is needed; `make help` lists the rest.
# The scripts in .ci/ find what is missing (system packages, Rust) and say so when they cannot get it.

CARGO := .ci/cargo
# The folder that cargo builds into, also where a user has moved it.
TARGET = $${CARGO_TARGET_DIR:-target}

.DEFAULT_GOAL := help
.PHONY: help run test soak lint bench check-exports

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-20s %s\n", $$1, $$2 }'

run: ## build and run on a sample
	@.ci/packages.sh build run
	@$(CARGO) build --release --locked
	@.ci/sample.sh "$(TARGET)/release/modalens"

test: ## every test, and a type-check of the cuda feature (no network, display, GPU or sound card needed)
	@.ci/packages.sh build test
	@.ci/with-test-env $(CARGO) test --locked
	@.ci/check-cuda

soak: ## what `make test` tries a little of, at length: 5,000 damaged files (MODALENS_SOAK=N), a 3B model (12 GB of disk)
	@.ci/packages.sh build test
	@MODALENS_SOAK=$${MODALENS_SOAK:-5000} .ci/with-test-env $(CARGO) test --locked --test suite -- --nocapture --exact \
		mutation::damaged_files_neither_crash_nor_hang_nor_eat_memory mutation::real_clips_are_read_whole
	@tests/bench/full_size.sh

lint: ## formatting, clippy, documentation, licences
	@.ci/packages.sh build
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --no-deps --locked
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --log-level error check bans licenses sources; \
	else echo 'cargo-deny is not here, so licences and sources were not checked: cargo install --locked cargo-deny'; fi

check-exports: ## what is written (video, attention, report, pictures, JSON), judged by outside tools (needs Python 3)
	@.ci/packages.sh build test
	@tests/exports/check.sh

bench: ## speed beside ffmpeg, and beside the reference implementation (needs Python 3 and 15 GB; slow)
	@.ci/packages.sh build test
	@media=0; tests/bench/media.sh || media=$$?; tests/bench/bench.sh && exit $$media
