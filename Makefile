# `make demo` and `make test` do all the set-up on a fresh Debian with Python >= 3.10.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.10,$(shell $(p) -c 'import sys; print(sys.executable) if sys.version_info >= (3, 10) else sys.exit(1)' 2>/dev/null)))
PY := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help demo test lint slow benchmarks

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

.venv/.ready: pyproject.toml
	@"$(PYTHON)" -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -yq python3-venv; } \
	  || { echo "The Python module venv is missing: apt-get install python3-venv"; exit 2; }
	"$(PYTHON)" -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch .venv/.ready

demo: .venv/.ready  ## posterior and trust maps of the shipped images
	$(PY) -m monai_inn demo -o demo

test: .venv/.ready lint  ## lint, types and the whole test suite (no long trainings)
	$(PY) -m pytest -q -m "not slow"

lint: .venv/.ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

slow: .venv/.ready  ## the trainings that take minutes
	$(PY) -m pytest -q -m slow

benchmarks: .venv/.ready  ## timings and figures against peers, JSON on standard output
	$(PY) benchmarks/optics.py --json && $(PY) benchmarks/flow.py --json && $(PY) benchmarks/ood.py --json
