# The two commands of a fresh machine: make demo, make test. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo

.PHONY: help install dev demo test test-cluster lint format schema scorecard scorecard-check clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.installed ## Make .venv with the s2ops command (no torch)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "s2ops needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable .
	@touch $@

dev: $(VENV)/.dev ## The same with everything for tests and training (torch: a minute, 5 GB)

$(VENV)/.dev: $(VENV)/.installed
	$(PIP) --editable '.[dev,torch]'
	@touch $@

demo: install ## Simulate six tiles in two UTM zones, run the chain over them, score it against the truth
	$(BIN)/python scripts/demo.py $(DEMO)

test: dev ## All tests but those of the cluster
	bash scripts/install-test-services.sh
	$(BIN)/python -m pytest -n auto --dist loadfile

test-cluster: ## Not there yet: the Kubernetes tests come with their own issue
	@echo "test-cluster: not there yet; the chain runs on one machine so far (make demo, make test)"

lint: dev ## ruff, mypy --strict, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/s2ops schema | diff - docs/config.schema.json

format: dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

scorecard: install ## Score every network and write docs/scorecard.md (5 min; S2OPS_REAL_DATA for real scenes)
	$(BIN)/s2ops score --out docs

scorecard-check: install ## Score a small part again; fails where a figure has drifted (20 s)
	$(BIN)/s2ops score --quick --check docs/scorecard.json

schema: install ## Write the JSON schema of the run configuration
	$(BIN)/s2ops schema > docs/config.schema.json

clean: ## Remove what the targets above made
	rm -rf $(VENV) $(DEMO) .mypy_cache .ruff_cache .pytest_cache .hypothesis
