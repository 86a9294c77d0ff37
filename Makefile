# Two commands matter: `make demo` and `make test`. Both prepare what they need.
.PHONY: help setup setup-test demo test bench lint types unit fuzz lock clean
.NOTPARALLEL:

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/ —/'

setup:           ## prepare .venv for running
	@sh deploy/dev/setup.sh run

setup-test:      ## prepare .venv, servers and the browser for the tests
	@sh deploy/dev/setup.sh test

demo: setup      ## run the whole product on this machine, with synthetic patients (options: ARGS="--port 8080")
	@.venv/bin/gateway demo $(ARGS)

test: setup-test lint types unit  ## everything that must be true

bench: setup-test ## measure everything side by side; QUICK=1 takes less than four minutes (docs/performance.md)
	@sh deploy/dev/bench.sh
	@.venv/bin/python -m bench $(if $(filter-out 0,$(QUICK)),--quick) $(ARGS)

lint:            ## style and import rules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports

types:           ## mypy, strict
	.venv/bin/mypy

# One more than cores: many tests wait for a server, a browser or a time limit. A process that crashes ends the run: what replaced
# it would wait for ever.
JOBS = $(shell expr $$(nproc) + 1)

unit:            ## the tests alone, on all cores (options: JOBS=0 for one process, PYTEST_ARGS="tests/unit -k route")
	.venv/bin/python -m pytest -n $(JOBS) --maxprocesses 8 --max-worker-restart 0 --dist loadfile $(PYTEST_ARGS)

fuzz:            ## fuzz the canonicaliser and the head readers, each for so long (options: SECONDS=60)
	.venv/bin/python -m tests.fuzz --seconds $(or $(SECONDS),60)

lock:            ## renew deploy/locks/ from pyproject.toml
	@sh deploy/dev/lock.sh

clean:           ## remove what setup, the tests and the demo made
	rm -rf .venv .gateway-demo test-artefacts build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
