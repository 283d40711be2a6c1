# Everything needs only Python 3.11 and make; the first target run builds the environment from the hashed lock.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Two a core: a test of the service waits half of its time for a server, a database or a process it has started.
WORKERS ?= $(shell expr 2 \* $$(getconf _NPROCESSORS_ONLN))

# Tests start interpreters by the hundred, each of which would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test test-all lowest peers check sbom digests bench bench-all lock clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

run: $(READY) ## set up and run the demo: service, tenants and simulated traffic
	$(BIN)/callscope demo

test: $(READY) ## set up and run the suite of every change, on all cores: minutes
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m "not endurance and not peers"

test-all: $(READY) ## the same with real programs, endurance and coverage
	$(BIN)/pytest -n auto --dist loadgroup --cov --cov-report=term

lowest: $(READY) ## run the library's and the API's tests on the lowest versions that pyproject.toml allows
	./tests/packaging/lowest.sh

check: $(READY) ## lint, format, types, import direction, generated documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m telemetry.semconv.documentation --check

sbom: $(READY) ## write the bill of materials (CycloneDX) and the licences of what an image holds into dist/
	$(BIN)/python tests/packaging/bill_of_materials.py dist

digests: $(READY) ## pin the images that Compose, the Dockerfile and Kubernetes name by digest: REGISTRY=https://… says whom to ask
	$(BIN)/python tests/packaging/image_digests.py $(REGISTRY)

bench: $(READY) ## measure against the plain SDK and a bare gateway, and write docs/performance.md: ten minutes
	$(BIN)/python -m benchmarks.suite

bench-all: $(READY) ## the same with those that take long: a million records, a Collector away, 3,000 talking calls, fleets under faults
	$(BIN)/python -m benchmarks.suite --long

peers: ## bring the real programs the tests run against: Collector, Prometheus, Alertmanager, Redis and more
	./tests/peers/install.sh

lock: $(READY) ## resolve the dependencies again
	$(BIN)/uv pip compile --universal --python-version 3.11 --prerelease if-necessary-or-explicit --generate-hashes \
		--no-emit-index-url --no-header --quiet --extra fleet pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --prerelease if-necessary-or-explicit --generate-hashes \
		--no-emit-index-url --no-header --quiet --extra fleet --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock

clean: ## remove what the targets above made
	rm -rf $(VENV) .coverage htmlcov .hypothesis .mypy_cache .pytest_cache .ruff_cache

$(READY): requirements-dev.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
