# make run and make test are all a newcomer needs; each makes its own environment in .venv first.
# Another Python: make test PYTHON=python3.12      More for pip: make test PIP_ARGS="--no-index --find-links wheels"
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
# TORCH=cpu or TORCH=cuda: which build of torch a new environment gets. Without it Linux without an NVIDIA driver gets
# the CPU build from PyTorch's own index, which is 5 GB smaller; where that cannot be reached, or where PIP_ARGS say
# where to look, what pip finds.
CPU_INDEX := https://download.pytorch.org/whl/cpu
# What these need in turn, pinned; make CONSTRAINTS= leaves it to pip.
CONSTRAINTS ?= .ci/constraints.txt
# Tests run side by side, a process for each core (at most four) and one thread in each. make test WORKERS=0: one by one.
WORKERS ?= logical
# What you type arrives as it stands there: make does not expand it, and recipes take it from the environment
# ("$$ONLY"), so that a quote, a blank or a $ in it does no harm.
TYPED := PYTHON VENV CONSTRAINTS PIP_ARGS TORCH ONLY REPO VERSION NN TITLE FROM SEED TRUST WORKERS
$(foreach name,$(TYPED),$(eval override $(name) := $$(value $(name))))
override VENV := $(if $(filter /%,$(VENV)),,./)$(VENV)
export $(TYPED)

PY := "$$VENV"/bin/python
BUILD := $(PY) notebooks/source/build.py
ONE := $(if $(ONLY),--only="$$ONLY")
SMOKE := NOISE_TO_DIGITS_MODE=smoke NOISE_TO_DIGITS_OUT="$$PWD/out/smoke"
SIDE := OMP_NUM_THREADS=1 $(SMOKE)
# The tests of a file stay together: they share fixtures.
EACH := -n "$$WORKERS" --maxprocesses=4 --dist=loadfile

.DEFAULT_GOAL := help
.PHONY: help ready setup run test test-fast test-long new lab start site open slides report train bench editions \
        execute check numbers links clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

# .installed is written last, so that an interrupted installation starts over; changed requirements install again.
# An environment without a working pip is made again in its place. A folder that is no environment is left alone,
# and one that cannot be made is removed only where there was nothing before.
ready:
	@mark="$$VENV/.installed"; newest=requirements.txt; test "$$CONSTRAINTS" -nt $$newest && newest="$$CONSTRAINTS"; \
	test -e "$$mark" && ! test "$$newest" -nt "$$mark" && exit; \
	fail() { echo "$$1"; exit 1; }; name="$${VENV#./}"; \
	test -n "$$name" || fail "VENV is empty: say VENV=a-folder, or leave it out for .venv"; \
	"$$PYTHON" -c 'import os, sys; v = sys.version_info[:2]; (3, 11) <= v <= (3, 13) or sys.exit( \
	  "Python 3.11 to 3.13 is needed, %s is %d.%d: say PYTHON=python3.12" % (os.environ["PYTHON"], *v))' \
	  || fail "no environment made: PYTHON=$$PYTHON does not do"; \
	printf '%s\n' "$$PIP_ARGS" | xargs true || fail "PIP_ARGS=$$PIP_ARGS: close the quote"; \
	works() { test -e "$$VENV/pyvenv.cfg" && $(PY) -m pip --version > /dev/null 2>&1; }; \
	there=$$(ls -A -d "$$VENV" 2> /dev/null); inside=$$(ls -A "$$VENV" 2> /dev/null || echo $$there); \
	test -z "$$inside" || test -e "$$VENV/pyvenv.cfg" \
	  || fail "$$name is there and is no environment: move it away, or say VENV=another-folder"; \
	echo "Setting up $$name (once, some minutes; 1.6 GB with a CPU build of torch, more than 5 GB with CUDA)"; \
	works || { "$$PYTHON" -m venv "$$VENV" && works; } || { \
	  test -z "$$there" || fail "$$name cannot be mended: move it away, or say VENV=another-folder"; \
	  rm -rf "$$VENV"; fail "$$PYTHON cannot make environments (on Debian and Ubuntu: apt install python3-venv)"; }; \
	driver() { test -e /proc/driver/nvidia/version || command -v nvidia-smi > /dev/null; }; \
	case "$$TORCH" in cpu) cpu=1;; cuda) cpu=;; "") test -n "$$PIP_ARGS" || test "$$(uname -s)" != Linux || driver || cpu=1;; \
	  *) fail "TORCH is cpu or cuda, not $$TORCH";; esac; \
	test -z "$$cpu" || grep -E '^torch(vision)?==' requirements.txt | xargs -r $(PY) -m pip install --quiet \
	  --disable-pip-version-check --retries 0 --timeout 15 --index-url $(CPU_INDEX) > /dev/null 2>&1 || echo \
	  "No CPU build of torch from $(CPU_INDEX): taking what pip finds elsewhere"; \
	printf '%s\n' "$$PIP_ARGS" "-r requirements.txt" | xargs $(PY) -m pip install --quiet \
	  --disable-pip-version-check $(if $(CONSTRAINTS),-c "$$CONSTRAINTS") && touch "$$mark"

setup: ready  ## make the environment in .venv, nothing else

run: ready  ## execute the notebooks into out/, then make the site: open out/index.html (ONLY=02 for one)
	@$(BUILD) run $(ONE)

test: ready  ## style, tests, and both editions in smoke mode
	@$(PY) -m ruff check . && $(PY) -m ruff format --check --quiet .
	@$(SIDE) $(PY) -m pytest $(EACH) --nbmake --nbmake-timeout=300 -m "not long" tests notebooks

test-long: ready  ## the tries of accidents and hostile input, which CI runs after make test
	@$(SIDE) $(PY) -m pytest $(EACH) -m long tests

test-fast: ready  ## style and the quick tests, in some minutes: what to run before each commit
	@$(PY) -m ruff check . && $(PY) -m ruff format --check --quiet .
	@$(SIDE) $(PY) -m pytest -q $(EACH) -m "not slow and not long" tests

lab: ready  ## open your copies (make start), or else the complete edition, in JupyterLab
	@shopt -s nullglob; first=(notebooks/00_*.ipynb my-work/00_*.ipynb); \
	$(PY) -m jupyter lab --ServerApp.root_dir="$$PWD" "$${first[@]: -1}"

start: ready  ## copy the student edition to my-work/; your answers are never overwritten
	@$(BUILD) start

site: ready  ## the site of the notebooks as they are saved: out/site, nothing is executed
	@$(BUILD) site

open: ready  ## show the site in a browser, digits alive too; Ctrl-C ends it
	@$(BUILD) open

slides: ready  ## the lecture's slides for a browser, offline: out/slides (ONLY=02 for one)
	@$(BUILD) slides $(ONE)

report: ready  ## judge a class's submissions: FROM=folder, page and table in out/report (SEED=7, ONLY=02, TRUST=1)
	@$(BUILD) report --from="$$FROM" $(if $(SEED),--seed="$$SEED") $(if $(TRUST),--trust) $(ONE)

train: ready  ## train what is missing or out of date in data/, hours; run it again to resume
	@$(PY) -m data.experiments

bench: ready  ## training and sampling speed on this machine
	@$(PY) -m data.experiments.bench

new: ready  ## the skeleton of a new notebook: NN=12 TITLE="Latent spaces"
	@$(BUILD) new -- "$$NN" "$$TITLE"

editions: ready  ## build both editions from notebooks/source (ONLY=02 for one)
	@$(BUILD) editions $(ONE)

execute: ready  ## execute what is stale and save the outputs (ONLY=02 for one)
	@$(BUILD) execute --stale $(ONE)

check: ready  ## name the notebooks that are out of step with their source or stale
	@$(BUILD) check $(ONE)

numbers: ready  ## rewrite the marked numbers and tables in prose (README, TEACHING, sources)
	@$(BUILD) numbers

links: ready  ## re-point badges and first cells: REPO=owner/name VERSION=tag
	@$(BUILD) links $(if $(REPO),--repository="$$REPO") $(if $(VERSION),--version="$$VERSION")

clean:  ## remove out/ (site, slides, grading), caches, debris of killed writes; keeps .venv and my-work/
	rm -rf out .pytest_cache .ruff_cache
	find . \( -path ./.git -o -path ./.venv \) -prune -o -name __pycache__ -prune -exec rm -rf {} + \
	  -o -type f -name '.*.part[0-9]*' -exec rm -f {} +
