"""llama.cpp behind a narrow interface: the only folder that imports its bindings."""

import os

# Between two parts of a computation, libgomp's threads spin 300,000 times before they sleep. With any other
# busy process beside, they spin while the one they wait for has no core: two runs at once on two cores were
# 22 times slower. 1,000 is what libgomp itself takes when there are more threads than cores, and costs
# nothing measurable otherwise. It reads this when it is loaded, so before the bindings are imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

# When it gives up, ggml has a debugger print a trace of the stack, if there is one: pages for the terminal.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
