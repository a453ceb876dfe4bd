# make setup   an environment in .venv, with .venv/bin/synthcohort
# make demo    phantom -> report card, in demo/report.html
# make reader-demo   a phantom reader study, served on this machine
# make test    the tests, offline; the slow ones: .venv/bin/pytest -m slow
# make check   format, lint, types, layers
# On Linux without a GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu saves two gigabytes of download.

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-done
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo reader-demo test check clean

help:
	@sed -e '/^$$/q' -e 's/^# //' $(firstword $(MAKEFILE_LIST))

setup: $(STAMP)

# The environment is remade only when it is broken; packages are looked at only when their list changed.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { \
	  echo "setup: there is no '$(PYTHON)'. Install Python 3.10 or newer, or run: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "setup: $$($(PYTHON) -V 2>&1) is too old; 3.10 or newer is needed. Run: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "setup: this Python lacks the venv module. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV)
	@echo "setup: installing into $(VENV); the first time takes a few minutes" >&2
	@$(PIP) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch
	@$(PIP) -e '.[dev]'
	@touch $@

demo: setup
	$(BIN)/synthcohort demo --out demo

reader-demo: setup
	$(BIN)/synthcohort reader demo --out demo-reader

# Each worker has one thread: several processes of several threads slow one another down.
test: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

clean:
	rm -rf $(VENV) demo demo-reader build .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
