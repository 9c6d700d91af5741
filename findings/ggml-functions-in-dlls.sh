#!/usr/bin/env bash
# Functions of ggml through ctypes. llama.cpp is several shared libraries, and llama-cpp-python opens two of them, llama
# and ggml. On Linux, either handle has every function, since dlsym also searches the libraries that a library depends
# on. GetProcAddress on Windows does not, and neither llama.dll nor ggml.dll exports the functions of gguf.h, most of
# ggml.h or those of ggml-cpu.h: a program that works on Linux gets an AttributeError. They are in ggml-base.dll and
# ggml-cpu*.dll. Seen with the libraries of node-llama-cpp 3.21.1.
#
# Seen:
#   function                   through libllama.so   exported by
#   llama_model_load_from_file True                  llama
#   ggml_backend_dev_count     True                  ggml
#   ggml_init                  True                  ggml-base
#   gguf_init_from_file        True                  ggml-base
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" -q install --no-cache-dir pefile==2024.8.26
cd "$folder"
for system in linux win; do
  npm pack --silent "@node-llama-cpp/$system-x64@3.21.1" > /dev/null
  mkdir "$system"
  tar xzf "node-llama-cpp-$system-x64-3.21.1.tgz" -C "$system" --strip-components=3
done
"$folder/venv/bin/python" - <<'PYTHON'
import ctypes
import pathlib

import pefile

EXPECTED = {
    "llama_model_load_from_file": "llama",
    "ggml_backend_dev_count": "ggml",
    "ggml_init": "ggml-base",
    "gguf_init_from_file": "ggml-base",
}


def exports(path):
    image = pefile.PE(str(path), fast_load=True, max_symbol_exports=100_000)
    image.parse_data_directories([pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_EXPORT"]])
    return {symbol.name.decode() for symbol in image.DIRECTORY_ENTRY_EXPORT.symbols if symbol.name}


libraries = {path.name.partition(".")[0]: exports(path) for path in pathlib.Path("win").glob("*.dll")}
(library,) = pathlib.Path("linux").glob("libllama.*so*")
llama = ctypes.CDLL(str(library.resolve()))
print(f"{'function':26} {'through libllama.so':21} exported by")
for name, place in EXPECTED.items():
    found = sorted(dll for dll, names in libraries.items() if name in names)
    print(f"{name:26} {hasattr(llama, name)!s:21} {', '.join(found)}")
    assert hasattr(llama, name)
    assert found == [place]
PYTHON
