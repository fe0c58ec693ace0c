# Everything a person or CI does here, in two kinds of environment: STACK=dgl (default) or STACK=pyg.
# Needs Debian (or the like), Python 3.11 with its venv module, make and pip; each target builds its own environment.
# The stack pyg also runs on Python 3.12 and 3.13: make test STACK=pyg PYTHON=python3.12 VENV=.venv-pyg-3.12

STACK ?= dgl
PYTHON ?= python3.11
OUT ?= demo/$(STACK)
PYTEST_ARGS ?=
COVERAGE ?= --cov --cov-report=term:skip-covered
BENCH_ARGS ?=
MUTANTS_ARGS ?=

ifeq ($(STACK),dgl)
VENV := .venv
else ifeq ($(STACK),pyg)
VENV := .venv-pyg
else
$(error STACK must be dgl or pyg. Received: $(STACK))
endif

CONSTRAINTS := constraints/$(STACK).txt
MATBENCH := matbench==0.6
READY := $(VENV)/.ready
PY := $(VENV)/bin/python

# One thread per process: more of them wait for each other on a small machine.
export OMP_NUM_THREADS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help venv image browser demo test test-slow mutants mutants-quick bench bench-quick lint typecheck house typecheck-tree wheel freeze clean

help:  ## show this list
	@echo "make TARGET [STACK=dgl|pyg]"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 16

venv: $(READY)  ## build the environment, .venv or .venv-pyg, from pyproject.toml and constraints/

# The mark comes last, so an environment whose build was cut short is built anew; a finished one is only brought up to date.
# matbench 0.6 declares versions of 2021 that no longer install: it comes without them.
$(READY): pyproject.toml $(CONSTRAINTS)
	@[ $(STACK) = pyg ] || [ -f $@ ] || $(PYTHON) -c 'import sys; sys.exit(sys.version_info > (3, 12))' || \
	    { echo "The stack dgl needs Python 3.11: DGL 1.1.3 has no release for later ones. Add STACK=pyg."; exit 2; }
	@if [ -f $@ ]; then rm -f $@; else echo "Building $(VENV) (two to five minutes) ..."; $(PYTHON) -m venv --clear $(VENV); fi
	PIP_CONSTRAINT=$(CONSTRAINTS) $(PY) -m pip install -qq -e '.[dev,$(STACK)]'
	$(PY) -m pip install -qq --no-deps $(MATBENCH)
	@touch $@

# TORCH_INDEX names an index of packages that holds torch for the CPU alone; by default the image gets the one for GPUs.
TORCH_INDEX ?=
image: PYTHON_VERSION ?= 3.11
image:  ## build the image matgl-infomax:dgl or matgl-infomax:pyg; needs a Docker engine
	docker build --build-arg STACK=$(STACK) --build-arg PYTHON=$(PYTHON_VERSION) \
	    --build-arg TORCH_INDEX=$(TORCH_INDEX) -t matgl-infomax:$(STACK) .

# Tests of the report's page need a browser: Debian's, for playwright would download one of its own. As root.
browser:  ## install Chromium where there is none
	@command -v chromium > /dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium > /dev/null; }
	@chromium --version

# The packages that build the site come on top of the environment; they change nothing in it.
DOCS_READY := $(VENV)/.docs-ready
$(DOCS_READY): $(READY) pyproject.toml $(CONSTRAINTS)
	PIP_CONSTRAINT=$(CONSTRAINTS) $(PY) -m pip install -qq -e '.[docs]'
	@touch $@

.PHONY: docs
docs: $(DOCS_READY)  ## build the documentation site into docs/_build/html; a warning is an error
	MPLBACKEND=Agg $(PY) -m sphinx -b html -n -W --keep-going -q docs docs/_build/html
	@echo "Site: docs/_build/html/index.html"

demo: $(READY)  ## "does pretraining help?" on generated crystals, under three minutes
	$(PY) -m matgl_infomax.tasks.studies.demo --out $(OUT)

test: $(READY)  ## fast tests with coverage
	$(PY) -m pytest -m "not slow" $(COVERAGE) $(PYTEST_ARGS)

test-slow: $(READY)  ## the tests that take longer
	$(PY) -m pytest -m slow $(PYTEST_ARGS)

# Hours for the whole; it goes on where it was stopped. MUTANTS_ARGS="--first 200" is a random sample, and --again tries
# survivors once more, after tests were added.
mutants: $(READY)  ## change one token of the source at a time: does a test fail? States the score
	$(PY) -m tests.mutants $(MUTANTS_ARGS)

mutants-quick: $(READY)  ## the same for a fixed sample of forty, under three minutes, as CI does
	$(PY) -m tests.mutants --quick

# Each number of threads gets a process of its own. BENCH_ARGS="--write docs/performance_table.md" keeps the table.
bench: $(READY)  ## measure speed and memory with 1 and 2 threads; fails if a bar is missed
	$(PY) -m tests.benchmarks.run $(BENCH_ARGS)

bench-quick: $(READY)  ## the same in few rounds with one thread, against generous bars, as CI does
	$(PY) -m tests.benchmarks.run --quick --threads 1 $(BENCH_ARGS)

lint: $(READY) typecheck  ## ruff, mypy, codespell and hadolint
	$(VENV)/bin/ruff check .
	$(VENV)/bin/hadolint Dockerfile
	git ls-files | xargs -d '\n' $(PY) -m codespell_lib

typecheck: $(READY) typecheck-tree  ## mypy over the three packages
	MYPYPATH=.typecheck $(VENV)/bin/mypy -p matgl_infomax

house: $(READY)  ## print the table of the house: files, floors, arrows, circles, rooms per command; fails if one is missed
	$(PY) -m tests.house --commands

# tasks/ and leaderboard/ install under matgl_infomax; mypy reads folders, so it gets them joined by links.
typecheck-tree:
	@rm -rf .typecheck && mkdir -p .typecheck/matgl_infomax
	@cd .typecheck/matgl_infomax && ln -s ../../matgl_infomax/* ../../tasks ../../leaderboard .

wheel: $(READY)  ## build dist/*.whl and check that it holds every file
	rm -rf build dist
	PIP_CONSTRAINT=$(CONSTRAINTS) $(PY) -m build -o dist . > build.log 2>&1 || { cat build.log; exit 1; }
	$(PY) .ci/check_wheel.py dist

# Versions change only on purpose: this resolves afresh within pyproject.toml; torch is the one version chosen by hand.
TORCH := torch==2.13.0
freeze:  ## resolve all versions anew and write the file in constraints/
	$(PYTHON) -m venv --clear .venv-freeze
	.venv-freeze/bin/python -m pip install -qq $(TORCH)
	.venv-freeze/bin/python -m pip install -qq $(TORCH) -e '.[dev,docs,$(STACK)]' 'setuptools>=77'
	(echo "# Exact versions of the '$(STACK)' stack on Python 3.11, written by 'make freeze STACK=$(STACK)'."; \
	 .venv-freeze/bin/python -m pip freeze --all --exclude pip --exclude-editable | sed -E 's/\+cpu$$//') > $(CONSTRAINTS)
	rm -rf .venv-freeze

clean:  ## remove environments, builds, caches and demonstrations
	rm -rf .venv .venv-* .typecheck build dist demo build.log *.egg-info
	rm -rf docs/_build docs/generated docs/examples docs/sg_execution_times.rst
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.*
	find matgl_infomax tasks leaderboard tests -name __pycache__ -type d -exec rm -rf {} +
