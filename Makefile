# The two commands a newcomer needs are `make demo` and `make test`; `make` alone lists them all.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
WORKERS ?= 2
INSTALLED := .venv/installed
DEMO := runs/demo
# Only a lake with campaigns that have a control can tell what contacts add, so configs/demo.yaml leaves it out.
UPLIFT := uplift={campaigns: objective=sale, learners: [t, dr], folds: 3, bags: 4, embedding: false, examples: 20000}

.PHONY: help environment demo test lint sbom audit clean

help:  ## List these targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r target line; do printf 'make %-12s %s\n' "$$target" "$$line"; done

environment: $(INSTALLED)  ## Create .venv and install the pinned dependencies

# torch goes first and alone: pip then takes the wheel for this machine that it finds, before anything else asks for one.
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1); try: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into .venv, which takes a few minutes the first time"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt torch
	@.venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[train,serve,objects,cluster,traces,dev]'
	@touch $@

# $(call step,verb and arguments): show a command of the demo, run it, say how long it took
step = @set -eo pipefail; bundle=$$(tail -n 1 $(DEMO)/train.txt); echo; echo "$$ recsys $(1)"; started=$$(date +%s); \
	.venv/bin/recsys $(1); echo "took $$(( $$(date +%s) - started )) s"

demo: $(INSTALLED)  ## Make a synthetic bank, train, evaluate, verify, score, report, plan a campaign
	@rm -rf $(DEMO) && mkdir -p $(DEMO) && touch $(DEMO)/train.txt
	$(call step,data synth $(DEMO)/lake --customers 20000 --seed 0)
	$(call step,data check $(DEMO)/lake)
	$(call step,check configs/demo.yaml --lake $(DEMO)/lake --set '$(UPLIFT)')
	$(call step,train configs/demo.yaml --lake $(DEMO)/lake --out $(DEMO)/bundles --set '$(UPLIFT)' | tee $(DEMO)/train.txt)
	$(call step,verify $$bundle)
	$(call step,evaluate $$bundle --lake $(DEMO)/lake --json > $(DEMO)/evaluation.json)
	$(call step,score $$bundle $(DEMO)/lake $(DEMO)/scores)
	$(call step,segments report $$bundle --lake $(DEMO)/lake --out $(DEMO)/segments)
	$(call step,churn report $$bundle --lake $(DEMO)/lake --out $(DEMO)/churn)
	$(call step,uplift report $$bundle --lake $(DEMO)/lake --out $(DEMO)/uplift)
	$(call step,campaign plan docs/campaign_plan_uplift.yaml $$bundle $(DEMO)/lake $(DEMO)/plan)
	@echo; .venv/bin/recsys report $$(tail -n 1 $(DEMO)/train.txt) --lake $(DEMO)/lake --scores $(DEMO)/scores \
		--evaluation $(DEMO)/evaluation.json
	@echo "(in a shell where you said: source .venv/bin/activate)"

test: $(INSTALLED)  ## Run the tests
	OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 .venv/bin/python -m pytest -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25 --durations-min=5

lint: $(INSTALLED)  ## Check style, types and the direction of the imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

sbom: $(INSTALLED)  ## Write dist/sbom.json: every installed package with version and licence, as CycloneDX has it
	.venv/bin/python .ci/sbom.py dist/sbom.json

audit: $(INSTALLED)  ## Look the pinned dependencies up in the database of known vulnerabilities; needs the internet
	@$(PYTHON) -m venv .venv/audit && .venv/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	.venv/audit/bin/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

clean:  ## Remove what the demo, the tests and the builds wrote; .venv stays
	rm -rf $(DEMO) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache lightning_logs
	find recsys training serving tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
