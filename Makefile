# Everything a person needs, from a fresh clone: `make` lists it. Each target does its own set-up first.
#
# Paths below are relative on purpose: GNU make cannot handle a space in an absolute one, and a checkout may have it.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first Python that runs and is new enough; name another with `make PYTHON=/path/to/python …`.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	"$$p" -c '$(NEW_ENOUGH)' 2>/dev/null && { echo "$$p"; break; }; done)

BIN := .venv/bin
INSTALLED := .venv/installed
PEERS := .peers/installed

.PHONY: help setup demo up down test faults compose-test check lint types arch format bench bench-peers kafka pin clean

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: $(INSTALLED) ## Install into .venv (every other target does this by itself)

# The stamp holds the checkout's path: an environment that was moved or copied points at the old one, so build it anew.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(shell pwd -P))
.PHONY: $(INSTALLED)
endif
$(INSTALLED): pyproject.toml deploy/constraints.txt
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2>/dev/null || { \
		echo 'Throughline needs Python 3.11 or newer. On Debian 12: apt-get install python3 python3-venv' >&2; \
		echo 'Elsewhere, name one: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)' >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment. On Debian: apt-get install python3-venv" >&2; exit 1; }
	@[ "$$(cat $@ 2>/dev/null)" = "$$(pwd -P)" ] || "$(PYTHON)" -m venv --clear .venv
	@echo 'Installing into .venv (about a minute, once) …'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[local,ltv,registry,report,dev,bench]' -c deploy/constraints.txt
	@pwd -P > $@

demo: $(INSTALLED) ## Start the stack, send a retailer's events through it, print what came out
	@$(BIN)/throughline up
	@$(BIN)/throughline demo
	@echo
	@echo 'The stack is still running: `$(BIN)/throughline status` shows it, `make down` stops it.'

up: $(INSTALLED) ## Start the local stack: broker, Valkey, ClickHouse, topics, migrations, workers
	@$(BIN)/throughline up

down: $(INSTALLED) ## Stop the local stack; its data stays in .throughline
	@$(BIN)/throughline down

# Exit code 5 of pytest means that ARGS selects no test: an error only if that holds for every part. Each process of the
# tests has servers of its own. Stories and faults wait more than they work, so two at a time; those that are marked as
# timed measure what a loaded machine would change, and have it to themselves. Where real servers are used, a few tests may
# be tried again, since a machine may stand still for seconds; the summary has what went wrong the first time.
RETRY := --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks
test: $(INSTALLED) ## Run every test, fast ones first (ARGS="-k word" narrows it)
	@parts=0; empty=0; \
	for part in 'tests/unit tests/property --numprocesses auto' 'tests/integration --numprocesses 2 --dist loadfile $(RETRY)' \
		'tests/e2e tests/fault -m not(timed) --numprocesses 2 --dist loadfile $(RETRY)' \
		'tests/e2e tests/fault -m timed $(RETRY)'; do \
		parts=$$((parts + 1)); \
		$(BIN)/python -m pytest $$part $(ARGS) || { [ $$? = 5 ] || exit 1; empty=$$((empty + 1)); }; \
	done; \
	[ $$empty -lt $$parts ]

faults: $(INSTALLED) ## Break the running pipeline in each known way under load; prints what is missing, writes faults.json
	@$(BIN)/python -m tests.fault.table $(ARGS)

compose-test: $(INSTALLED) ## Run compose.yaml on a Docker engine, under load; as root on Debian it installs and starts one
	@$(BIN)/python -m pytest tests/containers -m containers -x -s $(ARGS)

check: lint types arch ## Run every check that needs no server

lint: $(INSTALLED) ## Formatting, lint, spelling, and the files of a deployment
	@$(BIN)/ruff format --check --quiet || { $(BIN)/ruff format --diff --quiet; exit 1; }
	@$(BIN)/ruff check --quiet
	@$(BIN)/codespell
	@$(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
	@$(BIN)/hadolint deploy/Dockerfile

types: $(INSTALLED) ## Type check, strictly, tests too
	@$(BIN)/mypy

arch: $(INSTALLED) ## Check who may import whom
	@$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## Rewrite the code the way `make lint` wants it
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

bench: $(INSTALLED) ## Measure events a second and latency; writes bench.json
	@$(BIN)/python -m tests.benchmarks.run $(ARGS)

bench-peers: $(INSTALLED) $(PEERS) ## Measure other stream frameworks at the same job; writes bench-peers.json
	@$(BIN)/python -m tests.benchmarks.peers.run $(ARGS)

# An environment of their own: their packages and ours do not agree on versions.
$(PEERS): tests/benchmarks/peers/requirements.txt
	@echo 'Installing the peers into .peers (about a minute, once) …'
	@"$(PYTHON)" -m venv --clear .peers
	@.peers/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

kafka: $(INSTALLED) ## Start a real Apache Kafka (needs Java 17 and Maven)
	@$(BIN)/python -m deploy.local.kafka $(ARGS)

pin: ## Refresh deploy/constraints.txt from the newest versions that pyproject.toml allows
	@scratch="$$(mktemp -d)"; trap 'rm -rf "$$scratch"' EXIT; \
	"$(PYTHON)" -m venv "$$scratch" && "$$scratch/bin/python" -m pip install --quiet -e '.[local,ltv,registry,report,dev,bench]'; \
	{ grep '^#' deploy/constraints.txt; "$$scratch/bin/python" -m pip freeze --exclude-editable; } > "$$scratch/new"; \
	cp "$$scratch/new" deploy/constraints.txt

clean: ## Stop the local stack and remove everything that these targets made
	@if [ -x $(BIN)/throughline ]; then $(BIN)/throughline down --wipe; fi
	@rm -rf .venv .peers .dbt .throughline .kafka .engine build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache bench.json bench-peers.json faults.json
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
