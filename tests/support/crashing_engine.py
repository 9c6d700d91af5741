"""Requests that end the engine's process in native code, each time: a `sitecustomize` of the child only.

A prompt with `ASSERT` fails an assertion of ggml, with `FAULT` raises SIGSEGV, and with `VANISH` SIGKILL, as
the system does when memory is short. It happens where llama.cpp computes the prompt, beside whatever else
runs.
"""

from pathlib import Path

_SITECUSTOMIZE = r"""
import sys

if sys.orig_argv[-1] == "site":
    import ctypes
    import os
    import signal

    from ossctl.runtime.context import LlamaRunner

    broken = False
    if ONE_WORKS:
        try:
            os.close(os.open(__file__ + ".first", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            broken = True
    original_init, original_decode = LlamaRunner.__init__, LlamaRunner.decode

    def init(self, model, options):
        original_init(self, model, options)
        self.crash_vocab = model.vocab

    def decode(self, chunks):
        for chunk in chunks:
            text = b"".join(map(self.crash_vocab.piece, map(int, chunk.tokens)))
            if b"ASSERT" in text:
                from ossctl.runtime.ggml import function

                abort = function("ggml_abort", None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
                abort(b"test.c", 7, b"GGML_ASSERT(0) failed")
            if b"FAULT" in text:
                ctypes.CDLL(None)["raise"](signal.SIGSEGV)
            if broken or b"VANISH" in text:
                os.kill(os.getpid(), signal.SIGKILL)
        return original_decode(self, chunks)

    LlamaRunner.__init__, LlamaRunner.decode = init, decode
"""


def crashing_engine(folder: Path, *, one_works: bool = False) -> str:
    """A `PYTHONPATH` with which engines in processes of their own crash.

    If only `one_works`, all engines but the first one end with whatever they compute.
    """
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(f"ONE_WORKS = {one_works}\n{_SITECUSTOMIZE}")
    return str(folder)
