"""`ossctl ls`, `show`, `verify` and `rm`."""

import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ossctl.cli.command import command
from ossctl.cli.documents import (
    absent_document,
    does_fit,
    ls_document,
    rm_document,
    show_document,
    verify_document,
)
from ossctl.cli.options import JsonOutput, YesOption
from ossctl.cli.output import Output
from ossctl.cli.transfer import gigabytes, transfer_progress
from ossctl.errors import ModelError, UsageError

if TYPE_CHECKING:
    from ossctl.app.library.inventory import Description, Entry, Listing
    from ossctl.app.library.removal import Removal
    from ossctl.app.placement.fit import Fit

_LISTING_HEAD = ("NAME", "SIZE", "TYPE", "FROM", "LAST USED", "VERIFIED", "FITS", "")
_ENTRY_HEAD = ("TO FETCH", "SIZE", "LICENCE", "")
_FITS = {True: "yes", False: "no", None: ""}

_Reference = Annotated[
    str, typer.Argument(metavar="MODEL", help="A name that `ossctl ls` shows, hf:ORG/REPO…, or a path.")
]


@command
def ls(
    *,
    everything: Annotated[
        bool, typer.Option("-a", "--all", help="Also those that could be fetched by name.")
    ] = False,
    out: JsonOutput,
) -> None:
    """List the models on this machine.

    Models of LM Studio, llama.cpp and Ollama are listed where llama.cpp can load them; they are used where
    they are, never copied.
    """
    from ossctl.app.library.inventory import entries_to_fetch, fits_here, list_models, unfinished_downloads

    listings, unfinished = list_models(), unfinished_downloads()
    absent = entries_to_fetch(listings) if everything else []
    outcomes = fits_here(listings)
    out.json(ls_document(listings, outcomes, unfinished, absent))
    if listings:
        out.table([_LISTING_HEAD, *map(_listing_row, listings, outcomes)])
    for each in unfinished:
        of = f" of {gigabytes(each.total)}" if each.total else ""
        out.text(f"unfinished: {each.name}, {gigabytes(each.n_bytes)}{of}; pull goes on, rm deletes it")
    if absent:
        out.table([_ENTRY_HEAD, *map(_entry_row, absent)])
    if not listings and not unfinished and not absent:
        out.note("No model is on this machine yet. `ossctl ls -a` lists what `ossctl pull` knows.")


@command
def show(*, reference: _Reference, out: JsonOutput) -> None:
    """Describe a model: architecture, context, licence, chat format, tensors."""
    from ossctl.app.library.inventory import Description, describe

    found = describe(reference)
    if isinstance(found, Description):
        out.json(show_document(found))
        out.table(_description_rows(found))
    else:
        out.json(absent_document(found))
        out.table(_entry_rows(found))


@command
def verify(*, reference: _Reference, out: JsonOutput) -> None:
    """Check the files of a model: their structure, and their sha256 against the record of it.

    The exit code is 4 if one is damaged.
    """
    from ossctl.app.library.verification import verify_model

    with transfer_progress(out) as progress:
        verdicts = verify_model(reference, progress.watch)
    bad = [verdict for verdict in verdicts if verdict.problem]
    out.json(verify_document(verdicts))
    for verdict in (each for each in verdicts if not each.problem):
        state = "sha256 is right" if verdict.expected else "complete; nobody has written down its sha256"
        out.text(f"{verdict.path.name}  {state}")
    if bad:
        raise ModelError(bad[0].problem, bad[0].hint)


@command
def rm(*, reference: _Reference, yes: YesOption = False, out: JsonOutput) -> None:
    """Delete a model from the Hugging Face cache.

    What it frees is said before. Contents that other commits or repositories use stay.
    """
    from ossctl.app.library.removal import plan_removal, remove

    removal = plan_removal(reference)
    freed = removal.n_bytes
    for line in _removal_lines(removal):
        out.note(line)
    if not yes:
        _ask(out, f"Delete it and free {gigabytes(freed)}?")
    remove(removal)
    out.json(rm_document(removal, freed))
    out.note(f"{gigabytes(freed)} freed")


def _ask(out: Output, question: str) -> None:
    if not out.can_ask:
        raise UsageError("nothing was deleted: there is nobody to ask", "Give -y to delete it.")
    if not out.confirm(question):
        raise typer.Exit


def _removal_lines(removal: "Removal") -> list[str]:
    lines = [f"{path} · {gigabytes(path.stat().st_size)}" for path in removal.contents]
    if removal.shared:
        lines.append(f"{len(removal.shared)} of its files are used elsewhere in the cache, and stay.")
    return lines


def _listing_row(listing: "Listing", outcome: "Fit | None") -> tuple[str, ...]:
    model = listing.model
    label = model.label if model.origin == "Ollama" else ""  # the others' paths say it
    return (
        _at_home(model.name),
        gigabytes(model.n_bytes),
        listing.quantisation,
        f"{model.origin} {label}".strip(),
        _day(listing.used) or "never",
        "yes" if listing.verified else "no",
        _FITS[does_fit(outcome)],
        listing.problem,
    )


def _entry_row(entry: "Entry") -> tuple[str, ...]:
    model = entry.model
    about = model.about if entry.variant == model.variants[0] else entry.variant.about
    return entry.name, f"{entry.variant.gigabytes:.1f} GB", model.licence, about


def _entry_rows(entry: "Entry") -> list[tuple[str, str]]:
    from ossctl.app.library.inventory import fit_of_entry
    from ossctl.cli.plan_view import in_one_line

    outcome = fit_of_entry(entry)
    how = [("plan", in_one_line(outcome))] if outcome else []
    return [
        ("name", f"{entry.name}: {entry.model.name}, {entry.variant.about}"),
        ("for", entry.model.about),
        ("size", f"{entry.variant.gigabytes:.1f} GB"),
        *how,
        ("shape", entry.model.shape),
        ("licence", entry.model.licence),
        ("from", str(entry.variant.reference)),
        ("", f"not on this machine: `ossctl pull {entry.name}` fetches it"),
    ]


def _description_rows(found: "Description") -> list[tuple[str, str]]:
    from ossctl.cli.plan_view import in_one_line

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
        ("plan", in_one_line(found.fit) if found.fit else ""),
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


def _at_home(name: str) -> str:
    """A path as a shell takes it, and short."""
    home = str(Path.home()) + os.sep
    return f"~{os.sep}{name.removeprefix(home)}" if name.startswith(home) and os.name == "posix" else name


def _day(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d") if moment else ""
