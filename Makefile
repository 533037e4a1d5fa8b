# Every target prints itself: run plain `make`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DISTS  := schemas services/common services/collector services/classifier services/notifier services/embedded
TREES  := schemas services tests benchmarks tools
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help

.PHONY: help
help:  ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP)  ## put everything into .venv (Python 3.11 to 3.13)

$(STAMP): requirements/dev.txt $(addsuffix /pyproject.toml,$(DISTS))
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "missedcall needs Python 3.11 to 3.13, this is %d.%d; name another: make PYTHON=python3.12 setup" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation $(addprefix -e ./,$(DISTS))
	@touch $@

.PHONY: demo
demo: setup  ## sample captures through the embedded pipeline to a local mail and webhook sink
	$(BIN)/missedcall demo

.PHONY: test
test: setup lint  ## everything that must hold: lint, types, import rules, tests
	@sh tests/e2e/lab/install.sh || true
	@sh tests/chart/install.sh || true
	$(BIN)/python -m pytest -n 2 --dist loadgroup tests
	@if command -v cc >/dev/null; then $(MAKE) --no-print-directory test-compiled; else echo "no C compiler: the compiled cores are not tested"; fi

.PHONY: test-compiled
test-compiled: compiled  ## the tests of the cores against what mypyc made of them
	PYTHONPATH=build/compiled/lib $(BIN)/python -m pytest -n 2 -q tests/golden tests/property tests/unit/common tests/unit/classifier tests/unit/collector

.PHONY: chaos-one
chaos-one: setup  ## kill -9 the pipeline of one machine under load, KILLS times (default 20)
	MISSEDCALL_KILLS=$(or $(KILLS),20) $(BIN)/python -m pytest -q -s --timeout 1200 tests/chaos/test_kill_embedded.py

.PHONY: chaos
chaos: setup  ## the services on a Kafka of three nodes, everything killed under load (CALLS=100000 SECONDS=600 SEED=1 NODES=3)
	$(BIN)/python tests/chaos/run_kafka.py --calls $(or $(CALLS),100000) --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1) --nodes $(or $(NODES),3)

.PHONY: chaos-notify
chaos-notify: setup  ## the same for notifiers, whose targets fail, too (FACTS=3000 SECONDS=300 SEED=1 NODES=1 CHANNELS=webhook,smtp,ews CALLS=0)
	$(BIN)/python -W ignore tests/chaos/run_notify.py --channels $(or $(CHANNELS),webhook,smtp,ews) --calls $(or $(CALLS),0) --facts $(or $(FACTS),3000) --seconds $(or $(SECONDS),300) --seed $(or $(SEED),1) --nodes $(or $(NODES),1)

.PHONY: chaos-mail
chaos-mail: setup lab  ## kill -9 a notifier before a real Postfix and Dovecot (MAILS=2000 facts, KILLS=30)
	MISSEDCALL_MAILS=$(or $(MAILS),2000) MISSEDCALL_MAIL_KILLS=$(or $(KILLS),30) $(BIN)/python -m pytest -q -s --timeout 1800 tests/e2e/test_mail_system.py -k killed

.PHONY: chaos-stock
chaos-stock: setup  ## its negative control: what Faust's own guarantees make of it; fails if they hold
	$(BIN)/python tests/chaos/run_kafka.py --stock at_least_once --calls $(or $(CALLS),10000) --seconds $(or $(SECONDS),100) --seed $(or $(SEED),1) --nodes $(or $(NODES),1)
	$(BIN)/python tests/chaos/run_kafka.py --stock exactly_once --calls $(or $(CALLS),10000) --seconds $(or $(SECONDS),100) --seed $(or $(SEED),1) --nodes $(or $(NODES),1)

.PHONY: chaos-scale
chaos-scale: setup  ## cut the log into more partitions under load, the job, collectors and workers killed (PARTITIONS=12 TO=24)
	$(BIN)/python -W ignore tests/chaos/scale_kafka.py --partitions $(or $(PARTITIONS),12) --to $(or $(TO),24) --calls $(or $(CALLS),6000) --seed $(or $(SEED),1) --nodes $(or $(NODES),1)

.PHONY: roll
roll: setup  ## restart each worker of the classifier under load; prints for how long partitions stood still
	$(BIN)/python tests/chaos/roll_kafka.py

.PHONY: hostile
hostile: setup  ## NOTICES=20000 notices about callers with hostile names, addresses and numbers
	MISSEDCALL_HOSTILE=$(or $(NOTICES),20000) $(BIN)/python -m pytest -q --timeout 1200 tests/unit/notifier/test_notices.py

.PHONY: fuzz
fuzz: setup  ## read what nobody would write (SECONDS=600 of it, on PROCESSES=2 cores)
	$(BIN)/python tests/fuzz/run.py --seconds $(or $(SECONDS),600) --processes $(or $(PROCESSES),2)

.PHONY: bench
bench: compiled  ## the figures of docs/speed.md, on an otherwise idle machine (half an hour)
	PYTHONPATH=build/compiled/lib $(BIN)/python benchmarks/hep.py
	PYTHONPATH=build/compiled/lib $(BIN)/python benchmarks/classify.py
	$(BIN)/python benchmarks/replay.py
	PYTHONPATH=build/compiled/lib $(BIN)/python benchmarks/flood.py
	$(BIN)/python benchmarks/channels.py
	$(BIN)/python benchmarks/items.py
	$(BIN)/python benchmarks/notices.py

.PHONY: bench-kafka
bench-kafka: compiled  ## those of the services on Kafka (half an hour)
	PYTHONPATH=build/compiled/lib $(BIN)/python benchmarks/collector_kafka.py --overload 250000 --lib build/compiled/lib
	PYTHONPATH=build/compiled/lib $(BIN)/python benchmarks/classifier_kafka.py --lib build/compiled/lib
	PYTHONPATH=build/compiled/lib $(BIN)/python benchmarks/telemetry_kafka.py --lib build/compiled/lib

CORES := $(shell find schemas services -name '*.py' -not -path '*/.venv/*')
COMPILED := build/compiled/bin/missedcall

.PHONY: compiled
compiled: $(COMPILED)  ## compile the pure cores with mypyc into build/compiled (needs a C compiler)

$(COMPILED): $(STAMP) tools/compile.py $(CORES)
	$(BIN)/python tools/compile.py build/compiled

.PHONY: kafka-up
kafka-up: setup  ## start a Kafka on this machine, NODES=1 or 3; prints where (Java and Maven, Debian as root)
	@$(BIN)/python tools/kafka_nodes.py up --nodes $(or $(NODES),1)

.PHONY: kafka-down
kafka-down: setup  ## end it and delete its data
	@$(BIN)/python tools/kafka_nodes.py down

.PHONY: demo-kafka
demo-kafka: setup  ## the services on a Kafka of their own: sample calls, the facts that a subscriber reads, and the mails
	@$(BIN)/python -W ignore tools/demo_kafka.py

SERVICES := collector classifier notifier
IMAGES   ?= missedcall
VERSION  ?= $(shell sed -n 's/^version = "\(.*\)"/\1/p' services/collector/pyproject.toml)
BUILDER  ?= $(firstword $(foreach name,buildah podman docker,$(if $(shell command -v $(name)),$(name))))

.PHONY: images
images:  ## build the images (IMAGES=registry/name VERSION=tag BASE_IMAGE=... BUILD_IMAGE=... BUILDER=buildah|podman|docker)
	@test -n "$(BUILDER)" || { echo "none of buildah, podman and docker is here"; exit 1; }
	for service in $(SERVICES); do \
		$(BUILDER) build $(if $(BASE_IMAGE),--build-arg BASE_IMAGE=$(BASE_IMAGE)) \
			$(if $(BUILD_IMAGE),--build-arg BUILD_IMAGE=$(BUILD_IMAGE)) --build-arg SERVICE=$$service \
			--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
			$(BUILDFLAGS) -t $(IMAGES)-$$service:$(VERSION) . || exit 1; \
	done

.PHONY: pods-test
pods-test: setup  ## build the images, run the chart's pods and compose.yaml with them, Kafka too (root, Debian; minutes)
	@sh tests/chart/install.sh
	apt-get -q -y -o DPkg::Lock::Timeout=60 install --no-install-recommends \
		buildah podman runc catatonit netavark aardvark-dns iptables mmdebstrap >/dev/null
	$(BIN)/python -m pip install --quiet --upgrade --target build/compose --require-hashes -r requirements/compose.txt
	MISSEDCALL_PODS=yes $(BIN)/python -m pytest -q -s tests/e2e/test_pods.py tests/e2e/test_compose_up.py

.PHONY: sbom
sbom: setup  ## write what is in each image to build/sbom, as CycloneDX
	@mkdir -p build/sbom
	for service in $(SERVICES); do $(BIN)/python tools/sbom.py $$service > build/sbom/$$service.cdx.json || exit 1; done

.PHONY: lab
lab:  ## install the SIP, mail and LDAP programs of the tests (Debian, root; LAB=no: not)
	@sh tests/e2e/lab/install.sh

.PHONY: lint
lint: setup  ## ruff, mypy strict, import-linter
	$(BIN)/ruff check $(TREES)
	$(BIN)/ruff format --check $(TREES)
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: format
format: setup  ## rewrite the sources as ruff wants them
	$(BIN)/ruff check --fix $(TREES)
	$(BIN)/ruff format $(TREES)

.PHONY: docs
docs: setup  ## write what is generated: schemas, AsyncAPI, the dashboard, docs/rules.md, rows.md, log.md
	$(BIN)/python -m missedcall_schemas.generate
	$(BIN)/python -m missedcall_classifier.reference > docs/rules.md
	$(BIN)/python -m missedcall_common.runtime.reference > docs/log.md
	PYTHONPATH=tests $(BIN)/python -m support.rows_page > docs/rows.md
	$(BIN)/python tools/rights.py
	$(BIN)/python tools/dashboard.py > helm/missedcall/files/dashboards/missedcall.json

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header
LOCKED := collector classifier notifier build chart compose

.PHONY: chart-test
chart-test: setup  ## the tests of the chart alone (with Go 1.26: Helm 3 beside Helm 4, and kubeconform)
	@sh tests/chart/install.sh
	$(BIN)/python -m pytest -q tests/chart

.PHONY: cluster-test
cluster-test: setup  ## the chart on a real API server and its controllers, by Helm 3 and 4 (Go 1.26, ten minutes once)
	@sh tests/chart/install.sh
	@sh tests/cluster/install.sh
	$(BIN)/python -m pytest -q tests/cluster

.PHONY: node-test
node-test: setup  ## the chart on a whole Kubernetes of one node, with real pods, Kafka and Helm 3 and 4 (root, Debian, Go 1.26)
	@sh tests/chart/install.sh
	@sh tests/node/install.sh
	PYTHONPATH=tests:tools $(BIN)/python tests/node/images.py
	sh tests/node/machine.sh $(BIN)/python -m pytest -q -s -p no:cacheprovider tests/node

.PHONY: chart-golden
chart-golden: setup  ## write the golden manifests anew, to look at the difference
	PYTHONPATH=tests $(BIN)/python -c "from support.chart import write_golden; write_golden()"

.PHONY: chart-docs
chart-docs: setup  ## write what is generated in the chart: README, schema of the values, topics
	$(BIN)/python tools/chart.py

.PHONY: lock
lock: setup  ## compile requirements/*.in to hashed locks (needs uv on the PATH)
	$(LOCK) requirements/dev.in -o requirements/dev.txt
	for name in $(LOCKED); do $(LOCK) --constraints requirements/dev.txt --no-annotate requirements/$$name.in -o requirements/$$name.txt || exit 1; done

.PHONY: clean
clean:  ## remove .venv and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
