# Two commands for everyone: `make lab` to learn, `make test` to check. Both set themselves up.
PYTHON ?= python3
BIN := .venv/bin
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup
ARGS ?=

.PHONY: help lab test test-all lessons models tables bench site lint clean

help:
	@echo "make lab      open the course in JupyterLab (ARGS=--no-browser, ARGS=--port=9000 pass through)"
	@echo "make test     install with test extras and run the tests that are quick"
	@echo "make test-all run every test: graded classes, attacks, browsers, a JupyterHub, too"
	@echo "make lessons  build instructor notebooks and releases from solutions/*/*.py"
	@echo "make models   train and write everything under data/models, data/adapters, data/suites"
	@echo "make tables   make every result table again, into data/tables (FULL=1: choices and trainings, too)"
	@echo "make bench    measure merging against mergekit and a plain copy, into data/benchmarks"
	@echo "make site     build the site of lessons, guides, tables and reference, into build/site"
	@echo "make lint     check format and style"

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; set PYTHON=python3.x")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip

# torch comes first, so that nothing else pulls in another build of it.
.venv/installed: $(BIN)/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[kernels]'
	@touch $@

.venv/installed-test: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[test,kernels]'
	@touch $@

.venv/hub/installed: .venv/installed-test
	npm install --silent --no-audit --no-fund --prefix .venv/hub configurable-http-proxy@5.3.0
	@touch $@

lab: .venv/installed
	$(BIN)/mergelab lab $(ARGS)

test: lint
	$(PYTEST) -m 'not gpu and not slow' $(ARGS)

test-all: lint .venv/hub/installed
	$(PYTEST) $(ARGS)

lessons: .venv/installed
	$(BIN)/mergelab lessons $(ARGS)

models: .venv/installed
	$(BIN)/python -m mergelab.zoo $(ARGS)

tables: .venv/installed
	$(BIN)/mergelab tables $(if $(FULL),--full) $(ARGS)

# Some twenty minutes and 14 GB of disk; the machine should have nothing else to do.
bench: .venv/installed-test
	$(BIN)/python tests/benchmarks/end_to_end.py --shapes 1b $(ARGS)
	$(BIN)/python tests/benchmarks/end_to_end.py --shapes 1b,3b --ours-only --methods ties $(ARGS)
	$(BIN)/python tests/benchmarks/precision.py --seeds 5
	$(BIN)/mergelab bench kernels --backend cpu --out data/benchmarks --name kernels_cpu

site: .venv/installed
	$(BIN)/pip install --quiet -c constraints.txt -e '.[site]'
	$(BIN)/python .site/build.py $(ARGS)

lint: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf .venv build dist
