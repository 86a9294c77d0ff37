# Two commands matter: `make demo` and `make test`. Both prepare what they need.
.PHONY: setup setup-test demo test lint types unit clean help

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/ —/'

setup:           ## prepare .venv for running
	@sh deploy/dev/setup.sh run

setup-test:      ## prepare .venv, servers and the browser for the tests
	@sh deploy/dev/setup.sh test

demo: setup      ## run the whole product on this machine, with synthetic patients
	@.venv/bin/gateway demo $(ARGS)

test: setup-test lint types unit  ## everything that must be true

lint:
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports

types:
	.venv/bin/mypy

unit:
	.venv/bin/python -m pytest $(PYTEST_ARGS)

clean:           ## remove what setup and the demo made
	rm -rf .venv .gateway-demo test-artefacts build *.egg-info
