# `make` prints what there is. Everything runs in .venv; nothing is installed outside this folder but apt packages in `.ci/run`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
UV := .uv/bin/uv
STAMP := $(VENV)/.stamp
AIRFLOW_STAMP := .airflow/venv/.stamp
# Superset cannot share an environment: it pins what gridlake has newer.
SUPERSET := .superset/venv

.DEFAULT_GOAL := help
.PHONY: help env run serve spark spark-cluster spark-stop kafka kafka-stop airflow airflow-stop airflow-lock superset superset-stop superset-lock screenshots test test-deep lint bench bench-simulator bench-landing bench-push bench-run bench-identity bench-reports bench-increment chaos dictionary lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

env: $(STAMP) ## the environment alone: .venv from constraints.txt

$(UV):
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet uv

$(STAMP): setup.cfg constraints.txt | $(UV)
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip sync --quiet --compile-bytecode --python $(BIN)/python constraints.txt
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

lock: | $(UV) ## new constraints.txt from setup.cfg
	$(UV) pip compile --quiet --python-version 3.11 setup.cfg --extra dev --no-header --no-annotate --output-file constraints.txt

run: $(STAMP) ## fresh machine → .venv → simulated province → landed, built, detected, published, reported
	$(BIN)/gridlake run

serve: $(STAMP) ## API and pages on the last snapshot
	$(BIN)/gridlake serve

spark: $(STAMP) ## Apache Spark with Delta at sc://127.0.0.1:15002, returns when it answers (needs Java 17, Maven)
	$(BIN)/python infra/spark/server.py start

spark-cluster: $(STAMP) ## the same on a standalone cluster of two workers
	$(BIN)/python infra/spark/server.py start --cluster

spark-stop: $(STAMP) ## stop either
	$(BIN)/python infra/spark/server.py stop

kafka: $(STAMP) ## a Kafka broker at 127.0.0.1:9092, returns when it answers (needs Java 17, Maven); topics stay in .kafka/
	$(BIN)/python infra/kafka/server.py start

kafka-stop: $(STAMP) ## stop it
	$(BIN)/python infra/kafka/server.py stop

$(AIRFLOW_STAMP): infra/airflow/requirements.txt | $(UV)
	test -x .airflow/venv/bin/python || $(UV) venv --quiet --python $(PYTHON) .airflow/venv
	$(UV) pip sync --quiet --compile-bytecode --python .airflow/venv/bin/python infra/airflow/requirements.txt
	touch $@

airflow: $(STAMP) $(AIRFLOW_STAMP) ## Apache Airflow in its own environment at http://127.0.0.1:8080, returns when healthy; state stays in .airflow/
	$(BIN)/python infra/airflow/server.py start

airflow-stop: $(STAMP) ## stop it
	$(BIN)/python infra/airflow/server.py stop

airflow-lock: | $(UV) ## new infra/airflow/requirements.txt from requirements.in
	$(UV) pip compile --quiet --python-version 3.11 infra/airflow/requirements.in --no-header --no-annotate --output-file infra/airflow/requirements.txt

$(SUPERSET)/.stamp: infra/superset/requirements.txt | $(UV)
	test -x $(SUPERSET)/bin/python || $(UV) venv --quiet --python $(PYTHON) $(SUPERSET)
	$(UV) pip sync --quiet --compile-bytecode --python $(SUPERSET)/bin/python infra/superset/requirements.txt
	touch $@

superset: $(STAMP) $(SUPERSET)/.stamp ## Superset at http://127.0.0.1:8088 over the last snapshot, returns when it is healthy; again: brings it up to date
	$(BIN)/python infra/superset/server.py start

superset-stop: $(STAMP) ## stop it; what people made in it stays in .superset/
	$(BIN)/python infra/superset/server.py stop

superset-lock: | $(UV) ## new infra/superset/requirements.txt from requirements.in
	$(UV) pip compile --quiet --python-version 3.11 infra/superset/requirements.in --no-header --no-annotate --output-file infra/superset/requirements.txt

screenshots: $(STAMP) ## pictures of every page of the servers that run, into screenshots/ (needs node, npm, chromium)
	cd infra/screenshots && npm ci --silent --no-audit --no-fund && node take.mjs

# A file of tests stays in one process, whose servers they share; files go in the order of the folders, in which those of minutes come early.
test: $(STAMP) lint ## everything that CI runs
	$(BIN)/python -m pytest -m "not deep" --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-deep: $(STAMP) lint ## the same suites at full size
	GRIDLAKE_TEST_SIZE=full $(BIN)/python -m pytest

lint: $(STAMP) ## ruff, mypy, import-linter, sqlfluff, yamllint, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/sqlfluff lint --processes 2 dbt spark_jobs
	$(BIN)/yamllint --strict .
	$(BIN)/gridlake feed check

bench: bench-simulator bench-landing bench-push bench-run bench-identity bench-reports ## every benchmark beside its peer, in one table
	$(BIN)/python -m tests.bench.table

bench-simulator: $(STAMP) ## a million simulated events
	$(BIN)/python -m tests.bench.bench_simulator

bench-landing: $(STAMP) ## from a topic to bronze beside Structured Streaming, from files beside DuckDB, checks beside Great Expectations
	$(BIN)/python -m tests.bench.bench_kafka
	$(BIN)/python -m tests.bench.bench_landing
	$(BIN)/python -m tests.bench.bench_checks

bench-push: $(STAMP) ## 500 signed single-row pushes a second for a minute, each on the disk before it is answered
	$(BIN)/python -m tests.bench.bench_push

bench-run: $(STAMP) ## the whole run on 1 and 10 million events, per step, beside Apache Spark (about two hours, 60 GB)
	$(BIN)/python -m tests.bench.bench_run

bench-identity: $(STAMP) ## a million records of persons linked, and ids over ten increments, beside splink
	$(BIN)/python -m tests.bench.bench_identity

bench-reports: $(STAMP) ## the weekly reports of all 102 regions, docx and html
	$(BIN)/python -m tests.bench.bench_reports

bench-increment: $(STAMP) ## one day on histories of 1, 10 and 50 million events (hours, 300 GB; sizes by --events, see its --help)
	$(BIN)/python -m tests.bench.bench_increment

chaos: $(STAMP) ## runs killed at N points, landers disturbed at N others, the power cut at POWER (make chaos N=300 POWER=500)
	$(BIN)/python -m tests.e2e.chaos $(or $(N),20)
	$(BIN)/python -m tests.e2e.landing_chaos $(or $(N),30)
	$(BIN)/python -m tests.e2e.power --points $(or $(POWER),$(N),20)

dictionary: $(STAMP) ## docs/dictionary from the contracts
	$(BIN)/python -m gridlake.dictionary

clean: ## remove the environment and caches; the lake and the inbox stay
	rm -rf $(VENV) .uv .airflow/venv infra/screenshots/node_modules .mypy_cache .ruff_cache .pytest_cache *.egg-info build
