# `make quickstart` and `make test` need only Python 3.10–3.13 and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml

.PHONY: help install quickstart test test-slow benchmark lint format clean

help:
	@echo "make quickstart  install, then learn to paint drawn skin and report (10 minutes)"
	@echo "make test        install, then run the tests"
	@echo "make test-slow   install, then run the tests and the long ones"
	@echo "make benchmark   install PyTorch too, then measure and write BENCHMARKS.md (hours)"
	@echo "make lint        check style;  make format  fixes it"
	@echo "make clean       remove the environment and what was built"

install: $(VENV)/installed

# tests need more than the programs do; either stamp is redone when the needs change
$(VENV)/installed: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip  # old ones search for hours
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/installed-test: $(SOURCES) $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	@touch $@

# an installed PyTorch is kept: put its CPU build there first, the other is gigabytes
$(VENV)/installed-benchmark: $(SOURCES) $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[benchmark]"
	@touch $@

quickstart: $(VENV)/installed
	$(BIN)/python -m pipelines.quickstart --output_dir=runs/quickstart --overwrite

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or not slow"

benchmark: $(VENV)/installed-benchmark
	$(BIN)/python -m benchmarks.run

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(VENV)/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
