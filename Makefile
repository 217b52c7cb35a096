# Each target sets itself up in .venv, and installs again only after a change of pyproject.toml or
# constraints.txt. PYTHON names the interpreter: make demo PYTHON=python3.12
# ARGS goes to pytest, or to the benchmarks: make test ARGS="tests/envs -k xor", make bench ARGS=--quick

PYTHON ?= python3
VENV := .venv
CONSTRAINTS := constraints.txt
BIN := $(VENV)/bin
INSTALL := -m pip install --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: help demo test test-lowest test-ray bench lint docs release-check clean
.DEFAULT_GOAL := help

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1|/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-21s%s\n", $$1, $$2}'

demo: $(VENV)/.installed ## Install, and train on MNIST from the scalar loss alone
	$(BIN)/nodepert train MNIST-v0 --out runs/demo --overwrite

# One worker a core with one thread each: the networks are small, so a second thread in one test
# gains less than a second test beside it, and workers with many threads would crowd each other.
# Each worker imports torch, hence the limit. The tests of one file share a worker and its fixtures.
test: $(VENV)/.installed-dev ## Run the test suite
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 8 --dist loadfile $(ARGS)

test-lowest: ## Run the test suite with the oldest supported versions
	$(MAKE) test VENV=.venv-lowest CONSTRAINTS=constraints-lowest.txt

test-ray: $(VENV)/.installed-dev ## Install Ray, and run the tests that need it
	$(BIN)/python $(INSTALL) -e '.[ray]'
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/agents/distributed/test_ray.py tests/agents/executors/test_ray.py \
		tests/agents/cli/test_compare.py::test_same_on_ray $(ARGS)

# One run at a time, so that seconds can be compared. A suite that was cut off goes on.
bench: $(VENV)/.installed-dev ## Compare with other learners on every loss task: hours; ARGS=--quick: a minute
	OMP_NUM_THREADS=1 $(BIN)/python examples/benchmarks/suite.py $(ARGS)

lint: $(VENV)/.installed-dev ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-docs ## Build the documentation in build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

release-check: $(VENV)/.installed ## Build sdist and wheel, and try the wheel in an empty environment
	rm -rf dist
	$(BIN)/python $(INSTALL) -e '.[release]'
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	place=$$(mktemp -d) && trap 'rm -rf "$$place"' EXIT INT TERM && \
	$(BIN)/python -m venv "$$place/venv" && \
	"$$place/venv/bin/python" $(INSTALL) dist/*.whl && \
	cp .ci/import_all.py "$$place" && cd "$$place" && \
	venv/bin/python import_all.py "$$(venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && \
	venv/bin/nodepert envs && \
	venv/bin/nodepert train DelayedXOR-v0 --steps 2000 --out run && \
	venv/bin/nodepert evaluate run/model.zip

clean: ## Remove .venv, builds and caches, but not runs/
	rm -rf $(VENV) .venv-lowest build dist nodepert.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# A stamp is written when all before it went well, so an interrupted install starts again.
$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python $(INSTALL) -e '.[dev]'
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(BIN)/python $(INSTALL) -e '.[docs]'
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml $(CONSTRAINTS)
	$(BIN)/python $(INSTALL) -e .
	@touch $@

$(VENV)/.created:
	@command -v $(PYTHON) >/dev/null || { echo 'error: $(PYTHON) not found; install Python 3.10 or newer, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "error: nodepert needs Python 3.10 or newer, but $(PYTHON) is $$($(PYTHON) -V 2>&1); name another: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo 'error: $(PYTHON) has no venv module; install it (on Debian and Ubuntu: apt install python3-venv)' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@
