PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# One thread in each process: more would only wait for each other. One process more than there are cores, since tests of
# the server often wait.
WORKERS := $(shell expr $$(nproc 2>/dev/null || sysctl -n hw.ncpu) + 1)
PYTEST := OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: demo install test coverage lint format docs notebooks schemas lock clean

demo: $(VENV)/installed
	$(BIN)/python cli.py run configs/*.yaml
	@echo "Every run's metrics, report and export are in the folders named above; open report/index.html first."

install: $(VENV)/installed

test: lint docs
	$(PYTEST)

coverage: $(VENV)/installed  # the tests with their coverage and its floor; half as much processor time again
	$(PYTEST) --cov --cov-report=

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/installed
	NO_MKDOCS_2_WARNING=1 TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/mkdocs build --quiet

notebooks: $(VENV)/installed  # after a change of what they teach or print: executes them, and stores their outputs
	$(BIN)/python notebooks/execute.py

schemas: $(VENV)/installed  # after a change of settings
	$(BIN)/python -c "from pipelines.config.load import write_schemas; write_schemas()"

format: $(VENV)/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock:  # after a change of requirements.txt
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv pip compile --quiet requirements.txt --universal --python-version 3.11 --generate-hashes \
		--no-header --no-annotate -o requirements.lock
	rm -r $(VENV)-lock

clean:
	rm -rf site $(VENV) .pytest_cache .ruff_cache *.egg-info
