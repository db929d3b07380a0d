# Two commands set everything up on a machine with Python >= 3.11 and make: `make verify` and `make test`.

VENV := .venv
PYTHON ?= python3.13 python3.12 python3.11 python3
PIP := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
ARGS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help verify test coverage test-long test-portable test-gpu docs lint format clean

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

verify: $(VENV)/runtime.stamp  ## Check every claim and write reports/verify; pass options as ARGS="--profile full"
	$(VENV)/bin/loraml verify $(ARGS)

test: $(VENV)/dev.stamp  ## Run the tests; pass options as ARGS="--run-long"
	$(VENV)/bin/python -m pytest -n 2 $(ARGS)

coverage: $(VENV)/dev.stamp  ## Measure what the tests of loraml_theory cover of it
	$(VENV)/bin/python -m pytest -n 2 --cov=loraml_theory --cov-report=term tests/loraml_theory loraml_theory $(ARGS)

test-long: $(VENV)/dev.stamp  ## Run the tests that take more than a second each
	$(VENV)/bin/python -m pytest -n 2 --run-long -m "long and not slow" $(ARGS)

test-portable: $(VENV)/dev.stamp  ## Run the tests that compare libraries as other processors would
	$(VENV)/bin/python -m tests.portability $(ARGS)

test-gpu: $(VENV)/gpu.stamp  ## Run the tests that need an NVIDIA GPU; installs CuPy
	$(VENV)/bin/python -m pytest -m gpu $(ARGS)

docs: $(VENV)/docs.stamp reports/verify/verdicts.json  ## Build the documentation into build/docs, with the results of make verify
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/python -m mkdocs build && echo build/docs/index.html

lint: $(VENV)/dev.stamp  ## Check style, format and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

format: $(VENV)/dev.stamp  ## Sort imports, fix what can be fixed, format
	$(VENV)/bin/ruff check --fix --exit-zero
	$(VENV)/bin/ruff format

clean:  ## Remove the environment, builds and caches; reports stay
	rm -rf $(VENV) build dist *.egg-info .coverage* htmlcov .hypothesis .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is written last, so an interrupted installation is done again.
$(VENV)/created.stamp:
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Creating $(VENV) with $$("$$python" --version)"; \
	    "$$python" -m venv --clear $(VENV) && touch $@; exit; \
	  fi; \
	done; \
	echo "make: no Python >= 3.11 with venv among '$(PYTHON)'; name one: make PYTHON=/path/to/python" >&2; exit 1

$(VENV)/runtime.stamp: pyproject.toml constraints.txt | $(VENV)/created.stamp
	@echo "Installing loraml-theory into $(VENV)"
	@$(PIP) setuptools && $(PIP) --no-build-isolation --editable '.[sims,exact]' && touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt | $(VENV)/created.stamp
	@echo "Installing loraml-theory and what its tests need into $(VENV)"
	@$(PIP) setuptools && $(PIP) --no-build-isolation --editable '.[dev]' && touch $(VENV)/runtime.stamp $@

$(VENV)/docs.stamp: $(VENV)/runtime.stamp
	@echo "Installing what builds the documentation into $(VENV)"
	@$(PIP) --no-build-isolation --editable '.[docs]' && touch $@

reports/verify/verdicts.json: | $(VENV)/runtime.stamp
	$(VENV)/bin/loraml verify

$(VENV)/gpu.stamp: $(VENV)/dev.stamp
	@echo "Installing CuPy and CUDA's libraries into $(VENV)"
	@$(PIP) --no-build-isolation --editable '.[dev,cupy]' && touch $@
