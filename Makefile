# Shutterbug's tasks. `make demo` and `make test` need Rust, Python 3.11 with venv and a C++ compiler;
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

$(VENV)/.parity: requirements/parity.txt requirements/vocabularies.txt $(VENV)/.torch
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r $<
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements/vocabularies.txt
	touch $@

$(VENV)/.conformance: requirements/conformance.txt $(VENV)/.torch
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
	@if cargo deny fetch db >/dev/null 2>&1; then cargo deny check advisories; \
	else echo "The advisory database can't be reached: advisories were NOT checked."; fi

# The model against transformers and diffusers, on freshly drawn tiny weights; then what it wrote
# against peft and diffusers.
PARITY_PARTS := bridge llama prompt stable_diffusion systems training
PARITY := $(CURDIR)/target/parity
PARITY_SEED ?= 1
parity: $(VENV)/.parity
	for part in $(PARITY_PARTS); do \
		TQDM_DISABLE=1 python tests/parity/$$part.py --out $(PARITY)/$$part --seed $(PARITY_SEED) || exit 1; done
	SHUTTERBUG_PARITY=$(PARITY) cargo test $(PARITY_PARTS:%=--test parity_%)
	TQDM_DISABLE=1 python tests/parity/systems_check.py --out $(PARITY)/systems

# One dialogue with a real photo through a tiny model of random weights: its words and its picture
# are noise, but every part of the real one has run.
DEMO := out/demo
demo: build
	rm -rf $(DEMO)
	target/release/shutterbug models convert --out $(DEMO)/model \
		--llama tests/fixtures/tiny/llama --diffusion tests/fixtures/tiny/diffusion
	target/release/shutterbug doctor --model $(DEMO)/model
	target/release/shutterbug generate --model $(DEMO)/model --out $(DEMO) --seed 7 \
		--share-bias 4 --max-new-tokens 32 assets/demo/dialogue.jsonl

# Every REST request of the tests that talk to the fake Discord, and every answer it gives them,
# against Discord's own OpenAPI description; and PhotoChat's dialogues through prompt assembly.
# Both lie outside the repository, in SHARED.
SHARED ?= ../shared
OPENAPI := $(SHARED)/discord/openapi.json
CONFORMANCE := $(CURDIR)/target/conformance
CONFORMANCE_TESTS := discord fake_discord_behaves
conformance: $(VENV)/.conformance
	@test -f $(OPENAPI) && test -d $(SHARED)/data/photochat || { \
		echo "$(SHARED) lacks discord/openapi.json or data/photochat: name the folder that holds" \
			"both with SHARED=…" >&2; exit 1; }
	python tests/conformance/test_openapi.py --openapi $(OPENAPI)
	rm -rf $(CONFORMANCE) && mkdir -p $(CONFORMANCE)
	SHUTTERBUG_RECORD_REST=$(CONFORMANCE)/rest.jsonl \
		cargo test $(CONFORMANCE_TESTS:%=--test %)
	python tests/conformance/openapi.py --openapi $(OPENAPI) $(CONFORMANCE)/rest.jsonl
	SHUTTERBUG_PHOTOCHAT=$(SHARED)/data/photochat cargo test --test photochat

# Figures of this machine, side by side with transformers and diffusers; BENCHMARKS.md keeps some.
bench: $(VENV)/.parity build
	python benches/side_by_side.py

clean:
	cargo clean
