# make demo    see it work
# make test    run the tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEV := $(VENV)/.dev
DEMO := $(VENV)/.demo
WORKERS ?= 2
# Run without coverage: interrupts that hit its tracer leave the tracer's own lock taken, and figures are no tests of code.
UNTRACED := tests/races/test_interruption.py tests/races/test_resources.py tests/races/test_processes.py tests/benchmarks \
	tests/chaos tests/interleavings
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Every line must be covered where all services must be there; without a database some lines cannot be.
COVERED := $(if $(filter 1,$(AMOCRM_TEST_REQUIRE_SERVICES)),100,0)
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-emit-index-url --no-emit-find-links

.PHONY: help demo dev test test-all test-django6 test-long test-sqlalchemy20 services lint format types docs docs-serve bench \
	package lock clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/' | expand -t 14

$(DEMO): requirements/demo.txt requirements/build.txt requirements/uv.txt tools/venv.sh
	@[ -e $(DEV) ] && touch $@ || sh tools/venv.sh $(VENV) demo $(PYTHON)

$(DEV): requirements/dev.txt requirements/uv.txt tools/venv.sh pyproject.toml
	@sh tools/venv.sh $(VENV) dev $(PYTHON)

dev: $(DEV) ## make the virtual environment .venv for development

demo: $(DEMO) ## try it: a backend and a fake amoCRM on this machine, nothing to set up
	@$(BIN)/amocrm-userauth demo

test: $(DEV) services ## run the tests, with coverage
	@rm -f .coverage .coverage.*
	$(BIN)/pytest -q -n $(WORKERS) $(UNTRACED)
	$(BIN)/coverage run -m pytest -q -n $(WORKERS) $(addprefix --ignore=,$(UNTRACED))
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --fail-under=$(COVERED)

test-all: services ## run the tests on every supported Python found here
	@sh tools/test_all.sh

test-django6: services ## run the Django adapter's tests with Django 6, on Python 3.12 or 3.13
	@sh tools/test_django6.sh

test-long: $(DEV) services ## run also the tests that take minutes
	AMOCRM_TEST_LONG=1 $(BIN)/pytest -q --durations=10

test-sqlalchemy20: $(DEV) services ## run the tests of the stores with SQLAlchemy 2.0 as well
	@sh tools/other_sqlalchemy.sh

services:
	@sh tools/services.sh

lint: $(DEV) ## check style, layers, and that the generated code is up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python tools/unasync.py --check
	$(BIN)/lint-imports

# pyright finds the package through the python on the path
types: export PATH := $(CURDIR)/$(BIN):$(PATH)
types: $(DEV) ## check types
	$(BIN)/mypy
	$(BIN)/pyright
	$(BIN)/pyright --verifytypes amocrm_userauth --ignoreexternal

format: $(DEV) ## lay out the code and generate the sync half
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python tools/unasync.py

docs: $(DEV) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

bench: $(DEV) services ## run the benchmarks
	$(BIN)/python -m benchmarks

package: $(DEV) ## build sdist and wheel, and try the wheel in an empty environment
	@sh tools/package.sh $(BIN)

lock: $(DEV) ## choose newest versions anew, with the hashes of their files
	$(LOCK) --upgrade --all-extras --group dev pyproject.toml --output-file requirements/dev.txt
	$(LOCK) --extra demo --constraint requirements/dev.txt pyproject.toml --output-file requirements/demo.txt
	echo 'hatchling editables' | tr ' ' '\n' | $(LOCK) --constraint requirements/dev.txt - --output-file requirements/build.txt
	echo uv | $(LOCK) --upgrade - --output-file requirements/uv.txt
	sh tools/other_sqlalchemy.sh --lock

clean: ## remove what was built, but not the environments
	rm -rf dist site htmlcov .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
