"""The devices of other machines that models may be placed on."""

import os


def use_workers(addresses: str) -> None:
    """Count the devices of the workers at `HOST:PORT[,HOST:PORT]` as this machine's, in child processes too.

    Raises UsageError, or OssctlError if a worker cannot be used.
    """
    from ossctl.runtime.rpc import VARIABLE, add_workers, parse_addresses

    os.environ[VARIABLE] = ",".join(parse_addresses(addresses))
    add_workers()


def workers() -> tuple[str, ...]:
    """The addresses of the workers that this process and its children use."""
    from ossctl.runtime.rpc import VARIABLE, parse_addresses

    text = os.environ.get(VARIABLE, "")
    return parse_addresses(text) if text.strip() else ()
