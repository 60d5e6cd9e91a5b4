# Everything that a person or CI runs. `make help` explains it.
#
#   make PYTHON=/path/to/python3 ...   uses that Python instead of the first that fits

VENV ?= .venv
BIN := $(VENV)/bin
DEMO_READY := $(VENV)/.ready
DEV_READY := $(VENV)/.ready-dev
WITH_PATH := PATH="$(abspath $(BIN)):$$PATH"
BENCH ?=
RUNS ?= 50
SEED ?= 1
JOBS ?= 2
DAYS ?= 31
CHAOS ?=
TESTS ?=
# A file's tests stay together: its servers are started once. Two cores have work for four processes, since
# much of it is waiting.
CORES ?= -n 4 --dist loadfile --no-loadscope-reorder

export PYTHON
# Where it is set, as in many containers, each process of the tests would compile all of them again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help venv dev demo test test-long test-dates test-live live services lint format bench chaos chaos-kills month simulate fleet docs lock package clean

##@ Start here

help: ## show this
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO_READY) ## back up 1,000 made-up secrets to three regions and bring them back (no root, no server)
	@$(WITH_PATH) strongroom demo

##@ Work on it

venv: $(DEMO_READY) ## make .venv with what Strongroom needs to run, hash-checked

dev: $(DEV_READY) ## make .venv with what its tests and linters need too

test: ## install what the tests drive, lint meanwhile, and run the tests (TESTS="-k name" for some, CORES= for one by one)
	@$(MAKE) --no-print-directory -j 2 live lint
	@$(WITH_PATH) python -m pytest $(CORES) --durations=20 $(TESTS)

test-long: live ## the tests that take hours: storms of kills, each value of each byte, 100,000 random backups, Ceph, containers
	@sh scripts/install-test-services ceph podman
	@$(WITH_PATH) python -m pytest $(CORES) --durations=20 -m long $(TESTS)
	@$(MAKE) --no-print-directory test-dates

test-dates: $(DEV_READY) ## of the others those without servers, at the ends of months and years and when clocks change
	@sh scripts/install-test-services faketime
	@$(WITH_PATH) python -m tests.dates -- $(CORES) $(TESTS)

test-live: live ## the part of them that drives OpenBao, S3, Azure, KMS and HSM servers, which it starts
	@$(WITH_PATH) python -m pytest $(CORES) tests/live $(TESTS)

# After the environment, which may have to install a part of Python with the same package manager.
services: $(DEV_READY) ## install Redis, PostgreSQL, SoftHSM and so on, or say what is missing
	@sh scripts/install-test-services

live: $(DEV_READY) services ## install the servers that tests/live starts and that need an environment of their own
	@sh scripts/install-live-servers $(BIN)/python

lint: $(DEV_READY) ## style, types, which package may import which, links, and plain words
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(WITH_PATH) lint-imports --no-logo
	@$(BIN)/python scripts/check_docs.py
	@$(BIN)/python scripts/check_words.py

format: $(DEV_READY) ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

##@ Find out more

bench: live ## measure beside restic, borg and age, 15 minutes; writes scripts/bench/results (BENCH="--million --celery --record --merge", "--help")
	@sh scripts/install-test-services restic borg age strace
	@$(WITH_PATH) python -m scripts.bench $(BENCH)

chaos: services ## RUNS=50 backups from SEED=1 on while processes, servers and disks fail, JOBS=2 at once
	@$(WITH_PATH) python -m tests.chaos.series --runs $(RUNS) --seed $(SEED) --jobs $(JOBS) $(CHAOS)

chaos-kills: services ## the same with kills alone, of each kind of process, and large backups; takes an hour
	@$(WITH_PATH) python -m tests.chaos --runs $(RUNS) --seed $(SEED) --lanes $(JOBS) $(CHAOS)

month: services ## DAYS=31 of a live cluster in minutes, with kills, an absent region and damage; takes root, and gcc
	@$(WITH_PATH) python -m tests.chaos.month $(SEED) $$(mktemp -du) --days $(DAYS)

simulate: $(DEV_READY) ## RUNS=50 simulated years from SEED=1 on, about a second each, in which everything fails at times, JOBS=2 at once
	@$(WITH_PATH) python -m tests.simulation --runs $(RUNS) --seed $(SEED) --jobs $(JOBS)

fleet: $(DEV_READY) ## how far one backup goes, by simulation: up to 1,000,000,000 secrets on 1,000 workers; takes some minutes
	@$(WITH_PATH) python -m tests.simulation.fleet

docs: $(DEV_READY) ## build the site of the documents into build/site, without a network
	@$(BIN)/python scripts/check_docs.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The site is in build/site. With its search: python3 -m http.server --directory build/site"

##@ Keep it in order

lock: $(DEV_READY) ## resolve requirements/*.lock again from pyproject.toml
	@$(WITH_PATH) sh scripts/lock

package: $(DEV_READY) ## build the wheel and the source package of this commit into dist, with digests and provenance
	@$(WITH_PATH) python scripts/package.py dist

clean: ## remove everything that make made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- the environment: made again whenever the locks, the project's metadata or the maker change --

$(DEMO_READY): requirements/base.lock pyproject.toml scripts/make_venv.py
	@"$$(sh scripts/find-python)" scripts/make_venv.py $(VENV) requirements/base.lock
	@touch $@

$(DEV_READY): requirements/dev.lock pyproject.toml scripts/make_venv.py
	@"$$(sh scripts/find-python)" scripts/make_venv.py $(VENV) requirements/dev.lock
	@touch $(DEMO_READY) $@
