# Vedette: the commands a person needs. Everything sets itself up first, in a virtual environment of its own.
PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
VENV ?= .venv-$(VERSION)
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The tools that our tools call (protoc's plugins, buf) are those of the environment, whatever else the machine has.
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Two processors are what we promise to be content with.
WORKERS ?= 2

.PHONY: help compiled demo test test-all bench lint generate lock clean

help: ## what can be done here
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Vedette needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.11" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@echo "setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

# Python may be told not to keep what it compiles; then every process that starts would compile all of it again.
compiled: $(READY)
	@$(BIN)/python -m compileall -q broker certs nations protos/vedette

demo: compiled ## three nations, one hub, a launch over Japan: the whole way of a message, live
	@$(BIN)/vedette demo $(DEMO)

lint: $(READY) ## formatting, lint, types, import contracts, generated code, protocol
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python protos/generate.py --check
	@$(BIN)/buf lint protos

test: compiled lint ## everything that must hold after every commit (under ten minutes on two cores)
	@$(BIN)/python -m pytest -n $(WORKERS) -m "not slow" $(PYTEST)

test-all: compiled lint ## the same and the slow suites
	@$(BIN)/python -m pytest -n $(WORKERS) $(PYTEST)

bench: compiled ## latency beside a bare relay, policies, fusion (BENCH=policy or fusion: only that); writes out/bench.json
	@$(BIN)/python -m tests.bench $(BENCH)

generate: $(READY) ## write the Python side of protos/
	@$(BIN)/python protos/generate.py

lock: $(READY) ## remake requirements.lock from pyproject.toml (needs uv)
	@uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra dev --extra prove pyproject.toml -o requirements.lock
	@sed -i '1i # Exact versions and hashes of everything that the project runs and tests with; no addresses. Remade by `make lock`.' requirements.lock

clean: ## remove what was made here
	rm -rf .venv-* out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
