"""Faults in llama.cpp's own code: a library, loaded before it, in which some of its functions are others.

Which one fails is said by variables of the environment: `CRASH_GEMM=4` raises that signal in the kernels for
repacked weights, `WRONG_GEMM=1` has them write nonsense, `CRASH_AT=5` with `CRASH_SIGNAL=11` ends the process
at the fifth graph that it computes, `ABORT_AT=5` fails an assertion there, `CRASH_INIT=4` raises that signal
when the CPU's kernels are set up.
"""

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_KINDS = [
    *(f"{kind}_{shape}_q8_0" for kind in ("q4_0", "iq4_nl", "mxfp4") for shape in ("4x4", "4x8", "8x8")),
    "q4_K_8x8_q8_K",
    "q4_K_8x4_q8_K",
]
_SOURCE = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

static int number(const char * name) { const char * text = getenv(name); return text ? atoi(text) : 0; }

static void * base(const char * name) {
    void * library = dlopen("libggml-base.so.0", RTLD_LAZY | RTLD_NOLOAD);
    return dlsym(library ? library : RTLD_NEXT, name);
}

static void * cpu(const char * name) {
    void * library = dlopen("libggml-cpu.so.0", RTLD_LAZY | RTLD_NOLOAD);
    return dlsym(library ? library : RTLD_NEXT, name);
}

int ggml_backend_sched_graph_compute_async(void * sched, void * graph) {
    static int calls = 0;
    calls++;
    if (number("CRASH_AT") && calls >= number("CRASH_AT")) raise(number("CRASH_SIGNAL"));
    if (number("ABORT_AT") && calls >= number("ABORT_AT"))
        ((void (*)(const char *, int, const char *)) base("ggml_abort"))(
            "test.c", 7, "GGML_ASSERT(0) failed");
    return ((int (*)(void *, void *)) base("ggml_backend_sched_graph_compute_async"))(sched, graph);
}

void ggml_cpu_init(void) {
    if (number("CRASH_INIT")) raise(number("CRASH_INIT"));
    ((void (*)(void)) cpu("ggml_cpu_init"))();
}

#define GEMM(name)                                                                                      \\
    void name(int n, float * s, size_t bs, const void * x, const void * y, int rows, int columns) {     \\
        if (number("CRASH_GEMM")) raise(number("CRASH_GEMM"));                                          \\
        ((void (*)(int, float *, size_t, const void *, const void *, int, int)) cpu(#name))(            \\
            n, s, bs, x, y, rows, columns);                                                             \\
        if (number("WRONG_GEMM")) s[0] += 1000;                                                         \\
    }
"""

needs_compiler = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"
)


def build_faulty_kernels(folder: Path) -> str:
    """Compile it; gives the path for LD_PRELOAD."""
    source, library = folder / "faults.c", folder / "faults.so"
    source.write_text(_SOURCE + "".join(f"GEMM(ggml_gemm_{kind})\n" for kind in _KINDS))
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    ctypes.CDLL(str(library))  # whole, or this fails here
    return str(library)
