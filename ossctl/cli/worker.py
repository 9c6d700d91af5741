"""`ossctl worker`."""

from typing import Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.output import Output


@command
def worker(
    *,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="The address to serve at; an IPv4 address or name."
        ),
    ] = "127.0.0.1:50052",
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            metavar="NAME[,NAME]",
            help="Devices to serve, such as CUDA0 or CPU.  [default: all GPUs, or the CPU]",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", metavar="N", min=0, max=512, help="CPU threads; 0 means one per physical core."
        ),
    ] = 0,
) -> None:
    """Serve this machine's devices to `ossctl` on another machine, until Ctrl-C.

    There, --rpc HOST:PORT adds them to that machine's own. Clients are served one at a time. llama.cpp's RPC
    has no authentication and no encryption: use addresses other than 127.0.0.1 in private networks only.
    """
    from ossctl.app.worker.serve import prepare, serve

    out = Output()
    served = prepare(listen, device, threads)

    def show() -> None:
        for each in served.devices:
            free, total = each.free / 2**30, each.total / 2**30
            out.text(f"{each.name}  {each.description}: {free:.1f} of {total:.1f} GiB free")
        out.text(f"Ready. On the other machine: --rpc {served.public}")

    if not served.is_loopback:
        out.warning(
            f"{served.address} can be reached from other machines, and llama.cpp's RPC has no authentication "
            "and no encryption. Use it in a private network only."
        )
    serve(served, show, out.text)
