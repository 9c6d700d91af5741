"""`ossctl ls`, `show`, `verify` and `rm`."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ossctl.cli.options import JsonOption, VerboseOption, YesOption
from ossctl.cli.output import print_json, print_line, print_table, say, show_log, somebody_to_ask
from ossctl.cli.transfer import gigabytes, transfer_progress
from ossctl.errors import ModelError, UsageError

if TYPE_CHECKING:
    from ossctl.app.library import Description, Entry, Listing, Unfinished
    from ossctl.app.removal import Removal

_Reference = Annotated[
    str, typer.Argument(metavar="MODEL", help="A name that `ossctl ls` shows, hf:ORG/REPO…, or a path.")
]


def ls(
    everything: Annotated[
        bool, typer.Option("-a", "--all", help="Also those that could be fetched by name.")
    ] = False,
    as_json: JsonOption = False,
    verbose: VerboseOption = 0,
) -> None:
    """List the models on this machine.

    Models of LM Studio, llama.cpp and Ollama are listed where llama.cpp can load them; they are used where
    they are, never copied.
    """
    from ossctl.app.library import list_models, not_here, unfinished_downloads

    show_log(verbose)
    listings, unfinished = list_models(), unfinished_downloads()
    absent = not_here(listings) if everything else []
    if as_json:
        print_json(
            "ossctl.ls/1",
            models=[_listing_json(each) for each in listings],
            unfinished=[_unfinished_json(each) for each in unfinished],
            catalogue=[_entry_json(each) for each in absent],
        )
        return
    if listings:
        print_table(
            ("NAME", "SIZE", "TYPE", "FROM", "LAST USED", "VERIFIED", ""), map(_listing_row, listings)
        )
    for each in unfinished:
        of = f" of {gigabytes(each.total)}" if each.total else ""
        print_line(f"unfinished: {each.name}, {gigabytes(each.n_bytes)}{of}; pull goes on, rm deletes it")
    if absent:
        print_table(("TO FETCH", "SIZE", "LICENCE", ""), map(_entry_row, absent))
    if not listings and not unfinished and not absent:
        say("No model is on this machine but nano. `ossctl ls -a` lists what `ossctl pull` knows.")


def show(reference: _Reference, as_json: JsonOption = False, verbose: VerboseOption = 0) -> None:
    """Describe a model: architecture, context, licence, chat format, tensors."""
    from ossctl.app.library import Description, describe

    show_log(verbose)
    found = describe(reference)
    if not isinstance(found, Description):
        if as_json:
            print_json("ossctl.show/1", here=False, catalogue=_entry_json(found))
            return
        rows = _entry_rows(found)
        print_table((), [*rows, ("", f"not on this machine: `ossctl pull {found.name}` fetches it")])
        return
    if as_json:
        print_json("ossctl.show/1", here=True, **_description_json(found))
        return
    print_table((), _description_rows(found))


def verify(reference: _Reference, as_json: JsonOption = False, verbose: VerboseOption = 0) -> None:
    """Check the files of a model: their structure, and their sha256 against the record of it.

    The exit code is 4 if one is damaged.
    """
    from ossctl.app.verification import verify_model

    show_log(verbose)
    with transfer_progress() as progress:
        verdicts = verify_model(reference, progress.watch)
    bad = [verdict for verdict in verdicts if verdict.problem]
    if as_json:
        files = [
            {
                "path": str(verdict.path),
                "sha256": verdict.sha256 or None,
                "expected": verdict.expected or None,
                "problem": verdict.problem or None,
            }
            for verdict in verdicts
        ]
        verified = not bad and all(verdict.expected for verdict in verdicts)
        print_json("ossctl.verify/1", ok=not bad, verified=verified, files=files)
    else:
        for verdict in verdicts:
            state = "sha256 is right" if verdict.expected else "complete; nobody has written down its sha256"
            if not verdict.problem:
                print_line(f"{verdict.path.name}  {state}")
    if bad:
        raise ModelError(bad[0].problem, bad[0].hint)


def rm(
    reference: _Reference, yes: YesOption = False, as_json: JsonOption = False, verbose: VerboseOption = 0
) -> None:
    """Delete a model from the Hugging Face cache.

    What it frees is said before. Contents that other commits or repositories use stay.
    """
    from ossctl.app.removal import plan_removal, remove

    show_log(verbose)
    removal = plan_removal(reference)
    freed = removal.n_bytes
    for line in _removal_lines(removal):
        say(line)
    if not yes:
        _ask(f"Delete it and free {gigabytes(freed)}?")
    remove(removal)
    if as_json:
        deleted = [str(path) for path in (*removal.links, *removal.contents)]
        print_json(
            "ossctl.rm/1", freed_bytes=freed, deleted=deleted, kept=[str(path) for path in removal.shared]
        )
    say(f"{gigabytes(freed)} freed")


def _ask(question: str) -> None:
    if not somebody_to_ask():
        raise UsageError("nothing was deleted: there is nobody to ask", "Give -y to delete it.")
    if not typer.confirm(question, err=True):
        raise typer.Exit


def _removal_lines(removal: "Removal") -> list[str]:
    lines = [f"{path} · {gigabytes(path.stat().st_size)}" for path in removal.contents]
    if removal.shared:
        lines.append(f"{len(removal.shared)} of its files are used elsewhere in the cache, and stay.")
    return lines


def _listing_row(listing: "Listing") -> tuple[str, ...]:
    model = listing.model
    label = model.label if model.origin == "Ollama" else ""  # the others' paths say it
    return (
        _at_home(model.name),
        gigabytes(model.n_bytes),
        listing.quantisation,
        f"{model.origin} {label}".strip(),
        _day(listing.used) or "never",
        "yes" if listing.verified else "no",
        listing.problem,
    )


def _entry_row(entry: "Entry") -> tuple[str, ...]:
    model = entry.model
    about = model.about if entry.variant == model.variants[0] else entry.variant.about
    return entry.name, f"{entry.variant.gigabytes:.1f} GB", model.licence, about


def _entry_rows(entry: "Entry") -> list[tuple[str, str]]:
    return [
        ("name", f"{entry.name}: {entry.model.name}, {entry.variant.about}"),
        ("for", entry.model.about),
        ("size", f"{entry.variant.gigabytes:.1f} GB"),
        ("shape", entry.model.shape),
        ("licence", entry.model.licence),
        ("from", str(entry.variant.reference)),
    ]


def _description_rows(found: "Description") -> list[tuple[str, str]]:
    model, listing = found.listing.model, found.listing
    types = ", ".join(f"{name} {gigabytes(n_bytes)}" for name, n_bytes in found.types.most_common())
    came_from = f"{model.origin}, {model.repo} at {model.commit}" if model.repo else str(model.origin)
    rows = [
        ("name", model.name),
        ("for", found.entry.model.about if found.entry else ""),
        ("size", gigabytes(model.n_bytes)),
        ("shape", found.entry.model.shape if found.entry else ""),
        ("licence", found.licence),
        ("architecture", found.architecture),
        ("context", f"{found.context:,} tokens" if found.context else ""),
        ("chat format", found.chat_format),
        ("tensors", types),
        ("from", came_from),
        ("verified", "yes" if listing.verified else f"no: `ossctl verify {model.name}` does it"),
        ("last used", _day(listing.used) or "never"),
        ("problem", listing.problem),
        *(("file", str(path)) for path in model.files),
    ]
    return [row for row in rows if row[1]]


def _listing_json(listing: "Listing") -> dict[str, Any]:
    model = listing.model
    return {
        "name": model.name,
        "bytes": model.n_bytes,
        "type": listing.quantisation or None,
        "origin": str(model.origin),
        "label": model.label or None,
        "repo": model.repo or None,
        "commit": model.commit or None,
        "files": [str(path) for path in model.files],
        "last_used": listing.used.isoformat() if listing.used else None,
        "verified": listing.verified,
        "problem": listing.problem or None,
    }


def _unfinished_json(unfinished: "Unfinished") -> dict[str, Any]:
    return {
        "name": unfinished.name,
        "path": str(unfinished.path),
        "bytes": unfinished.n_bytes,
        "total_bytes": unfinished.total,
    }


def _entry_json(entry: "Entry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "model": entry.model.name,
        "variant": entry.variant.name,
        "reference": str(entry.variant.reference),
        "gigabytes": entry.variant.gigabytes,
        "licence": entry.model.licence,
        "shape": entry.model.shape,
        "about": entry.model.about,
    }


def _description_json(found: "Description") -> dict[str, Any]:
    return {
        **_listing_json(found.listing),
        "architecture": found.architecture,
        "context": found.context,
        "chat_format": found.chat_format,
        "licence": found.licence or None,
        "bytes_by_type": dict(found.types.most_common()),
        "catalogue": _entry_json(found.entry) if found.entry else None,
    }


def _at_home(name: str) -> str:
    """A path as a shell takes it, and short."""
    home = str(Path.home()) + os.sep
    return f"~{os.sep}{name.removeprefix(home)}" if name.startswith(home) and os.name == "posix" else name


def _day(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d") if moment else ""
