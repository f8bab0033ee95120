# Two commands are enough for a new checkout: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.PHONY: help install demo test lint types fast test-slow test-browser soak fuzz docs clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: $(BIN)/.installed  ## Virtual environment with the tested versions

demo: install  ## Search a classifier for real handwritten digits (a few minutes on 2 cores)
	$(BIN)/autosearch run studies/digits.yaml
	$(BIN)/autosearch best studies/digits.yaml

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

test: lint types  ## Lint, types and tests: what continuous integration runs
	$(BIN)/pytest -n auto -m 'not slow and not gpu and not browser and not ray'
	$(BIN)/pytest -m 'ray and not slow'

fast: install  ## The tests that need no Ray session
	$(BIN)/pytest -n auto -m 'not slow and not gpu and not browser and not ray'

test-slow: install  ## Long and statistical tests
	$(BIN)/pytest -m 'slow and not ray' --timeout 3600
	$(BIN)/pytest -m 'slow and ray' --timeout 1800

test-browser: install  ## Report and dashboard in Debian's Chromium (installs it where it is missing)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,browser]'
	command -v chromium >/dev/null || apt-get install --yes chromium
	$(BIN)/pytest -m browser --timeout 180

soak: install  ## Faults at length over real Ray (under an hour); SOAK='--rounds 2', SOAK='kills noop --seed 7'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,postgres]'
	$(BIN)/python benchmarks/soak/run.py $(SOAK)

fuzz: install  ## Fuzz every reader of files and networks; FUZZ='--seconds 600 record'
	$(BIN)/python -W ignore benchmarks/fuzz/run.py $(FUZZ)

docs: install  ## API reference into build/docs/index.html, from the docstrings
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/python docs/build.py build/docs

clean:  ## Remove the environment and caches, keep results
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache
