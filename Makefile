# Shutterbug's tasks. `make demo` and `make test` need Rust, Python 3 with venv and a C++ compiler;
# everything else is fetched from the package registries.

PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export LIBTORCH_USE_PYTORCH := 1
# torch-sys asks `python` when this is set, which is then the one of .venv.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: build test lint parity conformance bench demo clean
.DEFAULT_GOAL := build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.torch: requirements/torch.txt | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/.parity: requirements/parity.txt $(VENV)/.torch
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

$(VENV)/.lint: requirements/lint.txt | $(VENV)/bin/python
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	touch $@

# The release binary at target/release/shutterbug.
build: $(VENV)/.torch
	cargo build --release

test: $(VENV)/.torch
	cargo test --workspace

lint: $(VENV)/.torch $(VENV)/.lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps
	cargo deny check licenses bans sources

clean:
	cargo clean
