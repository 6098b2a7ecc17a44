# Every target works on a fresh clone with only Python >= 3.11 and make.
#
#   PYTHON  the interpreter, e.g. make test PYTHON=python3.13; the default's environment is .venv, another's .venv-3.13
#   ARGS    more arguments for demo.py or pytest, e.g. make test ARGS="-k memory"
#   JOBS    processes that share the tests
#   BYTES   size of the text of make corpus
#   DATA    folder of the sets of make finetune

version = $(if $(1),$(shell $(1) -c \
	'import sys; v = sys.version_info; v >= (3, 11) and print("%d.%d.%d" % v[:3])' 2>/dev/null))
FOUND := $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PYTHON ?= $(or $(FOUND),python3)
JOBS ?= 2
BYTES ?= 1e9

VERSION := $(call version,$(PYTHON))
# `basename` cuts the last number: one environment for each minor version, whatever its interpreter is called.
VENV := .venv$(if $(filter $(basename $(VERSION)),$(basename $(call version,$(FOUND)))),,-$(basename $(VERSION)))
INSTALLED := $(VENV)/installed-$(VERSION)
TOOLS := $(VENV)/tools-$(VERSION)
PARITY := $(VENV)/parity-$(VERSION)
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check
TOO_OLD = Orderly needs Python 3.11 or newer, and "$(PYTHON)" is none: name one with PYTHON=/path/to/python

.PHONY: help demo corpus finetune test soak parity fuzz lint tools compared clean

help:
	@echo "make demo   train tiny BERT, GPT and XLNet side by side, and report on them"
	@echo "make corpus make and tokenize a corpus of BYTES bytes, and measure that"
	@echo "make finetune DATA=DIR  pretrain BERT, GPT and XLNet, and see on tasks what that is worth; hours"
	@echo "make test   run the tests"
	@echo "make soak   kill a trainer twenty times at random moments, and compare with one that was left alone"
	@echo "make parity install Hugging Face's PyTorch models and run the tests that compare with them"
	@echo "make fuzz   hand thousands of bad inputs to everything that reads"
	@echo "make lint   check style, types and spelling"
	@echo "make clean  remove the environments and every cache in this folder; runs stay"

demo: $(INSTALLED)
	@$(BIN)/python demo.py $(ARGS)

corpus: $(INSTALLED)
	@$(BIN)/python -m benchmarks.corpora --bytes=$(BYTES) $(ARGS)

finetune: $(INSTALLED)
	@$(BIN)/python -m benchmarks.transfer --data="$(DATA)" $(ARGS)

test: $(TOOLS)
	@$(BIN)/python -m pytest -q -rs -n $(JOBS) --dist worksteal $(ARGS)

soak: $(TOOLS)
	@ORDERLY_KILLS=20 $(BIN)/python -m pytest -q -rs tests/test_soak.py $(ARGS)

# Compiled by XLA's default emitters, which the other tests are too many for (tests/conftest.py).
parity: $(PARITY)
	@XLA_FLAGS=--xla_backend_optimization_level=0 \
		$(BIN)/python -m pytest -q -rs -n $(JOBS) --dist worksteal tests/test_parity_*.py tests/test_*_tokenizers.py $(ARGS)

fuzz: $(TOOLS)
	@ORDERLY_FUZZ=2000 $(BIN)/python -m pytest -q -rs -n $(JOBS) --dist worksteal tests/test_fuzz.py $(ARGS)

lint: $(TOOLS)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/codespell

# What .ci/run installs ahead of its use.
tools: $(TOOLS)
compared: $(PARITY)

# The environment is a function of setup.py and the interpreter's version: when either changes, it is made anew.
$(INSTALLED): setup.py
	$(if $(VERSION),,$(error $(TOO_OLD)))
	@echo "Installing the dependencies for Python $(VERSION) into $(VENV), once: about a minute."
	@$(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(TOOLS): $(INSTALLED)
	@echo "Installing what tests and lint need."
	@$(INSTALL) --editable '.[dev]'
	@touch $@

$(PARITY): $(TOOLS)
	@echo "Installing what the parity tests compare with: PyTorch and transformers."
	@$(INSTALL) --editable '.[parity]'
	@touch $@

clean:
	rm -rf .venv .venv-3.* build *.egg-info .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
