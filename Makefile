# make demo: install, train a ladder of models, fit its law, write the report.   make test: install and test.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test fuzz test-slow test-cluster faults test-tpu test-gpu check format install bench coverage docs clean
.NOTPARALLEL:

# Each target installs what it needs into the virtual environment, again when these two files change. What the
# tests need includes the rest.
install: $(STAMP)

PIP_INSTALL = $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable

$(VENV)/.created:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(STAMP): pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) '.[test]'
	touch $@ $(VENV)/.check $(VENV)/.runtime

$(VENV)/.check: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) '.[check]'
	touch $@ $(VENV)/.runtime

$(VENV)/.runtime: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) .
	touch $@

# A browser for the report's test, once, where Debian's packages can be had; the test is skipped where not.
$(VENV)/.browser: $(STAMP)
	@if ! command -v chromedriver >/dev/null && command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		( apt-get update -qq && DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -y -qq \
			--no-install-recommends chromium chromium-driver ) >$(VENV)/browser.log 2>&1 \
			|| echo "no browser could be installed ($(VENV)/browser.log): its test will be skipped"; fi
	@touch $@

demo: $(VENV)/.runtime
	$(BIN)/scaling demo --out demo

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two at a time: compiling, which most tests do most of, uses one core.
test: install check $(VENV)/.browser
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

format: $(VENV)/.check
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/.created
	$(PIP_INSTALL) '.[docs]'
	touch $@ $(VENV)/.runtime

# The site of docs/, into site/; warnings are errors. Open site/index.html.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Ratios measured in one run on this machine; see benchmarks/.
bench: install
	$(BIN)/python benchmarks/throughput.py
	$(BIN)/python benchmarks/fit.py
	$(BIN)/python benchmarks/step_time.py

# How often 95% intervals of fitted laws hold the truth: 200 draws a law, minutes.
coverage: install
	$(BIN)/python benchmarks/coverage.py

# The property tests with random inputs and ten times the examples, round after round for MINUTES. A failure
# prints the seed and the example that repeat it.
MINUTES ?= 30
fuzz: install
	$(BIN)/python -m tests.fuzz --minutes $(MINUTES) --numprocesses 2 --dist worksteal

# Further families, meshes and variants, and the peers: what the default run leaves out to stay short.
test-slow: install
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m slow

# Real processes on loopback, and a SLURM of two nodes on this machine (as root, on Debian; skipped elsewhere).
# About a quarter of an hour.
test-cluster: install
	$(BIN)/python -m pytest -m cluster -rs

# What ends a run (killed at random moments, a full disk, a hung worker, ...), tried; prints a table.
faults: install
	$(BIN)/python -m pytest -m faults -rs --numprocesses 2 --dist worksteal tests/faults

# What needs the TPU compiler (no TPU): the dry-run tests, memory against it, and the golden
# table of collectives. About three quarters of an hour.
test-tpu: install
	$(PIP_INSTALL) '.[test,tpu]'
	$(BIN)/python -m pytest tests/parallel/test_absent.py tests/train/test_dry_run.py tests/commands/test_dryrun.py tests/train/test_golden.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/golden.py

# What needs CUDA's compiler (no GPU; some 4 GB of NVIDIA's libraries): attention's kernel, the dry-run tests,
# and memory against it. About twenty minutes.
test-gpu: install
	$(PIP_INSTALL) '.[test,cuda]'
	$(BIN)/python -m pytest tests/models/test_cudnn.py tests/parallel/test_absent.py tests/train/test_dry_run.py
	$(BIN)/python benchmarks/memory.py --on gpu

clean:
	rm -rf $(VENV) demo runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
