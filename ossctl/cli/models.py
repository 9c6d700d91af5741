"""`ossctl ls`, `show`, `verify` and `rm`."""

import os
from datetime import datetime
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
from ossctl.cli.transfer import gigabytes, transfer_progress
from ossctl.errors import ModelError

if TYPE_CHECKING:
    from ossctl.app.library.inventory import Description, Entry, Listing
    from ossctl.app.library.removal import Removal
    from ossctl.app.placement.fit import Fit

_LISTING_HEAD = ("NAME", "SIZE", "TYPE", "FROM", "LAST USED", "VERIFIED", "FITS", "")
_ENTRY_HEAD = ("AVAILABLE", "SIZE", "TOTAL", "ACTIVE", "CONTEXT", "THINKING", "LICENCE")
_FITS = {True: "yes", False: "no", None: ""}

_Reference = Annotated[
    str, typer.Argument(metavar="MODEL", help="A name from `ossctl ls`, hf:ORG/REPO…, or a path.")
]


@command
def ls(
    *,
    everything: Annotated[
        bool, typer.Option("-a", "--all", help="Also list models that `ossctl pull` can fetch by name.")
    ] = False,
    out: JsonOutput,
) -> None:
    """List the models on this machine.

    Models of LM Studio, llama.cpp and Ollama are included if llama.cpp can load them. They are used in place,
    never copied.
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
        out.text(
            f"unfinished: {each.name}, {gigabytes(each.n_bytes)}{of}; "
            "`ossctl pull` resumes it, `ossctl rm` deletes it"
        )
    if absent:
        out.table([_ENTRY_HEAD, *map(_entry_row, absent)], optional=1)
        out.note("`ossctl show NAME` describes one of them.")
    if not listings and not unfinished and not absent:
        out.note(
            "There are no models on this machine yet. `ossctl ls -a` lists what `ossctl pull` can fetch."
        )


@command
def show(*, reference: _Reference, out: JsonOutput) -> None:
    """Describe a model: architecture, context size, licence, chat format, tensors."""
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
    """Check the structure and the SHA-256 of a model's files.

    The exit code is 4 if a file is damaged.
    """
    from ossctl.app.library.verification import verify_model

    with transfer_progress(out) as progress:
        verdicts = verify_model(reference, progress.watch)
    bad = [verdict for verdict in verdicts if verdict.problem]
    out.json(verify_document(verdicts))
    for verdict in (each for each in verdicts if not each.problem):
        state = "SHA-256 matches" if verdict.expected else "complete; the expected SHA-256 is not known"
        out.text(f"{verdict.path.name}  {state}")
    if bad:
        raise ModelError(bad[0].problem, bad[0].hint)


@command
def rm(*, reference: _Reference, yes: YesOption = False, out: JsonOutput) -> None:
    """Delete a model from the Hugging Face cache.

    Shows what will be freed, and asks. Files shared with other commits or repositories are kept.
    """
    from ossctl.app.library.removal import plan_removal, remove

    removal = plan_removal(reference)
    freed = removal.n_bytes
    for line in _removal_lines(removal):
        out.note(line)
    if not yes and not out.may_delete(f"Delete it and free {gigabytes(freed)}?"):
        return
    remove(removal)
    out.json(rm_document(removal, freed))
    out.note(f"{gigabytes(freed)} freed")


def _removal_lines(removal: "Removal") -> list[str]:
    lines = [f"{path} · {gigabytes(path.stat().st_size)}" for path in removal.contents]
    if removal.shared:
        lines.append(f"kept, because the cache uses them elsewhere: {len(removal.shared)} of its files")
    return lines


def _listing_row(listing: "Listing", outcome: "Fit | None") -> tuple[str, ...]:
    model = listing.model
    label = model.label if model.origin == "Ollama" else ""  # the names of other models are paths
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
    """A row of less than 100 characters, so without what the model is for; `ossctl show` has that."""
    model = entry.model
    return (
        entry.name,
        f"{entry.variant.gigabytes:.1f} GB",
        f"{model.total:g} B",
        f"{model.active:g} B",
        f"{model.context:,}",
        model.thinking.removeprefix("effort: "),
        model.licence.removesuffix(" Model License"),
    )


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
        *_facts(entry),
        ("context", f"{entry.model.context:,} tokens"),
        ("licence", entry.model.licence),
        ("from", str(entry.variant.reference)),
        ("", f"not on this machine; `ossctl pull {entry.name}` fetches it"),
    ]


def _facts(entry: "Entry") -> list[tuple[str, str]]:
    model = entry.model
    return [("parameters", model.parameters), ("shape", model.shape), ("thinking", model.thinking)]


def _description_rows(found: "Description") -> list[tuple[str, str]]:
    from ossctl.cli.plan_view import in_one_line

    model, listing = found.listing.model, found.listing
    types = ", ".join(f"{name} {gigabytes(n_bytes)}" for name, n_bytes in found.types.most_common())
    origin = f"{model.origin}, {model.repo} at {model.commit}" if model.repo else str(model.origin)
    rows = [
        ("name", model.name),
        ("for", found.entry.model.about if found.entry else ""),
        ("size", gigabytes(model.n_bytes)),
        *(_facts(found.entry) if found.entry else ()),
        ("licence", found.licence),
        ("architecture", found.architecture),
        ("plan", in_one_line(found.fit) if found.fit else ""),
        ("context", f"{found.context:,} tokens" if found.context else ""),
        ("chat format", found.chat_format),
        ("tensors", types),
        ("from", origin),
        ("verified", "yes" if listing.verified else f"no; `ossctl verify {model.name}` checks it"),
        ("last used", _day(listing.used) or "never"),
        ("problem", listing.problem),
        *(("file", str(path)) for path in model.files),
    ]
    return [row for row in rows if row[1]]


def _at_home(name: str) -> str:
    """Shorten a path in the home folder to `~/…`, as shells expand it."""
    home = os.path.expanduser(f"~{os.sep}")  # noqa: PTH111 (never raises)
    return f"~{os.sep}{name.removeprefix(home)}" if name.startswith(home) and os.name == "posix" else name


def _day(moment: datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d") if moment else ""
