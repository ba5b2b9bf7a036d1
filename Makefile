# Everything runs in .venv; `make demo` and `make test` create it when it is not there.
VENV ?= .venv
PYTHON ?= python3
MEDIA ?= samples/media
BIN := $(VENV)/bin

.PHONY: help install demo samples docs picture test test-all test-fast test-gpu lint format types check clean

help:
	@echo "make demo     fill and forecast the sample clips, print the score table"
	@echo "make test     run the test suite"
	@echo "make test-all also the tests that take minutes"
	@echo "make check    lint, types and tests, as CI does"
	@echo "make picture  draw the picture of the README"
	@echo "make docs     build the documentation into build/site"
	@echo "make samples  make the sample clips in $(MEDIA)"
	@echo "make install  only create $(VENV)"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

samples: install
	$(BIN)/python samples/make_samples.py $(MEDIA)

picture: samples
	$(BIN)/framepred fill-gaps $(MEDIA)/crossing-holes.mkv -y --contact-sheet samples/gaps.webp

demo: samples
	$(BIN)/framepred fill-gaps $(MEDIA)/crossing-holes.mkv --reference $(MEDIA)/crossing.mkv -y
	$(BIN)/framepred forecast $(MEDIA)/flight.mov --frames 8 -y
	$(BIN)/framepred forecast $(MEDIA)/flight.mov --frames 8 --hold-out
	$(BIN)/framepred evaluate $(MEDIA)/pan.mp4 $(MEDIA)/crossing.mkv $(MEDIA)/flight.mov --per-clip 1
	@echo
	@echo "Repaired:  $(MEDIA)/crossing-holes.filled.mkv from crossing-holes.mkv; the truth: crossing.mkv"
	@echo "Forecast:  $(MEDIA)/flight.forecast.mov from flight.mov"

docs: install
	$(BIN)/mkdocs build --strict --quiet

# One process a core, each with one thread: several threads in several processes wait for each other.
test: install
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m "not exhaustive"

# Also what takes minutes: every case of the matrix of formats, and two thousand spoilt files.
test-all: install
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal

test-fast: install
	$(BIN)/python -m pytest -m "not slow"

test-gpu: install
	FRAMEPRED_REQUIRE_CUDA=1 $(BIN)/python -m pytest -m gpu

lint: install
	$(BIN)/ruff check framepred tests samples
	$(BIN)/ruff format --check framepred tests samples

format: install
	$(BIN)/ruff format framepred tests samples
	$(BIN)/ruff check --fix framepred tests samples

types: install
	$(BIN)/mypy

check: lint types test

clean:
	rm -rf $(VENV) $(MEDIA) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
