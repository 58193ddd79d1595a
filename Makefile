# On a fresh machine, run `make demo` or `make test`. `make help` lists all targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO ?= demo

.PHONY: help install dev demo test test-cluster test-cluster-all cluster-parts cluster-programs cluster-images cluster-debian test-scale images lint docs format page dashboards schema scorecard scorecard-check repository soak clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

install: $(VENV)/.installed ## Create .venv with the s2ops command (without torch)

dev: $(VENV)/.dev ## Create .venv with everything for tests and training (torch: one minute, 5 GB)

# The pip version pinned in constraints.txt takes half as long as the one bundled with Python 3.11.
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

demo: install ## Simulate six tiles in two UTM zones, run the chain over them, score it against the ground truth
	$(BIN)/python scripts/run_demo.py $(DEMO)

test: dev ## Run all tests except the cluster tests
	bash scripts/install-test-services.sh
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test-cluster: cluster-parts ## Run the cluster tests on a Kubernetes cluster that they start (docs/operations/test-cluster.md)
	S2OPS_REQUIRE_HELM=1 $(BIN)/python -m pytest -n auto tests/deployment/test_helm_chart.py tests/deployment/test_workflows.py
	$(BIN)/python -m pytest -m 'cluster and not slow' tests/e2e --timeout 1800 --durations 20

test-cluster-all: cluster-parts ## Run also the slow cluster tests (real scenes, demo, rollout); write times into docs/operations/test-cluster.md
	$(BIN)/python -m pytest -m cluster tests/e2e --timeout 1800 --junitxml .cluster-times.xml
	$(BIN)/python -m tests.e2e.times .cluster-times.xml docs/operations/test-cluster.md

# Parts of the cluster are built concurrently: pip and debootstrap mostly wait for the network while Go compiles.
# A cluster of your own (S2OPS_KUBECONFIG) needs the client programs only.
CLUSTER_PARTS := $(if $(S2OPS_KUBECONFIG),$(VENV)/.tests,cluster-images)

cluster-parts:
	@$(MAKE) --no-print-directory --jobs cluster-programs $(CLUSTER_PARTS)

cluster-programs:
	$(PYTHON) -m tests.e2e.toolchain

cluster-images: $(VENV)/.tests cluster-debian
	$(BIN)/python -m tests.e2e.images

cluster-debian:
	sh scripts/install-cluster-tools.sh

test-scale: $(VENV)/.tests cluster-debian ## Run 10,000 tiles on a real control plane with simulated nodes (docs/operations/scale.md)
	$(BIN)/python -m tests.e2e.scale --tiles 10000

images: install ## Build the container images s2ops-steps and s2ops-triton (BASE=..., see images/build.py)
	$(BIN)/python images/build.py

lint: dev ## Check with ruff and mypy --strict; check import direction and generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/s2ops schema | diff - docs/reference/config.schema.json
	$(BIN)/s2ops models repository model_repository --check
	$(BIN)/python scripts/vendor_page.py --check
	$(MAKE) --no-print-directory docs

docs: dev ## Build the documentation site into site/; warnings are errors
	$(BIN)/python scripts/write_reference_docs.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: dev ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

scorecard: install ## Score every network and write docs/reference/scorecard.md (5 min; S2OPS_REAL_DATA for real scenes)
	$(BIN)/s2ops score --out docs/reference

scorecard-check: install ## Score a small part again; fail if a figure has drifted, or on real scenes is behind its gate (2 min)
	$(BIN)/s2ops score --quick --check docs/reference/scorecard.json
	if [ -n "$(S2OPS_REAL_DATA)" ]; then $(BIN)/python -m s2ops.evaluation.world_checks; fi

dashboards: dev ## Write the Grafana dashboards, the table of docs/reference/metrics.md and the chart's README
	$(BIN)/python -m dashboards
	$(BIN)/python scripts/write_metrics_docs.py
	$(BIN)/python scripts/write_chart_docs.py

page: install ## Fetch the MapLibre GL JS version pinned in package.json for the page of `s2ops view` (needs npm)
	$(BIN)/python scripts/vendor_page.py

schema: install ## Write the JSON schema of the run configuration
	$(BIN)/s2ops schema > docs/reference/config.schema.json

repository: install ## Write model_repository/; needed after weights have changed
	$(BIN)/s2ops models repository model_repository

soak: dev ## Run 20,000 windows through a real Triton; memory of client and server must stay flat (5 min)
	$(BIN)/python -m pytest -n 0 -m soak -s tests/inference/test_triton_soak.py

clean: ## Remove the outputs of the targets above
	rm -rf $(VENV) $(DEMO) site .mypy_cache .ruff_cache .pytest_cache .hypothesis
