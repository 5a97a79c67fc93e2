# The commands of a developer. They need GNU make (3.81, as on macOS, will do) and a POSIX shell.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
PIP_INSTALL = -m pip install --disable-pip-version-check

# What `make demo`, `make congruence` and `make bench` work on.
DATASET =
DATA =
ONCE =
TFS =
TARGET =
MODELS =
BENCH =

# Arguments for pytest and for `uv pip compile`.
PYTEST = -n 2 --dist loadfile
LOCK =

MAIN = $(VENV)/.ready
GENERATOR = .venv-gen
SDK_ENVIRONMENTS = .venv-sdk-oldest .venv-sdk-newest
TRITON = .venv-triton
LOCKER = .venv-lock

.PHONY: help setup demo test lint format gen bench congruence test-environments test-sdk protos \
	release-protos lock clean distclean

help: ## Explain the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@echo
	@echo "Variables: PYTHON=$(PYTHON) (3.11 to 3.13) creates the environment VENV=$(VENV)."

setup: $(MAIN) ## Create the environment and install everything into it

demo: $(MAIN) ## Train, export, serve, classify [DATASET=digits DATA=path ONCE=1 TFS=host:port]
	@$(BIN)/heliograph demo $(if $(DATASET),--dataset "$(DATASET)") $(if $(DATA),--data "$(DATA)") \
		$(if $(ONCE),--once) $(if $(TFS),--tfs "$(TFS)")

test: ## Run every check and test, as CI does
	$(call phase,setup)
	$(call phase,test-environments)
	$(call phase,lint)
	$(call phase,test-sdk)
	@$(BIN)/python -m pytest $(PYTEST)

lint: $(MAIN) ## Check style, types, imports between packages, and protos
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(MAKE) --no-print-directory protos

format: $(MAIN) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

gen: $(GENERATOR)/.ready ## Generate the Python code of protos/
	@test -x $(GENERATOR)/bin/python || { $(GENERATOR_MISSING); exit 1; }
	@$(GENERATOR)/bin/python protos/generate.py

bench: $(MAIN) ## Run every benchmark, or one of benchmarks/ [BENCH=client_footprint]
	@for script in $(if $(BENCH),benchmarks/$(BENCH),benchmarks/*.py benchmarks/comparison); do \
		script=$${script%.py}; echo "== $$script"; \
		$(BIN)/python -m "benchmarks.$${script##*/}" || exit 1; \
	done

congruence: $(MAIN) ## Run the wire contract against a TensorFlow Serving [TARGET=host:port MODELS=path]
	@test -n "$(TARGET)" || { echo "Name the server: make congruence TARGET=host:port" >&2; exit 2; }
	@$(BIN)/python -m pytest tests/congruence --target "$(TARGET)" $(if $(MODELS),--models "$(MODELS)")

test-environments: $(MAIN) $(GENERATOR)/.ready $(SDK_ENVIRONMENTS:=/.ready) $(TRITON)/.ready ## Create the small environments of the tests

# protobuf before 5.27 has classes of a kind that Python 3.12 and newer advise against.
OLD_PROTOBUF = -W "ignore:Type google._upb._message:DeprecationWarning"

test-sdk: $(SDK_ENVIRONMENTS:=/.ready) ## Test the SDK on the oldest and the newest grpcio and protobuf
	@for environment in $(SDK_ENVIRONMENTS); do \
		echo "$$environment: $$($$environment/bin/python -m pip freeze | \
			grep -E '^(grpcio|protobuf|googleapis)' | tr '\n' ' ')"; \
		$$environment/bin/python -m pytest --confcutdir=tests/contract/sdk tests/contract/sdk \
			$(OLD_PROTOBUF) || exit 1; \
	done

# buf reads an image that protoc made, so that both judge the same descriptors.
IMAGE = build/heliograph.binpb
BUF_CONFIG = --config protos/buf.yaml

protos: $(MAIN) $(GENERATOR)/.ready
	@if test -x $(GENERATOR)/bin/python; then \
		mkdir -p build && $(GENERATOR)/bin/python protos/generate.py --image $(IMAGE) && \
		$(BIN)/buf lint $(IMAGE) $(BUF_CONFIG) && \
		$(BIN)/buf breaking $(IMAGE) --against protos/released.yaml $(BUF_CONFIG); \
	else $(GENERATOR_MISSING); fi

release-protos: protos ## Record protos/ as released: what `buf breaking` compares with
	@$(BIN)/buf build $(IMAGE) --exclude-source-info --output protos/released.yaml

lock: $(LOCKER)/.ready ## Write constraints.txt again [LOCK=--upgrade]
	@$(LOCKER)/bin/uv pip compile pyproject.toml --extra all --group dev --universal \
		--python-version 3.11 --fork-strategy fewest --strip-extras --no-annotate \
		--no-emit-index-url --custom-compile-command "make lock" --quiet \
		--output-file constraints.txt $(LOCK)

clean: ## Remove builds, caches, the small environments and the demo's folder
	@rm -rf build dist demo .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@for environment in $(GENERATOR) $(SDK_ENVIRONMENTS) $(TRITON) $(LOCKER); do \
		rm -rf "$$environment"; \
	done

distclean: clean ## Remove the environment of `make setup` as well
	@if test -f $(MAIN); then rm -rf "$(VENV)"; fi

# Environments. A stamp in each is older than the files that it was made from: then it is made again.

$(MAIN): pyproject.toml constraints.txt
	@if test -x $(BIN)/python; then $(BIN)/python tools/check_python.py; \
		else $(PYTHON) tools/check_python.py && $(PYTHON) -m venv $(VENV); fi
	@echo "Installing into $(VENV): the first time about 800 MB to download on Linux x86-64, TensorFlow alone 572 MB."
	@$(BIN)/python $(PIP_INSTALL) --quiet --upgrade "pip>=25.1"
	@$(BIN)/python $(PIP_INSTALL) --constraint constraints.txt --editable ".[all]" --group dev
	@touch $@

# The generator has wheels for Python 3.11 and 3.12, not for 3.13.
GENERATOR_MISSING = echo "Skipped the protos: their generator needs python3.12 or python3.11, and neither is here." >&2

$(GENERATOR)/.ready: protos/requirements.txt | $(MAIN)
	@if python=$$($(BIN)/python tools/check_python.py --find 3.12 3.11); then \
		echo "Creating $(GENERATOR), which generates code from protos/."; \
		"$$python" -m venv --clear $(GENERATOR) && \
		$(GENERATOR)/bin/python $(PIP_INSTALL) --quiet --requirement protos/requirements.txt && \
		touch $@; \
	fi

.venv-sdk-%/.ready: tests/environments/sdk-%.txt tests/environments/pytest.txt \
		pyproject.toml constraints.txt | $(MAIN)
	@echo "Creating .venv-sdk-$*, which has the SDK alone."
	@$(BIN)/python -m venv --clear .venv-sdk-$*
	@.venv-sdk-$*/bin/python $(PIP_INSTALL) --quiet --requirement tests/environments/pytest.txt
	@.venv-sdk-$*/bin/python $(PIP_INSTALL) --quiet --editable . --requirement tests/environments/sdk-$*.txt
	@touch $@

$(TRITON)/.ready: tests/environments/triton.txt pyproject.toml | $(MAIN)
	@echo "Creating $(TRITON), which has NVIDIA's client beside the SDK."
	@$(BIN)/python -m venv --clear $(TRITON)
	@$(TRITON)/bin/python $(PIP_INSTALL) --quiet --editable . --requirement tests/environments/triton.txt
	@touch $@

$(LOCKER)/.ready: | $(MAIN)
	@$(BIN)/python -m venv --clear $(LOCKER)
	@$(LOCKER)/bin/python $(PIP_INSTALL) --quiet uv
	@touch $@

# Runs a target as a phase of `make test` and prints how long it took.
define phase
+@start=$$(date +%s); $(MAKE) --no-print-directory $(1) && \
	echo "== $(1): $$(( $$(date +%s) - start )) s"
endef
