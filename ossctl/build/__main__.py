"""`python -m ossctl.build [BACKEND]`."""

import argparse
import sys

from ossctl.build.errors import BuildError
from ossctl.build.recipe import BACKENDS, make_recipe
from ossctl.build.wheels import install, is_compiled


def main() -> None:
    """Build for the given backends, by default for Metal on a Mac and for the CPU elsewhere."""
    parser = argparse.ArgumentParser(
        prog="python -m ossctl.build",
        description="Compile llama.cpp (llama-cpp-python) for this machine and install it into this Python.",
    )
    backends_help = f"any of {', '.join(BACKENDS)}"
    parser.add_argument("backends", nargs="*", metavar="BACKEND", help=backends_help)
    backends = parser.parse_args().backends or ["metal" if sys.platform == "darwin" else "cpu"]
    for name in backends:
        if name not in BACKENDS:
            parser.error(f"unknown backend {name}; choose from {', '.join(BACKENDS)}")
    try:
        build(backends)
    except BuildError as error:
        sys.exit(f"ossctl.build: {error.message}\n{error.hint}")
    except OSError as error:
        sys.exit(f"ossctl.build: {error}\nSet OSSCTL_HOME to keep wheels in another folder.")
    except KeyboardInterrupt:
        sys.exit(130)


def build(backends: list[str]) -> None:
    """Print what is built and how, then build and install it. Raises BuildError and OSError."""
    recipe = make_recipe(backends)
    compiler = " ".join([recipe.compiler, *recipe.flags])
    time = "using the cached wheel" if is_compiled(recipe) else "this takes a few minutes"
    print(f"Building llama.cpp for {', '.join(backends)} with {compiler}: {time}", flush=True)  # noqa: T201
    install(recipe)


if __name__ == "__main__":
    main()
