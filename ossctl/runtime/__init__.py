"""llama.cpp behind a narrow interface: the only folder that imports its bindings."""

import os

# At a barrier libgomp's threads spin 300,000 times before they sleep. If another process is busy, they spin
# while the thread they wait for has no core: two runs at once on two cores were 22 times slower. With 1,000,
# which libgomp itself uses if there are more threads than cores, nothing else is measurably slower. libgomp
# reads this when it is loaded, so before the bindings are imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# Otherwise ggml has a debugger, if one is installed, print pages of stack trace when it aborts.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
