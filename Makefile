# c2d: `make demo` and `make test` work on a fresh Debian or Ubuntu machine with Python >= 3.11, git and make.
# Both use the same .venv, which is set up on first use and again when pyproject.toml or the pinned versions change.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

# One process for each core, at most 8 (each needs up to 2 GiB for imported packages), with one thread each: the tensors
# of the tests are small. The tests of a file run in one process, so that its fixtures are created once.
WORKERS ?= auto
test test-slow students graphs simulate trust: export OMP_NUM_THREADS ?= 1
test-cluster test-web: export OMP_NUM_THREADS ?= 2
# Threads that spin while they wait take ten times as long on a machine with other work.
test test-slow trust test-cluster test-web: export OMP_WAIT_POLICY ?= PASSIVE

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow smoke study study-report students graphs freeze simulate trust test-cluster test-web docs docs-outputs wheel lint format pins lock audit clean

help: ## this text
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

demo: $(READY) ## the demo: four cells on procedural scenes, then their table (ARGS=--full for all of it)
	@$(BIN)/c2d demo $(ARGS)

test: $(READY) ## the tests (at most 10 minutes on 2 cores; ARGS="-k icod" to choose)
	$(BIN)/python -m pytest -q -n $(WORKERS) --maxprocesses 8 --dist loadfile -m "not slow and not cluster and not web" $(ARGS)

test-slow: $(READY) ## the tests marked slow, a minute or more each: scale, coverage, the benchmarks of benchmarks
	$(BIN)/python -m pytest -q -m "slow and not cluster and not web" $(ARGS)

study: $(READY) ## continue the study: train what its archive lacks (some 20 hours of two cores; ARGS="study-rivals --filter seed=0")
	@bash .ci/study $(ARGS)

study-report: $(READY) ## docs/study from the archive of its runs: tables, figures, page
	@$(BIN)/python -m tests.docs_site study

students: $(READY) ## train a step of every kind of student under every method, and write docs/students.md (minutes)
	@nice $(BIN)/python -W ignore -m tests.c2d.support_table

graphs: $(READY) ## write a student of every kind as ONNX and OpenVINO, and the table of docs/export.md (minutes)
	@nice $(BIN)/python -W ignore -m tests.c2d.export.graph_table

freeze: $(READY) ## write sweeps/frozen: the run ids that the sweeps of published tables plan
	@$(BIN)/python -m sweeps.reproduce.frozen_reference

simulate: $(READY) ## the simulations of docs/results/statistics.md, minutes of a core each
	@nice $(BIN)/python -m tests.analysis.stats.simulate_comparisons
	@nice $(BIN)/python -m tests.analysis.stats.simulate_best
	@nice $(BIN)/python -m tests.analysis.stats.simulate_gap --repeats 2000
	@nice $(BIN)/python -m tests.analysis.stats.contrasts.simulate_claims
	@nice $(BIN)/python -m tests.analysis.stats.power.simulate_power
	@nice $(BIN)/python -m tests.analysis.comparison.simulate_intervals

trust: $(READY) ## the campaign of docs/results/trust.md: kills, faults, fuzzing, soak (an hour; root; ARGS=PART for one)
	@$(BIN)/python -m tests.trust $(ARGS)

test-cluster: $(READY) ## tests on a real SLURM, started for them (root, and the packages that .ci/slurm installs; SLOW=1 for all)
	@bash .ci/marked cluster $(BIN)/python $(ARGS)

test-web: $(READY) ## tests with a real browser and real LaTeX
	@bash .ci/marked web $(BIN)/python $(ARGS)

smoke: $(READY) ## every cell of every sweep for two steps on generated images (minutes; ARGS="icod-students" for one)
	$(BIN)/python -m c2d sweep smoke --report $(ARGS)

wheel: $(READY) ## build the wheel and try it: a report without torch, a training with it
	@bash .ci/wheel $(BIN)/python

# mkdocs-material names the end of its maintenance (May 2027) in every build; the dates of files would differ in each.
docs: export NO_MKDOCS_2_WARNING := 1
docs: export SOURCE_DATE_EPOCH ?= 0
docs: $(READY) ## the documentation as a site that needs no network: site/index.html
	@$(BIN)/python -W ignore -m tests.docs_site commands
	@$(BIN)/python -m mkdocs build --strict
	@echo "site/index.html: open it in a browser"

docs-outputs: $(READY) ## run every command of the tutorials, and write what it prints (20 minutes; ARGS=docs/tutorials/train.md)
	@$(BIN)/python -m tests.docs_site outputs $(ARGS)

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY) ## fix what ruff can fix
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

venv: $(READY) ## set up .venv (the other targets do this too)

$(READY): pyproject.toml .ci/setup $(wildcard constraints/py*.txt)
	@bash .ci/setup "$(PYTHON)" "$(VENV)"
	@touch $@

pins: $(READY) ## write the packages of .venv to constraints/pyXY.txt (remove that file and .venv first to renew it)
	@bash .ci/pins $(BIN)/python

lock: $(READY) ## write constraints/locked-pyXY.txt and the licences: every package of a Python with its digest
	@bash .ci/lock "$(PYTHON)"

audit: $(READY) ## known vulnerabilities of the locked packages (exit 3: the index has no data, nothing is proved)
	@$(BIN)/python -c 'import pip_audit' 2>/dev/null || $(BIN)/python -m pip install --quiet pip-audit
	@$(BIN)/python .ci/audit.py $(wildcard constraints/locked-py*.txt)

clean: ## remove .venv and caches; runs and data stay
	rm -rf "$(VENV)" .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site c2d_suite.egg-info
