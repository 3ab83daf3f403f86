# `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pin the packages and the build requirements alike, so that every machine gets the same versions.
PINS := PIP_CONSTRAINT=$(CURDIR)/constraints.txt PIP_BUILD_CONSTRAINT=$(CURDIR)/constraints.txt
INSTALLED := $(VENV)/.installed
DEMO := runs/demo
MINUTES ?= 30

.PHONY: help demo test coverage soak check pictures keywords format clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(INSTALLED) ## train on tunes for 90 seconds, then print what the network writes
	$(BIN)/charrnn train tunes --minutes 1.5 --out $(DEMO) --force
	$(BIN)/charrnn sample --model $(DEMO) --temperature 0.6 --length 1200
	@echo
	@echo to write with it in a browser: $(BIN)/charrnn serve --model $(DEMO) --open

# Every worker and every command under test would compile what it imports, if none kept it; and
# threads that wait for each other would take the processor from the other worker.
PYTEST := PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive $(BIN)/pytest \
	--numprocesses=auto --maxprocesses=4 --dist=worksteal

test: $(INSTALLED) ## run all tests
	$(PYTEST)

coverage: $(INSTALLED) ## run all tests and measure their coverage, which takes longer
	$(PYTEST) --cov --cov-report=term

soak: $(INSTALLED) ## run the fault tests in their long form, fuzz for MINUTES=30, print a table
	-$(PINS) $(BIN)/pip install --quiet --disable-pip-version-check '.[soak]'
	OMP_NUM_THREADS=1 $(BIN)/python tests/soak.py --minutes $(MINUTES)

check: $(INSTALLED) ## check format, lint and types without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

pictures: $(INSTALLED) ## draw tests/pictures with RUN=folder and TEXT=file; needs Chromium
	$(BIN)/python tests/benchmarks/pictures.py $(RUN) $(TEXT)

keywords: $(INSTALLED) ## write the types of Python's keyword arguments after a change of options
	$(BIN)/python tests/keywords.py

format: $(INSTALLED) ## format the code and sort imports
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment and caches, not the runs
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage* build dist

# Python compiles a module when it is first imported; to compile all, pip takes half as long again.
$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing charrnn and its packages into $(VENV): some minutes, once"
	$(PYTHON) -m venv $(VENV)
	$(PINS) $(BIN)/pip install --quiet --no-compile --disable-pip-version-check --editable '.[dev]'
	touch $@
