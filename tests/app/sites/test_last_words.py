"""What a dead process said last, in one line."""

import pytest

from ossctl.app.sites.last_words import cause_of

ADVICE = "`ossctl doctor` shows what works here. Details: crash.txt"


@pytest.mark.parametrize(
    ("stderr", "cause"),
    [
        ([], "exit code 1"),
        (["a warning", "CUDA error: out of memory", ""], "exit code 1: CUDA error: out of memory"),
        (
            ["a warning", "ossctl: llama.cpp crashed: a.c:7: GGML_ASSERT(0) failed.", ADVICE],
            "llama.cpp crashed: a.c:7: GGML_ASSERT(0) failed",
        ),
        (["ossctl: llama.cpp crashed: SIGSEGV.", ADVICE], "llama.cpp crashed: SIGSEGV"),
        (
            ["terminate called", "  what():  no memory", "ossctl: llama.cpp crashed: SIGABRT.", ADVICE],
            "llama.cpp crashed: SIGABRT: what():  no memory",
        ),
    ],
)
def test_the_cause_is_one_line(stderr: list[str], cause: str) -> None:
    assert cause_of("exit code 1", "\n".join(stderr)) == cause
