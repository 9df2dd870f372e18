# make demo | make test : both create the environment first. Everything else is for developers; make help lists it.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell ./scripts/find-python)
export OMP_NUM_THREADS := 1
# The data folder beside the checkout, when there is one, else downloads.
ifneq ($(wildcard ../shared/data),)
export TAAFS_DATA_MIRROR ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
.PHONY: matrix wheel help demo test test-long test-fast lint docs format env clean

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(VENV)/.ready ## the environment in .venv, with everything (about 3 minutes, 6.4 GB)

$(VENV)/.ready: pyproject.toml constraints.txt scripts/find-python
	@test -n "$(PYTHON)" || { echo "Python 3.12 was not found; install it or run: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON): about 3 minutes and 6.4 GB, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,test,docs]'
	@touch $@

demo: env ## real water data: stock tanh against TAAFS in DeePMD-kit, then LAMMPS with both (6 minutes or more)
	$(BIN)/taafs demo --overwrite

test: env ## the tests: all but the long ones
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" --junitxml=build/tests.xml

test-long: env ## the long tests: whole examples, pages of the documentation, notebooks, trainings that are compared
	$(BIN)/python -m pytest -n 2 --dist load --maxschedchunk 1 -m long --junitxml=build/tests-long.xml

test-fast: env ## the core's tests, without those that take minutes
	$(BIN)/python -m pytest -n 2 -m "not slow" tests

lint: env ## rules, layout, spelling, types, imports of all tests and the examples in docstrings
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	@echo "$(BIN)/python -m pytest --collect-only"; found=$$($(BIN)/python -m pytest --collect-only -qq 2>&1) || { echo "$$found"; exit 1; }
	$(BIN)/python -m pytest -q tests/test_doctests.py

docs: env ## the site in build/site, with the results of the last make test and make test-long (seconds)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "build/site/index.html"

matrix: ## the kernels and core tests with each torch in an environment of its own; docs/torch-versions.md (an hour)
	./scripts/matrix

wheel: env ## a wheel with prebuilt kernels, in dist: for the torch of .venv, or make wheel TORCH='2.9.1 2.11.0'
	$(BIN)/python scripts/wheel $(TORCH)

format: env ## layout and import order as make lint wants them
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove the environment and everything that was made
	rm -rf $(VENV) demo_output build *.egg-info .mypy_cache .ruff_cache .pytest_cache
