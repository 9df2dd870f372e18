# make demo | make test : both create the environment first. Everything else is for developers.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= $(shell ./scripts/find-python)
export OMP_NUM_THREADS := 1
# The data folder beside the checkout, when there is one, else downloads.
ifneq ($(wildcard ../shared/data),)
export TAAFS_DATA_MIRROR ?= $(abspath ../shared/data)
endif

.PHONY: demo test test-fast lint env clean
env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt scripts/find-python
	@test -n "$(PYTHON)" || { echo "Python 3.12 was not found; install it or run: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON): about 3 minutes and 6.4 GB, once."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -e '.[all,test]'
	@touch $@

demo: env
	$(BIN)/taafs demo --overwrite

test: env
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: env
	$(BIN)/python -m pytest -n 2 -m "not slow" tests

lint: env
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) demo_output build *.egg-info
