# The two commands of a fresh machine: make demo, make test. `make help` lists the rest.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo

.PHONY: help install dev demo test test-cluster test-cluster-all cluster-parts cluster-programs cluster-images cluster-debian test-scale images lint docs format page dashboards schema scorecard scorecard-check repository soak clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.installed ## Make .venv with the s2ops command (no torch)

dev: $(VENV)/.dev ## The same with everything for tests and training (torch: a minute, 5 GB)

# pip as constraints.txt pins it takes half as long as the one that comes with Python 3.11.
$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "s2ops needs Python 3.11 or later: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) pip

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) --editable '.[view]'
	@touch $@

$(VENV)/.tests: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) --editable '.[dev]'
	@touch $(VENV)/.installed $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) --editable '.[dev,torch]'
	$(PIP) --no-deps nvidia-pytriton
	@touch $(VENV)/.installed $(VENV)/.tests $@

demo: install ## Simulate six tiles in two UTM zones, run the chain over them, score it against the truth
	$(BIN)/python scripts/run_demo.py $(DEMO)

test: dev ## All tests but those of the cluster
	bash scripts/install-test-services.sh
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-cluster: cluster-parts ## The tests on a Kubernetes cluster that they start themselves (docs/operations/test-cluster.md)
	S2OPS_REQUIRE_HELM=1 $(BIN)/python -m pytest -n auto tests/deployment/test_helm_chart.py tests/deployment/test_workflows.py
	$(BIN)/python -m pytest -m 'cluster and not slow' tests/e2e --timeout 1800 --durations 20

test-cluster-all: cluster-parts ## The same with the slow ones (real scenes, the demo, a rollout); writes the times into docs/operations/test-cluster.md
	$(BIN)/python -m pytest -m cluster tests/e2e --timeout 1800 --junitxml .cluster-times.xml
	$(BIN)/python -m tests.e2e.times .cluster-times.xml docs/operations/test-cluster.md

# What the cluster is made of, side by side: pip and debootstrap wait for a network while Go compiles, and compile little.
# For a cluster of your own (S2OPS_KUBECONFIG) the programs that talk to it will do.
CLUSTER_PARTS := $(if $(S2OPS_KUBECONFIG),$(VENV)/.tests,cluster-images)

cluster-parts:
	@$(MAKE) --no-print-directory --jobs cluster-programs $(CLUSTER_PARTS)

cluster-programs:
	$(PYTHON) -m tests.e2e.toolchain

cluster-images: $(VENV)/.tests cluster-debian
	$(BIN)/python -m tests.e2e.images

cluster-debian:
	sh scripts/install-cluster-tools.sh

test-scale: $(VENV)/.tests cluster-debian ## A run of 10,000 tiles on a real control plane with simulated nodes (docs/operations/scale.md)
	$(BIN)/python -m tests.e2e.scale --tiles 10000

images: install ## Build the container images s2ops-steps and s2ops-triton (BASE=..., see images/build.py)
	$(BIN)/python images/build.py

lint: dev ## ruff, mypy --strict, import direction, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/s2ops schema | diff - docs/reference/config.schema.json
	$(BIN)/s2ops models repository model_repository --check
	$(BIN)/python scripts/vendor_page.py --check
	$(MAKE) --no-print-directory docs

docs: dev ## Build the documentation site into site/, warnings are errors
	$(BIN)/python scripts/write_reference_docs.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

scorecard: install ## Score every network and write docs/reference/scorecard.md (5 min; S2OPS_REAL_DATA for real scenes)
	$(BIN)/s2ops score --out docs/reference

scorecard-check: install ## Score a small part again; fails where a figure has drifted (20 s)
	$(BIN)/s2ops score --quick --check docs/reference/scorecard.json

dashboards: dev ## Write the Grafana dashboards, the table of docs/reference/metrics.md and the chart's README anew
	$(BIN)/python -m dashboards
	$(BIN)/python scripts/write_metrics_docs.py
	$(BIN)/python scripts/write_chart_docs.py

page: install ## Fetch MapLibre GL JS for the page of `s2ops view` as package.json pins it (needs npm)
	$(BIN)/python scripts/vendor_page.py

schema: install ## Write the JSON schema of the run configuration
	$(BIN)/s2ops schema > docs/reference/config.schema.json

repository: install ## Write model_repository/ anew; needed when weights have changed
	$(BIN)/s2ops models repository model_repository

soak: dev ## 20,000 windows through a real Triton: the memory of client and server stays flat (5 min)
	$(BIN)/python -m pytest -n 0 -m soak -s tests/inference/test_triton_soak.py

clean: ## Remove what the targets above made
	rm -rf $(VENV) $(DEMO) site .mypy_cache .ruff_cache .pytest_cache .hypothesis
