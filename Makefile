# Thin on purpose: it makes .venv out of requirements.lock and calls what does the work.
# Variables are passed on as they are: REPLICAS=2 make up, PORT_OFFSET=1000 make up.

PYTHON ?= python3
PY := .venv/bin/python
INSTALLED := .venv/.installed
LOAD_OPTIONS = $(foreach name,HOST RATE DURATION SEED WORKERS,$(if $($(name)),\
  --$(shell echo $(name) | tr A-Z a-z) "$($(name))"))
CODE := $(wildcard firedrill_kit service stack alerting loadtests dashboards deploy tests)

export PATH := $(CURDIR)/.tools/bin:$(PATH)
.NOTPARALLEL:
.DEFAULT_GOAL := help

.PHONY: help
help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: up down status doctor clean psql
up: $(INSTALLED)  ## start the whole system here (REPLICAS=2), or all around a service: SERVICE=shop/firedrill.toml
	@$(PY) -m stack up

down: $(INSTALLED)  ## stop it
	@$(PY) -m stack down

status: $(INSTALLED)  ## what runs, and the memory it takes
	@$(PY) -m stack status

doctor: $(INSTALLED)  ## which hop of the chain from the service to the pager is dead
	@$(PY) -m stack doctor

clean: $(INSTALLED)  ## stop it and delete all data
	@$(PY) -m stack clean

psql: $(INSTALLED)  ## open the database as the owner of the schema
	@$(PY) -m stack psql

.PHONY: request
request: $(INSTALLED)  ## follow one request through every signal, on one page
	@$(PY) -m loadtests.costs.request

.PHONY: silence mutate resilience
silence: $(INSTALLED)  ## silence one alert: ALERT=DbPoolExhausted FOR=1h
	@$(PY) -m alerting.silence "$(ALERT)" "$(or $(FOR),1h)"

mutate: $(INSTALLED)  ## break the alert rules in every small way: their tests must notice [ALERT=DbPoolExhausted]
	@$(PY) -m alerting.mutate $(if $(ALERT),--only "$(ALERT)")

resilience: $(INSTALLED)  ## cause each fault under load: what the service answers
	@$(PY) -m loadtests.resilience

.PHONY: compose-check manifests
compose-check: $(INSTALLED)  ## start docker-compose.yml here, without a registry (root, docker.io)
	@$(PY) -m tests.compose

manifests: $(INSTALLED)  ## rebuild what deploy/ makes of the rules, lock and collector
	@$(PY) -m deploy.image.lock
	@$(PY) -m deploy.kubernetes.build

.PHONY: reference
reference: $(INSTALLED)  ## rebuild the schema and the reference of firedrill.toml from its sections
	@$(PY) -m firedrill_kit.config --schema > firedrill_kit/config/firedrill.schema.json
	@$(PY) -m firedrill_kit.config --reference > docs/firedrill-toml.md

.PHONY: architecture
architecture: $(INSTALLED)  ## draw the rooms of docs/architecture.md from the imports and their contracts
	@$(PY) -m tests.contracts.architecture

.PHONY: dashboards prove-dashboards screenshots
dashboards: $(INSTALLED)  ## rebuild the dashboards' JSON from their code
	@$(PY) -m dashboards.build

prove-dashboards: $(INSTALLED)  ## ask the running Prometheus every query of every dashboard
	@$(PY) -m dashboards.prove

screenshots: $(INSTALLED)  ## photograph the viewer before and during a real fault, for docs/images
	@$(PY) -m stack programs
	@$(PY) -m loadtests.drills.runner.screenshots

.PHONY: tools exemplars
tools: $(INSTALLED)  ## build the collector and Prometheus 3 into .tools (Go, Node.js; minutes, the first time)
	@$(PY) -m stack.tools

exemplars: $(INSTALLED)  ## follow every exemplar of the running stack to its trace and its log line
	@$(PY) -m loadtests.observe.exemplars

.PHONY: bench costs
bench: $(INSTALLED)  ## what telemetry costs beside what others use: AGAINST=<commit>, QUICK=1 to try it, INTO=docs
	@$(PY) -m stack.tools collector
	@$(PY) -m loadtests.bench $(if $(AGAINST),--against "$(AGAINST)") $(if $(QUICK),--quick) $(if $(INTO),--into "$(INTO)")

costs: $(INSTALLED)  ## seconds to the first data of each signal, and what the collector takes
	@$(PY) -m stack programs
	@$(PY) -m loadtests.costs.collector
	@$(PY) -m loadtests.costs.first_data

.PHONY: load load-ui load-report
load: $(INSTALLED)  ## open-loop load on the running system: SCENARIO=steady [SERVICE= HOST= RATE= DURATION=]
	@$(PY) -m loadtests "$(or $(SCENARIO),steady)" $(LOAD_OPTIONS)

load-ui: $(INSTALLED)  ## the same in Locust's web page, port 8089
	@$(PY) -m loadtests "$(or $(SCENARIO),steady)" $(LOAD_OPTIONS) --web

load-report: $(INSTALLED)  ## the scenarios, beside a plain configuration
	@$(PY) -m loadtests.report

.PHONY: record record-status
record: $(INSTALLED)  ## run all that docs/ claims, in the background, and write it: hours; goes on after a kill
	@$(PY) -m stack programs
	@$(PY) -m loadtests.record

record-status: $(INSTALLED)  ## how far it is
	@$(PY) -m loadtests.record --status

.PHONY: demo drill drills drills-quick
demo: $(INSTALLED)  ## three minutes: a real fault, its page, the trace behind it, the recovery
	@$(PY) -m stack programs
	@$(PY) -m loadtests.drills.runner.demo

drill: $(INSTALLED)  ## break one thing, and watch: NAME=db_pool_exhausted SEED=1 [SERVICE=shop/firedrill.toml]
	@$(PY) -m loadtests.drills "$(NAME)" --seed "$(or $(SEED),1)"

drills: $(INSTALLED)  ## all of them, JOBS=2 side by side; goes on where it was interrupted
	@$(PY) -m loadtests.drills --all --seed "$(or $(SEED),1)" --jobs "$(or $(JOBS),2)"

drills-quick: $(INSTALLED)  ## the two that are part of `make test`
	@$(PY) -m loadtests.drills --quick

.PHONY: lint check test
lint: $(INSTALLED)  ## style, format, words, types
	@$(PY) -m ruff check --quiet .
	@$(PY) -m ruff format --check --quiet .
	@$(PY) -m tests.contracts.plain_english
	@$(PY) -m mypy --no-error-summary $(CODE)

check: lint  ## the fast part of the tests: under a minute
	@$(PY) -m stack programs
	@$(PY) -m pytest --quiet -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" tests/unit tests/contracts

test: lint  ## everything CI runs
	@$(PY) -m stack programs
	@if PATH="$$PATH:/usr/local/go/bin" command -v go >/dev/null; then $(PY) -m stack.tools collector promtool; fi
	@$(PY) -m pytest --quiet -n 3 --dist loadfile --no-loadscope-reorder tests/unit tests/contracts tests/integration tests/examples
	@$(PY) -m pytest --quiet -n 2 --dist loadfile --no-loadscope-reorder tests/stack

# uv installs in seconds what pip takes a minute for; where it is not on PATH, the one of the lock
# is taken, checked against its hashes as everything else is.
$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 up" >&2; exit 1; }
	@test -x $(PY) || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@command -v uv >/dev/null || test -x .venv/bin/uv || { \
	  awk '/^uv==/ {found = 1; print; next} found && /^ / {print; next} {found = 0}' \
	    requirements.lock > .venv/uv.lock \
	  && $(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.lock; }
	@PATH="$$PATH:$(CURDIR)/.venv/bin" uv pip install --quiet --python $(PY) --require-hashes \
	  -r requirements.lock
	@touch $@
