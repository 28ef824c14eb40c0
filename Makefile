# `make demo` and `make test` set up what they need in .venv: no root, no Docker, no server.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Images of containers often set it: then each of the hundreds of processes that tests start compiles our modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint soak bench audit lock release clean

help:  ## show what there is to make
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 8

setup: $(VENV)/.ready  ## install everything into .venv

$(VENV)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "Python 3.11 to 3.13 is needed, $$($(PYTHON) --version) was found: make PYTHON=/path/to/python3.12 ..."; exit 2; }
	@echo "Installing into $(VENV): a minute or two, once."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

demo: setup  ## the whole system, on computer-generated specimens; KEEP=1 leaves it running, to look at the pages
	@$(BIN)/pneumoscreen demo --home demo-home $(if $(KEEP),--keep)

WORKERS ?= 5
PYTEST := $(BIN)/pytest --dist loadfile --no-loadscope-reorder  # in the order of tests/plan.py

test: setup lint  ## every check and every test but the long forms in `make soak`; 17 to 20 minutes on two cores
	$(PYTEST) -n $(WORKERS) --durations=25  # more workers than there are cores: most of them wait

check: setup lint  ## in a minute: lint and unit tests; not those with PostgreSQL, a network or many processes, and no running system
	$(PYTEST) -n 2 -q -m "not (soak or slow or postgresql)" tests/unit

lint: setup  ## ruff, mypy and the floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

soak: setup  ## for a nightly run: break everything, again and again, for MINUTES=60, and all that `make test` leaves out
	$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),60)

bench: setup  ## measure everything on this machine, for about 70 minutes; on IMAGES=DIR, else on specimens; beside AGAINST=PYTHON
	$(BIN)/pneumoscreen bench $(if $(IMAGES),--images $(IMAGES)) $(if $(AGAINST),--against $(AGAINST)) --only all --rounds 5 --out bench-out

audit: setup  ## known weaknesses of the locked dependencies (needs the network)
	@$(BIN)/python .ci/audit.py

lock:  ## write requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --extra network --extra courier --extra trainer --extra parquet --extra postgresql --extra imagecodecs --extra mlflow --group test --universal \
		--python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -o requirements.lock

release: setup  ## build, try and tag VERSION=x.y.z on main, into dist/; DRY_RUN=1 tags nothing, SKIP=tests tests nothing
	@$(BIN)/python .ci/release.py "$(VERSION)"

clean:  ## remove what make made
	rm -rf $(VENV) demo-home dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
