"""Devices of other machines."""

import subprocess
import sys


def test_ggml_reports_go_to_the_log_before_a_worker_is_added() -> None:
    """Adding one makes ggml list this machine's GPUs, on stderr unless the log is routed."""
    script = """
from ossctl.app.placement.workers import use_workers
from ossctl.runtime import rpc
from ossctl.runtime.log import llama_log

rpc.add_workers = lambda: print(llama_log.cache_info().currsize)
use_workers("127.0.0.1:9")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "1\n"
