"""`ossctl cache`: the prefix cache on disk."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.options import JsonOutput
from ossctl.cli.transfer import gigabytes

cache = typer.Typer(no_args_is_help=True, help="List and clear the prefix cache on disk.")


@cache.command("list")
@command
def list_(
    *,
    model: Annotated[
        str | None,
        typer.Option(
            "-m", "--model", metavar="MODEL", show_default=False, help="List only prefixes of this model."
        ),
    ] = None,
    out: JsonOutput,
) -> None:
    """List cached prefixes, latest first: model, number of tokens, size and chat."""
    from ossctl.app.library.prefix_cache import cached_prefixes

    found = cached_prefixes(model)
    records = [
        {
            "model": each.model,
            "session": each.owner or None,
            "tokens": each.n_tokens,
            "bytes": each.n_bytes,
            "created": _time(each.created).isoformat(timespec="seconds"),
            "used": _time(each.used).isoformat(timespec="seconds"),
        }
        for each in found
    ]
    out.json({"schema": "ossctl.cache/1", "bytes": sum(each.n_bytes for each in found), "entries": records})
    if not found:
        out.note("Nothing is cached.")
        return
    rows = [
        (
            each.model,
            f"{each.n_tokens:,}",
            gigabytes(each.n_bytes),
            f"{_time(each.used):%Y-%m-%d %H:%M}",
            each.owner,
        )
        for each in found
    ]
    out.table([("MODEL", "TOKENS", "SIZE", "LAST USED", "CHAT"), *rows])
    out.note(f"{len(found)} in all, {gigabytes(sum(each.n_bytes for each in found))}.")


@cache.command()
@command
def clear(
    *,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", metavar="MODEL", show_default=False, help="Clear only this model's."),
    ] = None,
    out: JsonOutput,
) -> None:
    """Delete cached prefixes. Their prompts are then processed again."""
    from ossctl.app.library.prefix_cache import clear_cache

    freed = clear_cache(model=model)
    out.json({"schema": "ossctl.cache-clear/1", "freed": freed})
    out.note(f"{gigabytes(freed)} freed.")


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).astimezone()
