"""The devices of other machines that models may be placed on."""

import os


def use_workers(addresses: str) -> None:
    """Count the devices of the workers at `HOST:PORT[,HOST:PORT]` as this machine's, in child processes too.

    Raises UsageError, or OssctlError if a worker cannot be used.
    """
    from ossctl.runtime.log import llama_log
    from ossctl.runtime.rpc import VARIABLE, add_workers

    os.environ[VARIABLE] = ",".join(addresses_of(addresses))
    llama_log()  # ggml reports this machine's devices when the first one is added
    add_workers()


def workers() -> tuple[str, ...]:
    """The addresses of the workers that this process and its children use."""
    from ossctl.runtime.rpc import VARIABLE

    text = os.environ.get(VARIABLE, "")
    return addresses_of(text) if text.strip() else ()


def addresses_of(text: str) -> tuple[str, ...]:
    """The addresses in `HOST:PORT[,HOST:PORT]`, each once. Raises UsageError."""
    from ossctl.runtime.rpc import parse_addresses

    return parse_addresses(text)
