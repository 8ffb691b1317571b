# Two commands do everything: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FUZZ_INPUTS ?= 10000
OPERATOR_EXAMPLES ?= 5000
FUZZ_SEED := $(or $(FUZZ_SEED),$(shell date +%s))
# Quiet tools, and nothing sent anywhere.
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export MLFLOW_DISABLE_TELEMETRY := true

.DEFAULT_GOAL := help
.PHONY: help setup demo up test caffe2 lint format types contracts proto bench zoo cpp docs fuzz faults operators clean

help: ## list the targets
	@grep -hE '^[a-z0-9]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-10s %s\n", $$1, $$2}'

setup: $(INSTALLED) ## set up .venv (Python 3.11)

$(INSTALLED): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on the PATH; install Python 3.11 or say PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[pipeline,s3,postgres,dask,onnxruntime,dev,docs]'
	@touch $@

demo: setup ## convert the demo zoo through the Prefect flow and print the table
	$(BIN)/roastery run

up: setup ## start a Prefect server, an MLflow server and the deployments on this machine (UP="--home DIR --prefect-port N ...")
	$(BIN)/roastery up $(UP)

test: setup ## pass the tests (those of genuine Caffe2 where `make caffe2` was run)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadgroup --durations=60 --durations-min=10

caffe2: ## add genuine Caffe2 in .caffe2 (CPython 3.8 or 3.9; CAFFE2_PYTHON=/path/to/python)
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on the PATH; install Python 3.11 or say PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) tools/install_caffe2.py

cpp: setup caffe2 ## build caffe2_detect, the C++ program for converted models, in build/cpp
	$(BIN)/python tools/build_cpp.py

lint: setup ## ruff: rules and format; clang-format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror cpp/src/*

format: setup ## let ruff and clang-format mend what they can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i cpp/src/*

types: setup ## mypy, strict
	$(BIN)/mypy

contracts: setup ## import-linter: which room may import which
	$(BIN)/lint-imports

proto: setup ## generate roastery/caffe2/caffe2_pb2.py from caffe2.proto
	$(BIN)/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. roastery/caffe2/caffe2.proto

fuzz: setup ## read 10,000 hostile files under watch, others each time (FUZZ_INPUTS=..., FUZZ_SEED=... to repeat)
	@echo "the inputs of FUZZ_SEED=$(FUZZ_SEED)"
	ROASTERY_FUZZ_INPUTS=$(FUZZ_INPUTS) ROASTERY_FUZZ_SEED=$(FUZZ_SEED) OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	  $(BIN)/python -m pytest -n auto --dist loadgroup --timeout 0 tests/fuzz

faults: setup ## break an installation over several hosts in every way that is tested (as root; PostgreSQL, iproute2 and gcc)
	OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -m '' --timeout 900 -rP tests/deployments/test_host_faults.py

operators: setup caffe2 ## hold every operator against genuine Caffe2 in 5,000 drawn cases (OPERATOR_EXAMPLES=...)
	ROASTERY_OPERATOR_EXAMPLES=$(OPERATOR_EXAMPLES) OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 \
	  $(BIN)/python -m pytest --timeout 0 tests/caffe2/operators

bench: setup ## time the conversion of a full-size Mask R-CNN R50-FPN, stage by stage
	$(BIN)/python benchmarks/conversion.py

zoo: setup ## convert detectron2's 59 official configs at full size, and print what each takes (ZOO="--only GLOB --fresh ...")
	$(BIN)/python benchmarks/zoo.py $(ZOO)

docs: setup ## build the docs site in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## remove what the demo left (the store and the registry), the built site, and caches
	rm -rf .roastery .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build site *.egg-info
