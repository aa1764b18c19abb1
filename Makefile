# Every chore of this repository; `make` alone lists them. A target sets up what it needs in $(VENV)
# by itself, and again only after pyproject.toml or constraints.txt have changed.

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
ARGS   ?=
# Keras' own default, where it has wheels: TensorFlow publishes none for Python 3.14 yet.
BACKEND ?= $(shell $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 14))' 2>/dev/null && echo jax || echo tensorflow)

BIN     := $(VENV)/bin
INSTALL  = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
INPUTS  := pyproject.toml constraints.txt
# The wheel without GPU kernels: smaller, and the same on a CPU.
EXTRA    = $(BACKEND:tensorflow=tensorflow-cpu)

export TF_CPP_MIN_LOG_LEVEL ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo tutorials parity zoo export-matrix performance test test-tensorflow test-jax test-torch lint types fmt hooks docs docs-test clean distclean

help:  ## this list
	@sed -n 's/^\([a-z][a-z -]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | while IFS='	' read -r names text; do \
	    printf '  %-44s %s\n' "make $$(echo $$names | sed 's/ / | /g')" "$$text"; done
	@echo 'Variables: PYTHON, VENV, BACKEND (demo), JOBS (tests at once), ARGS (for pytest: ARGS="-k convit")'

demo: $(VENV)/.demo-$(BACKEND)  ## compare a ConvNet, a ViT and a hybrid on scanned digits, a minute each, and write a report
	KERAS_BACKEND=$(BACKEND) $(BIN)/keras-vitcnn compare --models ConvNeXtAtto,ViTTiny16,ConViTTiny \
	    --data digits --minutes-per-model 1 --width-multiplier 0.25 --batch-size 32 --out runs/first
	@echo 'The report: $(CURDIR)/runs/first/report.html'

test: $(VENV)/.test  ## lint, types, and all tests on TensorFlow, JAX and PyTorch
	@$(BIN)/python scripts/check.py --jobs $(JOBS) lint types tensorflow jax torch -- $(ARGS)

test-tensorflow test-jax test-torch: test-%: $(VENV)/.test  ## all tests on one backend
	@$(BIN)/python scripts/check.py --jobs $(JOBS) $* -- $(ARGS)

lint types: $(VENV)/.test  ## ruff (lint and format), mypy
	@$(BIN)/python scripts/check.py $@

fmt: $(VENV)/.test  ## rewrite the code as ruff wants it
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

hooks: $(VENV)/.test  ## run these checks at every commit
	@$(BIN)/pre-commit install

tutorials: $(VENV)/.test  ## run every notebook in its FAST mode; ARGS="--write 3" runs one in full and keeps its outputs
	@$(BIN)/python scripts/tutorials.py $(ARGS)

parity: $(VENV)/.test  ## compare every published variant with timm and write docs/parity.md (an hour)
	@$(BIN)/python scripts/parity.py $(ARGS)

zoo: $(VENV)/.test  ## write docs/zoo*: costs, weights and published accuracy of every model
	@$(BIN)/python scripts/zoo_page.py

export-matrix: $(VENV)/.test  ## write docs/export.md: every family in every format; ARGS="PHOTOS DEIT", see the script
	@$(INSTALL) -e '.[export]'
	@$(BIN)/python scripts/export_matrix.py $(ARGS)

performance: $(VENV)/.test  ## time the models beside other libraries' and write docs/performance.md (hours; a quiet machine)
	@$(INSTALL) --no-deps -r benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.peers $(ARGS)

docs: $(VENV)/.docs  ## build the site into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

docs-test: docs $(VENV)/.docs-test  ## open every page of it in Chromium; screenshots in build/screenshots
	@$(BIN)/python -m pytest -q site_tests $(ARGS)

clean:  ## remove caches and built files, keep the environment and the runs
	@rm -rf build dist site .pytest_cache .ruff_cache .mypy_cache .hypothesis
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print | xargs rm -rf

distclean: clean  ## remove the environment too
	@rm -rf $(VENV)

# pip comes last into a new environment, so an interrupted one is made again.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	    { echo 'keras_vitcnn needs Python >= 3.11; choose one with: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo 'This Python has no venv module; on Debian and Ubuntu: apt install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo-%: $(INPUTS) | $(BIN)/pip
	@echo 'Installing keras_vitcnn with $(BACKEND) into $(VENV), a minute or two ...'
	@$(INSTALL) -e '.[$(EXTRA),data,plot]'
	@touch $@

$(VENV)/.test: $(INPUTS) | $(BIN)/pip
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))' || \
	    { echo 'TensorFlow has no wheels for this Python yet: make distclean test PYTHON=python3.13' >&2; exit 1; }
	@echo 'Installing keras_vitcnn, its three backends and the tools into $(VENV), a few minutes ...'
	@$(INSTALL) -e '.[tensorflow-cpu,jax,torch,data,plot,export,search,tutorials,keras-cv,test]'
	@touch $@

$(VENV)/.docs: $(INPUTS) | $(BIN)/pip
	@$(INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.docs-test: $(INPUTS) | $(BIN)/pip
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || \
	    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; }
	@command -v chromium >/dev/null || \
	    { echo 'These tests need Chromium; on Debian: apt install chromium' >&2; exit 1; }
	@$(INSTALL) -e '.[docs,docs-test]'
	@touch $@
