# `make` alone lists what there is. Everything runs in .venv, which is made once from requirements/lock.txt.
#
# PYTHON=python3.12 make venv   another interpreter than python3.11, for which the lock was tested
# PIP_EXTRA_INDEX_URL=...       honoured by pip; with PyTorch's CPU index, torch comes without gigabytes of CUDA

PYTHON ?= $(shell python3.11 -c '' 2>/dev/null && echo python3.11 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
TFLITE_VENV := .venv-tflite-runtime
ARGS ?=

# A stamp named after what was installed: a changed lock installs anew, an unchanged one costs nothing.
READY := $(VENV)/.ready-$(shell cat requirements/lock.txt setup.cfg | cksum | cut -d' ' -f1)
TFLITE_READY := $(TFLITE_VENV)/.ready-$(shell cksum < requirements/tflite-runtime.txt | cut -d' ' -f1)
INSTALL := -m pip install --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.PHONY: help venv tflite-runtime lab demo test lint format docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(READY) tflite-runtime ## make .venv with everything, and .venv-tflite-runtime where Python 3.11 is there

$(READY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "edgevqa needs Python 3.11 or newer; try: make venv PYTHON=python3.11" >&2; exit 1; }
	@echo "Installing the locked packages into $(VENV); this takes some minutes the first time."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(INSTALL) -r requirements/lock.txt
	@$(BIN)/python $(INSTALL) --no-deps --no-build-isolation --editable .
	@rm -f $(VENV)/.ready-*
	@touch $@

# The old interpreter is optional: without it, its files are exported but neither gated nor timed in it.
tflite-runtime:
	@if test -e $(TFLITE_READY); then exit 0; fi; \
	if ! python3.11 -c '' 2>/dev/null; then \
	  echo "Note: no python3.11 here, so the tflite-runtime environment is left out."; exit 0; \
	fi; \
	if python3.11 -m venv $(TFLITE_VENV) \
	  && $(TFLITE_VENV)/bin/python $(INSTALL) -r requirements/tflite-runtime.txt; then \
	  rm -f $(TFLITE_VENV)/.ready-*; touch $(TFLITE_READY); \
	else \
	  echo "Note: tflite-runtime could not be installed, so its environment is left out."; \
	fi

demo: venv ## the whole chain on the bundled model: export, gate, measure, Pareto table
	@$(BIN)/edgevqa demo $(ARGS)

lab: ## build the simulated devices that some tests need (Debian 12, as root for all of them); else those tests skip
	@tests/lab/make.sh

test: venv lint ## lint and all tests; ARGS="-k pareto" picks some
	@$(BIN)/python -m pytest $(ARGS)

lint: venv ## ruff, mypy and the direction of imports
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy --no-error-summary
	@said=$$($(BIN)/lint-imports --no-logo 2>&1) || { echo "$$said"; exit 1; }

format: venv ## let ruff lay out the code and mend what it can
	@$(BIN)/ruff check --quiet --fix . || true
	@$(BIN)/ruff format --quiet .

docs: venv ## write docs/commands.md from the help of the commands
	@$(BIN)/python -m edgevqa.cli.reference > docs/commands.new
	@mv docs/commands.new docs/commands.md

lock: venv ## write requirements/lock.txt from .venv as it is now
	@{ grep '^#' requirements/lock.txt; \
	  $(BIN)/python -m pip freeze --disable-pip-version-check --all --exclude pip --exclude edgevqa \
	  | sed 's/+cpu$$//'; } > requirements/lock.new
	@mv requirements/lock.new requirements/lock.txt

clean: ## remove caches and builds; environments, artifacts and results stay
	@rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@find edgevqa tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
