# Everything a contributor runs. Needs Python 3.11 to 3.13 and nothing else; `make help` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# The address of docs/runbooks for your staff; links of alerts and dashboards begin with it.
RUNBOOK_URL ?=
# Address of the repository on a Git host; links in the README on a package index begin with it.
PROJECT_URL ?=
HELM := v3.22.0

.DEFAULT_GOAL := help
.PHONY: help install demo ops rules test bounds simulation faults lint types imports schemas dashboards docs wheel tools charts release audit sbom fuzz fuzz-state lock bench figures scale clean

help: ## List the targets.
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(VENV)/.installed ## Create .venv with everything for contributors (1.3 GB) and cxstream itself.

PIP := $(BIN)/pip --disable-pip-version-check
define create_venv
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
	  { echo "cxstream needs Python 3.11 to 3.13; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
endef

# pip writes several lines for each package. This counts the packages instead, on one line of a terminal or in a few
# lines elsewhere. Warnings and errors of pip go to standard error and are shown as they are. Of most modules nobody needs
# the bytecode: it is made when they are first imported.
define install_locked
	{ $(PIP) install --progress-bar off --no-compile --require-hashes -r $(1); echo "status $$?"; } | { \
	  n=0; all=$$(grep -c '^[A-Za-z0-9].*==' $(1)); \
	  while read -r word rest; do case $$word in \
	    Ignoring) all=$$((all - 1)) ;; \
	    Collecting | Requirement) n=$$((n + 1)); \
	      if [ -t 1 ]; then printf '\r  %d of %d packages' $$n $$all; \
	      elif [ $$((n % 20)) -eq 0 ]; then echo "  $$n of $$all packages"; fi ;; \
	    Installing) if [ -t 1 ]; then printf '\r'; fi; echo "  $$n packages are here and are being installed" ;; \
	    status) exit "$$rest" ;; \
	  esac; done; }
endef

# uv is several times as fast as pip. It does not know where pip is configured to look; then, and where uv fails, pip does it.
define install_quickly
	! $(PIP) config list | grep -q index && \
	  sed -n '/^uv==/,/# via/p' requirements.lock >$(VENV)/uv.lock && \
	  $(PIP) install --quiet --only-binary :all: --require-hashes -r $(VENV)/uv.lock && \
	  $(BIN)/uv pip install $$([ -t 2 ] || echo --quiet) --python $(BIN)/python --require-hashes -r requirements.lock
endef

$(VENV)/.installed: requirements.lock pyproject.toml
	$(create_venv)
	@echo "Installing cxstream and what its tests need: 1.3 GB on disk, up to three minutes, once."
	@{ $(install_quickly); } || $(call install_locked,requirements.lock)
	@$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $@ $(VENV)/.usable

# The demo needs less than half of these packages.
$(VENV)/.usable: requirements-demo.lock pyproject.toml
	$(create_venv)
	@echo "Installing cxstream and what the demo needs: 0.6 GB on disk, under a minute, once."
	@$(call install_locked,requirements-demo.lock)
	@$(PIP) install --quiet --no-build-isolation --no-deps -e .
	@touch $@

demo: $(VENV)/.usable ## Run broker, traffic, worker, console and a live view on this computer; ARGS="--for 30" ends it after 30 s.
	@trap : INT; $(BIN)/cxstream demo $(ARGS) || [ $$? -eq 130 ] # Ctrl-C is how it is ended

ops: install ## Show alerts fire and resolve on this computer: two faults under Prometheus; ARGS="--keep" keeps it running.
	$(BIN)/python tests/ops.py $(if $(RUNBOOK_URL),--runbook-url "$(RUNBOOK_URL)") $(ARGS)

rules: ## Write rules, alerts and dashboards into build/ with links to RUNBOOK_URL="https://...".
	sh deploy/runbook-url.sh "$(RUNBOOK_URL)" deploy/prometheus build/prometheus
	sh deploy/runbook-url.sh "$(RUNBOOK_URL)" deploy/grafana build/grafana

# Threads of linear algebra that wait for each other spin: beside four other processes, a second one makes it slower.
test: export OMP_NUM_THREADS = 1
test: export OPENBLAS_NUM_THREADS = 1
test: install ## Run all tests; they start a real Kafka.
	@echo "All tests take 10 to 20 minutes on two cores, longer the first time: the kernels are compiled. A dot is a test."
	$(BIN)/python -m pytest -n 5 $(ARGS)

bounds: install ## Run the property tests with bounds checking in the kernels, which is compiled for it; takes minutes.
	NUMBA_BOUNDSCHECK=1 $(BIN)/python -m pytest -n 2 tests/test_scores.py tests/test_snapshots.py tests/test_dedupe.py \
	  tests/test_signals.py tests/test_fuzz.py tests/test_names.py tests/test_batches.py tests/test_rows.py \
	  tests/test_view_streamed.py tests/test_batch_passes.py tests/test_plain.py tests/test_readers.py tests/test_scored_columns.py tests/test_pages.py \
	  -m "not broker" $(ARGS)

simulation: install ## Run the worker through thousands of simulated failures; ARGS="--seed 7 --trace" shows one.
	PYTHONPATH=tests $(BIN)/python -m simulation $(ARGS)

faults: install ## Inject real faults around the workers and check the guarantees; ARGS="--only zombie --runs 1".
	PYTHONPATH=tests $(BIN)/python -m faults $(ARGS)

lint: install ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install ## Check types, strictly.
	$(BIN)/mypy

imports: install ## Check the import contracts: the core does not import the adapters.
	$(BIN)/lint-imports

dashboards: install ## Check that deploy/grafana matches deploy/dashboards.
	$(BIN)/python deploy/dashboards/generate.py --check

docs: install ## Build the pages as a website into build/docs; fails on a broken link.
	$(BIN)/python docs/site/website.py

schemas: install ## Check that schemas/ matches the types.
	$(BIN)/cxstream schemas --check schemas

wheel: install ## Build the wheel into dist/.
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .

tools: install ## Build helm into .venv with Go, where no package brings it, for the tests of the chart.
	test -x $(BIN)/helm || $(MAKE) $(BIN)/helm

$(BIN)/helm:
	GOBIN=$(abspath $(BIN)) go install helm.sh/helm/v3/cmd/helm@$(HELM)

charts: tools ## Check the Helm chart, docker-compose.yml and the Dockerfile.
	$(BIN)/python -m pytest tests/test_chart.py tests/test_compose.py $(ARGS)

release: install ## Build wheel, source distribution and SBOM into dist/, audited and checked; PROJECT_URL= is the repository's address.
	$(MAKE) audit
	rm -rf dist
	PROJECT_URL="$(PROJECT_URL)" $(BIN)/python -m build --no-isolation --outdir dist .
	$(BIN)/twine check --strict dist/*.whl dist/*.tar.gz
	RELEASE_DIST=dist PROJECT_URL="$(PROJECT_URL)" $(BIN)/python -m pytest -q tests/test_release.py
	$(MAKE) sbom
	@test -n "$(PROJECT_URL)" || echo "The metadata has no links: build it with PROJECT_URL=https://... before you publish it."

audit: install ## Ask PyPI for known vulnerabilities of the locked dependencies; fails on a package that PyPI does not know, too.
	$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock

sbom: install ## Write the SBOM into dist/, in CycloneDX.
	@mkdir -p dist
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --mc-type application \
	  --output-reproducible --output-format JSON --validate -o dist/cxstream.cdx.json requirements.lock

fuzz: fuzz-state ## Feed ten million damaged records to the decoder and the engine, and compare its two readers; ARGS="--seed 2" for others.
	$(BIN)/python tests/fuzz.py --inputs 10000000 $(ARGS)
	$(BIN)/python tests/fuzz_plain.py --inputs 10000000 $(ARGS)

fuzz-state: install ## Load a million damaged snapshots, with bounds checking in the kernels.
	NUMBA_BOUNDSCHECK=1 $(BIN)/python tests/fuzz_snapshots.py --inputs 1000000 $(ARGS)

lock: install ## Resolve the dependencies again, into requirements.lock and the lock files for the demo and for servers.
	$(BIN)/uv pip compile --universal --python-version 3.11 --all-extras --group dev --generate-hashes \
	  --no-emit-index-url --no-header --quiet --upgrade pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra local --extra console --group source --generate-hashes \
	  --constraint requirements.lock --no-emit-index-url --no-header --quiet --upgrade pyproject.toml -o requirements-demo.lock
	$(BIN)/uv pip compile --universal --python-version 3.11 --extra warehouse --extra postgres --extra console --generate-hashes \
	  --constraint requirements.lock --no-emit-index-url --no-header --quiet --upgrade pyproject.toml -o requirements-server.lock

bench: install ## Time the worker beside other engines, installed once in the user's cache; ARGS="--only faust,streams --runs 2".
	$(BIN)/python benchmarks/side_by_side.py $(ARGS)

figures: install ## Measure state, replay and recovery, as docs/performance.md has them.
	$(BIN)/python benchmarks/run.py

scale: install ## Measure how state, snapshots and restoring grow; what build/scale.json has already is not measured again.
	$(BIN)/python benchmarks/scale.py --results build/scale.json --plot build/scale.svg $(ARGS)

clean: ## Remove everything that was built, and the virtual environment.
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
