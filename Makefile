# Every target does its own set-up. VENV may point to another folder.
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help setup demo test lint format bench docs lock clean

help:
	@echo "make demo    break a real platform on this machine and watch treewalk find out why (KEEP=1 leaves it up)"
	@echo "make test    run every test            make lint    ruff, mypy --strict, import-linter"
	@echo "make bench   measure, as a table       make docs    regenerate schemas and command help in docs/"
	@echo "make format  format the code           make lock    renew requirements-dev.lock"

setup:
	@scripts/setup.sh "$(VENV)"

demo: setup
	@scripts/system-packages.sh demo
	@$(BIN)/treewalk sandbox demo

test: setup
	@scripts/system-packages.sh test
	@$(BIN)/python -m pytest -m "not alone" -n 2 $(PYTEST_ARGS)
	@scripts/side-by-side.sh $(BIN)/python $(PYTEST_ARGS)

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: setup
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: setup
	@scripts/system-packages.sh demo
	@$(BIN)/python -m bench.run
	@$(BIN)/python -m bench.intake
	@$(BIN)/python -m bench.naming
	@$(BIN)/python -m bench.incidents.score

docs: setup
	@$(BIN)/python scripts/make_docs.py

lock: setup
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --upgrade -q -o requirements-dev.lock

clean:
	@rm -rf "$(VENV)" .cache dist build
