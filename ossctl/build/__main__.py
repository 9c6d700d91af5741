"""`python -m ossctl.build [BACKEND]`."""

import argparse
import sys

from ossctl.build.errors import BuildError
from ossctl.build.recipe import BACKENDS, make_recipe
from ossctl.build.wheels import install, is_compiled


def main() -> None:
    """Build for the backends that are named; for the CPU, and on a Mac for Metal, if none is."""
    parser = argparse.ArgumentParser(
        prog="python -m ossctl.build",
        description="Compile llama.cpp (llama-cpp-python) for this machine and install it into this Python.",
    )
    parser.add_argument(
        "backends", nargs="*", metavar="BACKEND", help=f"{', '.join(BACKENDS)}; may be several"
    )
    backends = parser.parse_args().backends or ["metal" if sys.platform == "darwin" else "cpu"]
    for name in backends:
        if name not in BACKENDS:
            parser.error(f"there is no backend {name}; there are {', '.join(BACKENDS)}")
    try:
        build(backends)
    except BuildError as error:
        sys.exit(f"ossctl.build: {error.message}\n{error.hint}")
    except OSError as error:
        sys.exit(f"ossctl.build: {error}\nOSSCTL_HOME moves the folder where wheels are kept.")
    except KeyboardInterrupt:
        sys.exit(130)


def build(backends: list[str]) -> None:
    """Say what is built and how, and do it. Raises BuildError."""
    recipe = make_recipe(backends)
    compiler = " ".join([recipe.compiler, *recipe.flags])
    time = "there is a wheel" if is_compiled(recipe) else "this takes some minutes"
    print(f"llama.cpp for {', '.join(backends)}, by {compiler}: {time}", flush=True)  # noqa: T201
    install(recipe)


if __name__ == "__main__":
    main()
