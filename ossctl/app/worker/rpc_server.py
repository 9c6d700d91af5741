"""Serve devices by llama.cpp's RPC: `python -P -m ossctl.app.worker.rpc_server HOST:PORT THREADS DEVICE…`.

The server never returns, prints to stdout when a client connects or leaves, and dies of a client's bad
requests, so it is a process of its own. It ends when its stdin is closed, which the death of its parent does.
"""

import functools
import os
import sys
import threading


def main() -> None:
    """Serve until stdin ends."""
    from ossctl.app.worker.offers import offers_of
    from ossctl.runtime.crash import crash_reporter
    from ossctl.runtime.devices import list_devices, serve
    from ossctl.runtime.pulse import answer
    from ossctl.runtime.rpc import split_address

    crash_reporter().stand_aside()
    address, threads, *devices = sys.argv[1:]
    threading.Thread(target=_end_with_parent, daemon=True).start()
    by_name = {each.name: each for each in list_devices()}
    offers = functools.partial(offers_of, [by_name[name] for name in devices])
    threading.Thread(target=answer, args=(split_address(address), offers), daemon=True).start()
    serve(address, int(threads), devices)
    sys.exit("llama.cpp's RPC server has ended")


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
