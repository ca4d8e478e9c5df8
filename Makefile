# Needs make and a Python of at least 3.11 with venv; everything else goes into $(VENV).
#
#   make train ARGS=--config.seed=1   more flags for the program
#   make test ARGS="-k ccc -x"        more flags for pytest
#   make test JOBS=0 ARGS=--pdb       in one process, with the debugger
#   make setup PYTHON=python3.12      another interpreter; a new version makes a new environment

PYTHON ?=
VENV ?= .venv
ARGS ?=
JOBS ?= 2
BIN = $(VENV)/bin/python
STAMP = $(VENV)/installed
VERSION = -c 'import sys; print(sys.version_info[:2])'

.PHONY: help setup train test test-slow golden check format clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /make \1: /p' Makefile

setup: $(STAMP) ## the environment alone

train: setup ## trains the multi-task model on synthetic data, into runs/mtl
	$(BIN) -m affect_jax.main --config=configs/mtl.py --workdir=runs/mtl $(ARGS)

test: setup ## the quick tests
	$(BIN) -m pytest -n $(JOBS) --dist loadfile $(ARGS)

test-slow: setup ## the tests that take longer than five seconds a piece
	$(BIN) -m pytest -m slow $(ARGS)

golden: setup ## compares with stored outputs of the original systems, where ../shared has them
	$(BIN) -m tests.golden --jobs=$(or $(filter-out 0,$(JOBS)),1) $(ARGS)

check: setup ## format and lint; changes nothing
	$(BIN) -m ruff format --check .
	$(BIN) -m ruff check .

format: setup ## writes the format and the repairs that are safe
	$(BIN) -m ruff format .
	$(BIN) -m ruff check --fix .

clean: ## caches and build products; keeps the environment, runs/ and stores/
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find affect_jax data_pipelines configs tests benchmarks \
	  -name __pycache__ -prune -exec rm -rf {} +

# The stamp alone would miss an environment whose Python is gone, or is not the one asked for.
ifeq ($(wildcard $(BIN)),)
.PHONY: $(STAMP)
else ifneq ($(PYTHON),)
ifneq ($(shell "$(PYTHON)" $(VERSION) 2>&1),$(shell "$(BIN)" $(VERSION) 2>&1))
.PHONY: $(STAMP)
endif
endif

$(STAMP): pyproject.toml constraints/py311.txt constraints/py312.txt
	@.ci/setup "$(VENV)" "$(PYTHON)"
	@touch "$(STAMP)"
