# The commands of a developer. `make` alone prints the list.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:

# Both are set on the command line only: make test PYTHON=python3.12 ARGS='-k wheel'.
PYTHON := python3
ARGS :=

# One environment per Python: .venv for the default one, .venv-3.12 for `make test PYTHON=python3.12`.
VENV := $(if $(filter python3,$(PYTHON)),.venv,.venv-$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'))
BIN := $(VENV)/bin
READY := $(VENV)/.ready
FLOORS := $(VENV)-floors

# Variables of the caller's shell must not change imports or pip.
unexport PYTHONPATH PYTHONHOME PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_USER
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
# Without this, pyright checks the network for a newer version.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

PYTEST_ARGS := -q -n auto --maxprocesses 4 --dist worksteal
PYTEST = $(BIN)/python -m pytest $(PYTEST_ARGS)
# Tests of single modules. The other folders start applications, kill processes and search for leaks.
FAST := tests/automagik_telemetry tests/processors tests/test_repository.py -m 'not slow'
# These trace or time processes, which coverage would disturb.
UNTRACED := --ignore tests/faults/test_interrupts.py --ignore tests/bench

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
	@echo "With another Python: make test PYTHON=python3.12; some tests: make test ARGS='tests/packaging -k wheel'"

.PHONY: demo
demo: $(READY) ## Run an example application with a local collector, and show its report
	@$(BIN)/automagik-telemetry demo $(ARGS)

.PHONY: test
test: $(READY) ## Run the tests
	@$(PYTEST) $(ARGS)

.PHONY: test-fast
test-fast: $(READY) ## Run the quick tests: about a minute on two cores
	@$(PYTEST) $(FAST) $(ARGS)

.PHONY: test-long
test-long: $(READY) ## Run the tests with many more generated examples
	@$(PYTEST) --hypothesis-profile=long --timeout=1800 $(ARGS)

.PHONY: coverage
coverage: $(READY) ## Run the tests with coverage of lines and branches, and print the percentage
	@rm -f .coverage*
	@$(BIN)/python -m coverage run -m pytest $(PYTEST_ARGS) $(UNTRACED) $(ARGS)
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report --sort=cover

.PHONY: soak
soak: $(READY) ## Kill processes and fail requests for two minutes, and check the count of every event
	@$(BIN)/python -m tests.faults.soak $(ARGS)

.PHONY: check
check: $(READY) $(FLOORS)/.ready ## Lint, check format, types and imports; run the fast tests with the oldest dependencies
	@failed=0; \
	$(BIN)/ruff check --quiet . || failed=1; \
	$(BIN)/ruff format --check --quiet . || { failed=1; echo "Not formatted; run: make format"; }; \
	$(BIN)/mypy --no-error-summary || failed=1; \
	types=$$($(BIN)/pyright --pythonpath $(BIN)/python) || { failed=1; echo "$$types"; }; \
	$(BIN)/python -m pip check --quiet || failed=1; \
	imports=$$($(BIN)/lint-imports --no-logo) || { failed=1; echo "$$imports"; }; \
	$(FLOORS)/bin/python -m pip check --quiet || failed=1; \
	echo "Fast tests with the oldest dependencies:"; \
	$(FLOORS)/bin/python -m pytest $(PYTEST_ARGS) $(FAST) || failed=1; \
	if [ $$failed = 0 ]; then echo "All checks passed."; fi; exit $$failed

.PHONY: format
format: $(READY) ## Format the code and apply ruff's fixes
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

.PHONY: bench
bench: .venv-bench/.ready ## Compare the speed with other clients, and list the goals that are missed
	@.venv-bench/bin/python -m tests.bench $(ARGS)

.PHONY: docs
docs: $(READY) ## Generate the generated pages and modules
	@$(BIN)/python docs/generate.py

.PHONY: api
api: $(READY) ## Write the list of public names anew, after a change that applications may see
	@$(BIN)/python -m tests.public_api

.PHONY: lock
lock: ## Renew the pinned versions of all dependencies
	@$(PYTHON) -m venv --clear .venv-lock
	@.venv-lock/bin/python -m pip install -q uv
	@.venv-lock/bin/uv pip compile --quiet pyproject.toml --group dev --extra collector --extra demo --upgrade \
		--universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --output-file .ci/requirements.txt
	@.venv-lock/bin/uv pip compile --quiet pyproject.toml --extra collector --extra demo --extra prices --no-deps \
		--resolution lowest-direct --universal --python-version 3.11 --no-annotate --no-emit-index-url \
		--no-emit-find-links --output-file .venv-lock/floors.txt >/dev/null
	@cp .ci/requirements.txt .ci/floors.txt # other packages keep these versions if possible
	@.venv-lock/bin/uv pip compile --quiet pyproject.toml --group fast --extra collector --extra demo --extra prices \
		--constraint .venv-lock/floors.txt \
		--universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --output-file .ci/floors.txt
	@.venv-lock/bin/uv pip compile --quiet pyproject.toml --group bench --constraint .ci/requirements.txt --upgrade \
		--universal --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --no-emit-find-links \
		--custom-compile-command 'make lock' --output-file tests/bench/requirements.txt
	@rm -rf .venv-lock

.PHONY: audit
audit: ## Check pinned and oldest dependencies for known vulnerabilities, over the network
	@$(PYTHON) -m venv --clear .venv-audit
	@.venv-audit/bin/python -m pip install -q pip-audit
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement .ci/requirements.txt
	@.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement .ci/floors.txt
	@rm -rf .venv-audit

.PHONY: clean
clean: ## Remove all generated files and environments
	@rm -rf .venv .venv-* dist .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment is rebuilt if the pins change, and the project is reinstalled if pyproject.toml changes.
$(VENV)/.pins: .ci/setup .ci/requirements.txt
	@.ci/setup $(PYTHON) $(VENV)
	@touch $@

$(READY): $(VENV)/.pins pyproject.toml
	@$(BIN)/python -m pip install -q --no-index --no-build-isolation --no-deps --editable .
	@touch $@

# The lowest version of each dependency that pyproject.toml admits.
$(FLOORS)/.pins: .ci/setup .ci/floors.txt
	@.ci/setup $(PYTHON) $(FLOORS) .ci/floors.txt
	@touch $@

$(FLOORS)/.ready: $(FLOORS)/.pins pyproject.toml
	@$(FLOORS)/bin/python -m pip install -q --no-index --no-build-isolation --no-deps --editable .
	@touch $@

# The other clients that `make bench` measures have an environment of their own.
.venv-bench/.ready: .ci/setup tests/bench/requirements.txt
	@.ci/setup $(PYTHON) .venv-bench tests/bench/requirements.txt
	@echo 'import sys; sys.path[:0] = ["$(CURDIR)", "$(CURDIR)/processors"]' \
		>"$$(.venv-bench/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/checkout.pth"
	@touch $@
