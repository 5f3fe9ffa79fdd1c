# make run and make test are all a newcomer needs; each makes its own environment in .venv first.
# Another Python: make test PYTHON=python3.12      More for pip: make test PIP_ARGS="--no-index --find-links wheels"
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
ONLY ?=
# Recipes take what you type from the environment ("$$ONLY"), so that a quote or a blank in it does no harm.
export VENV PIP_ARGS ONLY REPO VERSION NN TITLE

PY := $(VENV)/bin/python
BUILD := $(PY) notebooks/source/build.py
ONE := $(if $(ONLY),--only "$$ONLY")
READY := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup run test test-fast new lab start slides train bench editions execute check numbers links clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

# Written last, so that an interrupted installation starts over; a changed requirements.txt installs again.
# An environment without a working pip is made again in its place; one that cannot be made is removed only
# where there was none before.
$(READY): requirements.txt
	@$(PYTHON) -c "import sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  'Python 3.11 to 3.13 is needed, $(PYTHON) is %d.%d: make $(MAKECMDGOALS) PYTHON=python3.12' % v)"
	@echo "Setting up $(VENV) (once, some minutes; 1.6 GB with a CPU build of torch, more than 5 GB with CUDA)"
	@works() { $(PY) -m pip --version > /dev/null 2>&1; }; works && exit; \
	there=no; test -e "$$VENV" && there=yes; $(PYTHON) -m venv "$$VENV" && works && exit; \
	test $$there = no || { echo "$(VENV) cannot be mended: move it away, or say VENV=another-folder"; exit 1; }; \
	rm -rf "$$VENV"; \
	echo "$(PYTHON) cannot make environments (on Debian and Ubuntu: apt install python3-venv)"; exit 1
	$(PY) -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -r requirements.txt
	@touch $@

setup: $(READY)  ## make the environment in .venv, nothing else

run: $(READY)  ## execute the notebooks into out/: notebooks, HTML pages, GIFs, PNGs (ONLY=02 for one)
	@$(BUILD) run $(ONE)

test: $(READY)  ## style, tests, and both editions in smoke mode
	@$(PY) -m ruff check . && $(PY) -m ruff format --check --quiet .
	@NOISE_TO_DIGITS_MODE=smoke NOISE_TO_DIGITS_OUT="$$PWD/out/smoke" \
	  $(PY) -m pytest --nbmake --nbmake-timeout=300 tests notebooks

test-fast: $(READY)  ## style and the quick tests, in about a minute: what to run before each commit
	@$(PY) -m ruff check . && $(PY) -m ruff format --check --quiet .
	@NOISE_TO_DIGITS_MODE=smoke NOISE_TO_DIGITS_OUT="$$PWD/out/smoke" $(PY) -m pytest -q -m "not slow" tests

lab: $(READY)  ## open your copies (make start), or else the complete edition, in JupyterLab
	@$(PY) -m jupyter lab --ServerApp.root_dir="$$PWD" \
	  $(lastword $(wildcard notebooks/00_*.ipynb) $(sort $(wildcard my-work/00_*.ipynb)))

start: $(READY)  ## copy the student edition to my-work/; your answers are never overwritten
	@$(BUILD) start

slides: $(READY)  ## the lecture's slides for a browser, offline: out/slides (ONLY=02 for one)
	@$(BUILD) slides $(ONE)

train: $(READY)  ## train everything long from scratch; run it again to resume
	@$(PY) -m data.experiments

bench: $(READY)  ## training and sampling speed on this machine
	@$(PY) -m data.experiments.bench

new: $(READY)  ## the skeleton of a new notebook: NN=09 TITLE="Straight paths"
	@$(BUILD) new -- "$$NN" "$$TITLE"

editions: $(READY)  ## build both editions from notebooks/source (ONLY=02 for one)
	@$(BUILD) editions $(ONE)

execute: $(READY)  ## execute what is stale and save the outputs (ONLY=02 for one)
	@$(BUILD) execute --stale $(ONE)

check: $(READY)  ## name the notebooks that are out of step with their source or stale
	@$(BUILD) check $(ONE)

numbers: $(READY)  ## rewrite the marked numbers and tables in prose (README, TEACHING, sources)
	@$(BUILD) numbers

links: $(READY)  ## re-point badges and first cells: REPO=owner/name VERSION=tag
	@$(BUILD) links $(if $(REPO),--repository "$$REPO") $(if $(VERSION),--version "$$VERSION")

clean:  ## remove out/ (pages, slides, grading) and caches; keeps .venv and my-work/
	rm -rf out .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
