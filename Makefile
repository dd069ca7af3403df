# `make` lists the targets. Everything runs from .venv, which no one has to activate.
# Variables: DEVICE=cpu|cuda (default: cuda where `nvidia-smi -L` finds a GPU), PYTHON (interpreter for .venv).

.DEFAULT_GOAL := help
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Container images like to set it. Without compiled modules each process that imports vLLM takes 18 s instead of 8 to start.
unexport PYTHONDONTWRITEBYTECODE

# A .venv that exists keeps its device, unless DEVICE is given.
STAMPED := $(patsubst .venv/setup-%.stamp,%,$(wildcard .venv/setup-*.stamp))
ifndef DEVICE
DEVICE := $(or $(STAMPED),$(shell nvidia-smi -L 2>/dev/null | grep -q GPU && echo cuda || echo cpu))
endif
STAMP := .venv/setup-$(DEVICE).stamp

# Processes of the tests: what shares a fixture that takes long is kept in one (tests/conftest.py). `make test TWO=` has only one.
TWO := -n 2 --dist loadgroup

.PHONY: help setup demo bench sandbox-image test test-unit test-contract test-attack test-loop test-gpu lint format lock clean

help: ## List the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(STAMP) ## Make .venv with the locked versions; does nothing when nothing changed

$(STAMP): .ci/setup .ci/locks/$(DEVICE).txt .ci/locks/models.txt pyproject.toml
	@$(if $(filter-out $(DEVICE),$(STAMPED)),echo "make setup: .venv was made for $(STAMPED); making it anew for $(DEVICE)"; rm -rf .venv)
	@PYTHON="$(PYTHON)" .ci/setup "$(DEVICE)"
	@touch $@

.ci/locks/$(DEVICE).txt:
	@echo "make setup: DEVICE must be cpu or cuda, not '$(DEVICE)'" >&2; exit 1

demo: setup ## The main job: SFT warm start, then DAPO on a real model, evaluated before and after
	.venv/bin/rlvr train configs/demo.yaml

bench: setup ## Add what benchmarks stand beside: Math-Verify, verl's scorers
	.venv/bin/uv pip install --python .venv/bin/python --no-deps -r .ci/locks/bench.txt

sandbox-image: ## The image of the sandbox's docker backend, from Debian packages; needs an engine and mmdebstrap
	sandbox/make-image

test: setup ## Run every test
	.venv/bin/pytest $(TWO)

test-unit: setup ## Pure functions: seconds
	.venv/bin/pytest tests/unit -n 2 --dist worksteal

test-contract: setup ## One suite per protocol, over every implementation; parts at work on a tiny model
	.venv/bin/pytest tests/contract $(TWO)

test-attack: setup ## Hostile completions: one property each
	.venv/bin/pytest tests/attack $(TWO)

test-loop: setup ## The real model, real vLLM, kill and resume: minutes
	.venv/bin/pytest tests/loop $(TWO)

test-gpu: setup ## What needs CUDA; skipped without it
	.venv/bin/pytest tests/gpu

lint: setup ## Style, types and the direction of imports
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/lint-imports
	.venv/bin/pyright

format: setup ## Let ruff fix and format the code
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

# The seed of each lock is the lock itself, so only what has to change does; UPGRADE=1 takes the newest of everything.
LOCK = .venv/bin/uv pip compile --quiet pyproject.toml --extra $(1) --extra gym --extra track --extra dev \
	--python-version 3.11 --python-platform x86_64-manylinux_2_28 --no-header --no-annotate $(if $(UPGRADE),--upgrade)

lock: $(if $(wildcard .venv/bin/uv),,setup) ## Write exact versions to .ci/locks, after a change of dependencies in pyproject.toml
	$(call LOCK,cpu) --override .ci/locks/overrides.txt \
		$(if $(PIP_FIND_LINKS),$(addprefix --find-links ,$(PIP_FIND_LINKS)),--torch-backend=cpu) --output-file .ci/locks/cpu.txt >/dev/null
	$(call LOCK,cuda) --output-file .ci/locks/cuda.txt >/dev/null

clean: ## Remove .venv, builds and caches; keeps runs/
	rm -rf .venv build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
