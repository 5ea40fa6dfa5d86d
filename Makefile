# `make demo` and `make test` do all the set-up on a fresh Debian with Python >= 3.10.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11 python3.10,$(shell $(p) -c 'import sys; print(sys.executable) if sys.version_info >= (3, 10) else sys.exit(1)' 2>/dev/null)))
PY := .venv/bin/python
.DEFAULT_GOAL := help
# What the tests of the Slicer module and of the viewer draw with, and the archive of those of `fetch` and `store`;
# without them they are skipped and say so.
DEBIAN := chromium fonts-dejavu-core libegl1 libgl1 libgl1-mesa-dri orthanc orthanc-dicomweb
.PHONY: help demo test suite lint docs links package slow fuzz benchmarks screenshots

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

# The tests start an Orthanc of their own; the service that its package starts on a machine with systemd is not wanted.
.venv/.debian: .venv/.ready
	@had=$$(command -v Orthanc); { command -v chromium && command -v Orthanc; } >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -q \
	  && apt-get install -yq --no-install-recommends $(DEBIAN) \
	  && { [ "$$had" ] || [ ! -d /run/systemd/system ] || systemctl disable -q --now orthanc; }; } \
	  || echo "Some tests will be skipped; for them: apt-get install $(DEBIAN)"
	@touch .venv/.debian

test: .venv/.debian  ## lint, types and the whole test suite (no long trainings)
	@$(MAKE) --no-print-directory -j 2 lint suite  # the types are one process, and take a minute

# What is compiled serves all workers, the processes that they start, and the next run.
suite: export PYTHONDONTWRITEBYTECODE :=
# The C library keeps what is freed: getting it anew from the system page by page takes a tenth of the time.
suite: export MALLOC_MMAP_THRESHOLD_ := 33554432
suite: export MALLOC_TRIM_THRESHOLD_ := 536870912
suite: .venv/.debian
	$(PY) -m pytest -q -m "not slow" -n auto --maxprocesses 4 --dist loadfile

lint: .venv/.ready
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# A second thread speeds up no small training, and slows it down tenfold while another process holds a core.
docs: export OMP_NUM_THREADS := 1
docs: .venv/.ready  ## this documentation as a site, with the tutorials run → build/html
	$(PY) -m sphinx -q -W --keep-going docs build/html

links: .venv/.ready  ## links of the documentation to other sites, which need the network
	$(PY) -m sphinx -q -b linkcheck -D nb_execution_mode=off docs build/links

package: .venv/.ready  ## sdist and wheel, checked → dist/
	rm -rf build/lib build/bdist* dist
	$(PY) -m build
	$(PY) -m twine check --strict dist/*
	$(PY) -m check_wheel_contents dist/*.whl
	$(PY) -m pip_audit --skip-editable

slow: .venv/.ready  ## what `make test` leaves out: trainings of minutes, dearer cases
	$(PY) -m pytest -q -m slow

fuzz: .venv/.ready  ## attacks on readers and verbs, minutes
	$(PY) -m pytest -q -n 0 Testing/attacks --fuzz-minutes 10

screenshots: .venv/.debian  ## the pictures of the Slicer module and the viewer in docs/images
	INN_SCREENSHOTS=build/screenshots $(PY) -m pytest -q Testing/slicer/test_screenshots.py \
	  Testing/slicer/test_registration_screenshot.py Testing/web
	cd build/screenshots && cp slicer_panel.png slicer_uncertainty.png slicer_plan.png slicer_regions.png slicer_median.png slicer_width.png slicer_probability.png slicer_classes.png \
	  slicer_posterior_certain.png slicer_posterior_withheld.png slicer_registration.png \
	  viewer_registration.png ../../docs/images/
	cp build/screenshots/reading.png docs/images/viewer.png
	cp build/screenshots/out_of_distribution.png docs/images/viewer_withheld.png
	cp build/screenshots/curve.png docs/images/viewer_curve.png
	$(PY) docs/small_png.py docs/images/viewer.png docs/images/viewer_withheld.png docs/images/viewer_curve.png

benchmarks: .venv/.ready  ## timings and figures against peers, JSON on standard output
	$(PY) benchmarks/optics.py --json && $(PY) benchmarks/flow.py --json && $(PY) benchmarks/ood.py --json \
	  && $(PY) benchmarks/planner.py --json
