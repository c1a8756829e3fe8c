# Two commands do everything: `make demo` and `make test`. The rest are habits.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO_ARGS ?=
TEST_ARGS ?=
SEED ?= 1
OUT ?= drives/seed-$(SEED)
DATA ?= ../shared/data
# The demo needs the runtime and central; tests need everything but the training tools.
DEMO_EXTRAS := central
TEST_EXTRAS := dev

.PHONY: help demo test test-slow lint types format system fixtures drive training evaluate clean

help: ## show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 20

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "alprd needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(DEMO_EXTRAS)]'
	@touch $@

$(VENV)/.test: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[$(TEST_EXTRAS)]'
	@touch $@ $(VENV)/.demo

$(VENV)/.training: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[training]'
	@touch $@

$(VENV)/.bench: $(VENV)/bin/python pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

demo: $(VENV)/.demo ## a whole patrol on this machine, then the scorecard (DEMO_ARGS=…)
	$(BIN)/alprd demo $(DEMO_ARGS)

system: ## install what tests need from the system, when allowed to (Debian)
	sh tools/system-packages.sh

types: $(VENV)/.test ## mypy --strict; training too where PyTorch is installed
	$(BIN)/mypy
	@if $(BIN)/python -c 'import torch' 2>/dev/null; then $(BIN)/mypy -p training; \
	 else echo 'types of training/ are not checked: make training installs PyTorch'; fi

test: $(VENV)/.test system lint ## lint, types and every test but the slow ones
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m 'not slow' $(TEST_ARGS)
	$(if $(TEST_ARGS),,$(BIN)/coverage run -m pytest -m 'both_stores and not slow' tests/central --central-store=postgresql)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: test-servers
test-servers: $(VENV)/.test system ## all tests of central on a real PostgreSQL and a real S3 server
	$(BIN)/python -m pytest -m 'not slow' tests/central --central-store=postgresql $(TEST_ARGS)

test-slow: $(VENV)/.test ## the tests that `make test` leaves out
	sh tools/system-packages.sh guest
	$(BIN)/python -m pytest -m slow $(TEST_ARGS)

lint: $(VENV)/.test types ## ruff and mypy only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test ## rewrite the code to the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: docs-pictures
docs-pictures: $(VENV)/.test ## take the pictures of docs/mdt.md anew, in a real browser
	ALPRD_WRITE_DOCS=1 $(BIN)/python -m pytest -q tests/mdt/test_browser.py -k pictures_of_the_page

fixtures: $(VENV)/.test ## render fixtures/drive again
	$(BIN)/python -m sim fixtures

drive: $(VENV)/.test ## render another drive: make drive SEED=7 OUT=drives/seven
	$(BIN)/python -m sim drive --seed $(SEED) --out $(OUT)

training: $(VENV)/.training ## install what training needs (PyTorch for the CPU)

evaluate: $(VENV)/.training ## write the figures of the model cards (DATA=../shared/data)
	$(BIN)/python -m training.detector evaluate --data '$(DATA)' --card alprd/models/DETECTOR_CARD.md
	$(BIN)/python -m training.ocr evaluate --data '$(DATA)' --card alprd/models/MODEL_CARD.md
	$(BIN)/python -m training.state evaluate --data '$(DATA)' --card alprd/models/STATE_CARD.md

# Packages go through a staging folder: make install DESTDIR=/tmp/stage
DESTDIR ?=
PREFIX ?= /opt/alprd
ROLE ?= car
INSTALL = $(BIN)/python tools/install.py --destdir '$(or $(DESTDIR),/)' --prefix '$(PREFIX)' --role '$(ROLE)' --with '$(WITH)'

.PHONY: install uninstall
install: $(VENV)/.demo ## into PREFIX=/opt/alprd with units and user (ROLE=car or central, WITH=postgresql,s3,pkcs11, DESTDIR=…)
	$(INSTALL)

uninstall: ## take it away again; configuration and reads stay
	$(INSTALL) --uninstall

.PHONY: bench-recognition
bench-recognition: $(VENV)/.bench ## this reader beside fast-alpr, same frames (JSON=FILE)
	$(BIN)/python -m bench recognition $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-conditions
bench-conditions: $(VENV)/.bench ## real plates made small, soft and dark, beside fast-alpr (JSON=FILE)
	$(BIN)/python -m bench conditions $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-drives
bench-drives: $(VENV)/.test ## the road reader on 2,000 plates of rendered drives (BENCH_ARGS=…)
	$(BIN)/python -m bench drives $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-alert
RUNS ?= 1
bench-alert: $(VENV)/.bench ## from the frame to the sound in a real browser (RUNS=1, JSON=FILE)
	$(BIN)/python -m bench alert_latency --runs '$(RUNS)' $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-crash
KILLS ?= 300
bench-central-crash: KILLS := $(if $(filter command line,$(origin KILLS)),$(KILLS),200)
bench-crash: $(VENV)/.test ## kill -9 of the daemon at random instants (KILLS=300, JSON=FILE)
	$(BIN)/python -m bench crash --kills $(KILLS) $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-central-crash
bench-central-crash: $(VENV)/.test ## kill -9 of central while cars upload (KILLS=200, JSON=FILE)
	$(BIN)/python -m bench central_crash --kills $(KILLS) $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-purge
READS ?= 1000000
bench-purge: $(VENV)/.test ## one hour's destruction among READS=1000000 on SQLite and PostgreSQL (JSON=FILE)
	$(BIN)/python -m bench purge --reads $(READS) $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-faults
bench-faults: $(VENV)/.test ## every fault of a car, its recovery and its losses (JSON=FILE)
	$(BIN)/python -m bench faults $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: fuzz
INPUTS ?= 200000
fuzz: $(VENV)/.test ## NMEA, envelopes, configuration, pictures, lists, every importer (INPUTS=200000 each, SEED=1, FUZZ_ARGS=…)
	$(BIN)/python -m fuzz --inputs $(INPUTS) --seed $(SEED) $(FUZZ_ARGS)

.PHONY: bench-soak
bench-soak: $(VENV)/.test ## the real daemon for MINUTES=60: memory, threads and files must not grow
	$(BIN)/python -m bench soak --minutes $(or $(MINUTES),60) $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: bench-matching
bench-matching: $(VENV)/.test ## 5 million list entries: import, load, look-up, delta (JSON=FILE)
	$(BIN)/python -m bench matching $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: coverage-policy
coverage-policy: $(VENV)/.test ## each rule: where it is enforced, its tests, its evidence; mutations (POLICY_ARGS=…)
	$(BIN)/python -m policycheck $(POLICY_ARGS)

CUTS ?= 20
.PHONY: bench-poweroff
bench-poweroff: $(VENV)/.test ## cut a guest's power CUTS=20 times, count losses (root, qemu; JSON=FILE)
	$(BIN)/python -m bench poweroff --cuts '$(CUTS)' $(if $(JSON),--json '$(JSON)') $(BENCH_ARGS)

.PHONY: migration
migration: $(VENV)/.test ## a revision for changed tables of central: make migration NAME='add anchors'
	$(BIN)/python tools/migration.py '$(NAME)'
	$(BIN)/ruff check -q --fix alprd/central/storage/migrations
	$(BIN)/ruff format -q alprd/central/storage/migrations

clean: ## remove what the targets made, but not the models and fixtures
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage* test-output
