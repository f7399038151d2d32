# Everything runs in $(VENV), made here on first use. Python: `make PYTHON=python3.12 demo`.
PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2
SOAK_SECONDS ?= 600

BIN := $(VENV)/bin
DEV := $(VENV)/.installed-dev
BENCH := $(VENV)/.installed-bench
PIP_INSTALL := -m pip install -q -c constraints.txt
SPHINX := $(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

# `-c` does not reach the isolated environment that builds the wheel: older pips read the first of
# these there, newer ones the second.
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check core bench soak docs clean

help: ## Show what make can do here
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s  %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.installed-demo ## Forget a contributor end to end, on real data, in about a minute
	@$(BIN)/expunge demo

test: $(DEV) ## Run the tests and hold coverage (JOBS=2 processes)
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile --durations=20 --cov --cov-report=term

check: $(DEV) ## Lint, formatting, types, layers, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo
	$(SPHINX)

core: .venv-core/bin/pip ## Install without extras and use the core there: no torch
	@.venv-core/bin/python $(PIP_INSTALL) .
	@.venv-core/bin/python tests/core_without_torch.py
	@.venv-core/bin/expunge --help > /dev/null

bench: $(BENCH) ## Run every benchmark and print one table (benchmarks/results.json)
	@mkdir -p benchmarks/results
	@failed=; \
	for script in benchmarks/[a-z]*.py; do \
		name=$$(basename "$$script" .py); \
		if [ "$$name" = report ] || [ ! -f "$$script" ]; then continue; fi; \
		echo "== $$name"; \
		$(BIN)/python "$$script" --json "benchmarks/results/$$name.json" || failed="$$failed $$name"; \
	done; \
	$(BIN)/python benchmarks/report.py benchmarks/results --json benchmarks/results.json || failed="$$failed report"; \
	if [ -n "$$failed" ]; then echo "failed:$$failed" >&2; exit 1; fi

soak: $(DEV) ## The same properties, larger (SOAK_SECONDS=600, SEED=… to repeat a run)
	@seed="$${SEED:-$$(date +%s)}"; \
	echo "SOAK_SECONDS=$(SOAK_SECONDS) SEED=$$seed"; \
	SOAK_SECONDS=$(SOAK_SECONDS) SEED="$$seed" HYPOTHESIS_PROFILE=soak \
		$(BIN)/python -m pytest -m soak --timeout=0 --hypothesis-seed="$$seed"

docs: $(DEV) ## Build the documentation into docs/_build/html
	@$(SPHINX)
	@echo "docs/_build/html/index.html"

clean: ## Remove what was built (the environment .venv and stores .expunge stay)
	@rm -rf .venv-core .venv-peers build dist docs/_build benchmarks/results benchmarks/results.json .coverage .coverage.* \
		.hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find storage lineage unlearn tests benchmarks examples docs \
		-name __pycache__ -type d -prune -exec rm -rf {} +

# `dev` and `bench` contain `demo`, so any of these stamps says that the demo can run.
$(DEV) $(BENCH) $(VENV)/.installed-demo: $(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/pip
	@echo "Installing expunge[$*] into $(VENV): minutes where torch must be downloaded, once ..." >&2
	@$(BIN)/python $(PIP_INSTALL) -e '.[$*]'
	@touch $@ $(VENV)/.installed-demo

# pip comes last into a new environment: a folder where that failed is not taken for a whole one.
$(BIN)/pip .venv-core/bin/pip: %/bin/pip:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Expunge needs Python 3.11 or later; $(PYTHON) is missing or older." \
			"Name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@"$(PYTHON)" -m venv "$*"
