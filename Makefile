# make help says what there is.

PYTHON ?= python3
VENV ?= .venv
MODEL ?= CpRecNextItNet
DATASET ?= ml-100k

BIN := $(VENV)/bin
# Written last, so an interrupted installation is taken up again.
ENVIRONMENT := $(VENV)/complete
# The tests' tensors are small: one thread each leaves the cores to the processes that tests start.
ONE_THREAD := OMP_NUM_THREADS=1
# Files are shared out whole: what a module trains once serves all its tests.
IN_PARALLEL := --numprocesses=logical --maxprocesses=4 --dist=loadfile

.DEFAULT_GOAL := help
.PHONY: help environment run test test-slow coverage lint format wheel wheel-check clean distclean

help:
	@echo "make run          train, evaluate and report $(MODEL) on $(DATASET)"
	@echo "                  (MODEL=SASRec DATASET=... ARGS='--epochs=3' choose others)"
	@echo "make test         the default test suite and the examples in the docstrings"
	@echo "make test-slow    the tests that take longer"
	@echo "make coverage     the default suite, and which lines it does not reach"
	@echo "make lint         style and types"
	@echo "make format       puts style right"
	@echo "make wheel        builds dist/*.whl"
	@echo "make wheel-check  installs that wheel in an empty environment and runs a model from it"
	@echo "make clean        removes what was built, cached or logged"
	@echo "make distclean    and the environment $(VENV)"
	@echo "Any of them first makes $(VENV); PYTHON=python3.12 chooses with which Python."

# Asked when the recipe is about to run, not before: `make help` needs no Python.
PROBLEM = $(shell ($(PYTHON) tools/make_environment.py --check || true) 2>&1)

$(ENVIRONMENT): constraints.txt setup.cfg tools/make_environment.py
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@$(PYTHON) tools/make_environment.py $(VENV)

environment: $(ENVIRONMENT)

run: $(ENVIRONMENT)
	@$(BIN)/python run_recbole_compress.py --model=$(MODEL) --dataset=$(DATASET) $(ARGS)

test: $(ENVIRONMENT)
	@$(ONE_THREAD) $(BIN)/python -m pytest -q $(IN_PARALLEL) $(ARGS)

test-slow: $(ENVIRONMENT)
	@$(ONE_THREAD) $(BIN)/python -m pytest -q -m slow $(ARGS)

coverage: $(ENVIRONMENT)
	@$(ONE_THREAD) $(BIN)/python -m coverage run -m pytest -q $(ARGS)
	@$(BIN)/python -m coverage report

lint: $(ENVIRONMENT)
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .
	@$(BIN)/mypy

format: $(ENVIRONMENT)
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/ruff format --quiet .

# Without build/: what an earlier build left there would travel along.
wheel: $(ENVIRONMENT)
	@rm -rf build dist
	@$(BIN)/python -m pip wheel -qq --no-deps --no-build-isolation --wheel-dir dist .
	@rm -rf build
	@ls dist/*.whl

wheel-check: wheel
	@$(BIN)/python tools/check_wheel.py dist/*.whl --model=$(MODEL) --dataset=ml-100k --epochs=1

clean:
	@rm -rf build dist log log_tensorboard .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	@find . -path ./$(VENV) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	@rm -rf $(VENV) *.egg-info
