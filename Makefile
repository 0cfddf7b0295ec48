# Mercato's commands. `make` lists them.

PYTHON ?= python3
UV_VERSION := 0.13.8
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup setup-engines demo up cluster test test-embedded test-split check fmt lint types coverage bench trace-picture snapshot \
  openapi client graphiql fuzz clean up-d down logs health migrate-up migrate-down api-docs test-coverage test-performance \
  load-test

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z%-]+:.*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything in it; instant when nothing has changed

$(STAMP): pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Mercato needs Python 3.11 or newer, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || echo missing)."; \
	  echo "Name another: make setup PYTHON=python3.12"; exit 1; }
	@echo "Installing into $(VENV) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet "uv==$(UV_VERSION)"
	@UV_PROJECT_ENVIRONMENT=$(VENV) $(BIN)/uv sync --frozen --inexact --all-extras --quiet --compile-bytecode
	@$(BIN)/python -m compileall -q src
	@touch $@

setup-engines: ## Install the servers and tools that tests and bench start and this machine lacks (Debian, as root)
	@tools/setup-engines

demo: setup ## Install, make sample data, run; prints addresses and logins
	@$(BIN)/mercato up --demo

up: setup ## Run the platform in one process
	@$(BIN)/mercato up

up-d: setup ## Run the platform in the background; its log and pid are in the data folder
	@$(BIN)/python -m tools.background up

down: setup ## Stop the platform that up-d started
	@$(BIN)/python -m tools.background down

logs: setup ## Follow the log of the platform that up-d started
	@$(BIN)/python -m tools.background logs

run-%: setup ## Run one service alone: run-users, run-notifications, ...
	@$(BIN)/mercato serve $*

health: setup ## Tell the health of the platform that runs
	@$(BIN)/python -m tools.background health

migrate-up: setup ## Bring the databases to the newest schema
	@$(BIN)/mercato migrate up

migrate-down: setup ## Take one schema back, which loses what it kept: SERVICE=users, TO=-1
	@$(BIN)/mercato migrate down --service "$(SERVICE)" --to "$(or $(TO),-1)"

cluster: setup ## Run a process per service with the demo, on private PostgreSQL, RabbitMQ and Redis
	@$(BIN)/python -m tools.cluster

# Each process starts engines of its own, so there are a few at most.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: setup ## Run every test, and those that share a platform once more in a process per service
	@$(BIN)/python -m pytest $(PARALLEL)
	@TEST_MODE=split $(BIN)/python -m pytest tests/system --shared-platform

test-embedded: setup ## Run the tests of the running platform, in one process
	@$(BIN)/python -m pytest tests/system

test-split: setup ## Run the same in a process per service; needs the engines
	@TEST_MODE=split $(BIN)/python -m pytest $(PARALLEL) tests/system

check: lint types ## Everything that is judged without running: style, types, imports, dependencies
	@$(BIN)/lint-imports
	@$(BIN)/deptry src

lint: setup ## Check style and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check

types: setup ## Check types
	@$(BIN)/mypy

fmt: setup ## Format, and mend what can be mended
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

coverage: setup ## Run every test and tell what they did not reach
	@$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered

test-coverage: coverage ## The same as coverage

bench: setup ## Measure against ceilings taken in the same run
	@$(BIN)/python -m bench

test-performance: bench ## The same as bench

load-test: setup ## Ask one URL of this machine for ten seconds: URL=http://127.0.0.1:8080/products
	@$(BIN)/python -m bench.load "$(URL)"

trace-picture: setup ## Draw docs/trace.svg anew: the trace of an order, over a process per service
	@$(BIN)/python -m tools.trace_picture --output docs/trace.svg

snapshot: setup ## Write each service's schema snapshot from its migrations
	@$(BIN)/python -m tools.snapshot

openapi: setup ## Print the OpenAPI document of the whole API
	@$(BIN)/mercato openapi

api-docs: setup ## Write the OpenAPI document to dist/openapi.json; /docs of the platform shows it
	@mkdir -p dist
	@$(BIN)/mercato openapi --output dist/openapi.json
	@echo "dist/openapi.json"

client: setup ## Make the Python client from the OpenAPI document
	@$(BIN)/python -m tools.client

graphiql: ## Bundle the page at /graphql from tools/graphiql; needs Node.js and npm's registry
	@cd tools/graphiql && npm ci --no-audit --no-fund --silent && npm run --silent build

fuzz: setup ## Send a running platform thousands of requests that its OpenAPI document allows and forbids
	@FUZZ_EXAMPLES=$${FUZZ_EXAMPLES:-100} FUZZ_SEED=$${FUZZ_SEED:-$$$$} $(BIN)/python -m pytest tests/system/test_openapi_fuzz.py

clean: ## Remove what the commands made, but not the data
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage htmlcov dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
