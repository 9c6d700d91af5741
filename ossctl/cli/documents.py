"""JSON documents about models. Fields keep their meaning until the number of their schema changes."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ossctl.app.library.inventory import Description, Entry, Listing, Unfinished
    from ossctl.app.library.removal import Removal
    from ossctl.app.library.verification import Verdict
    from ossctl.app.placement.fit import Fit


def ls_document(
    listings: list["Listing"],
    outcomes: list["Fit | None"],
    unfinished: list["Unfinished"],
    absent: list["Entry"],
) -> dict[str, Any]:
    """`ossctl.ls/1`, with an outcome for each listing."""
    return {
        "schema": "ossctl.ls/1",
        "models": [_listing(*each) for each in zip(listings, outcomes, strict=True)],
        "unfinished": [_unfinished(each) for each in unfinished],
        "catalogue": [_entry(each) for each in absent],
    }


def show_document(found: "Description") -> dict[str, Any]:
    """`ossctl.show/1` of a model on this machine."""
    return {
        "schema": "ossctl.show/1",
        "here": True,
        **_listing(found.listing, found.fit),
        "architecture": found.architecture,
        "context": found.context,
        "chat_format": found.chat_format,
        "licence": found.licence or None,
        "bytes_by_type": dict(found.types.most_common()),
        "catalogue": _entry(found.entry) if found.entry else None,
    }


def absent_document(entry: "Entry") -> dict[str, Any]:
    """`ossctl.show/1` of a model that is only in the catalogue."""
    return {"schema": "ossctl.show/1", "here": False, "catalogue": _entry(entry)}


def verify_document(verdicts: list["Verdict"]) -> dict[str, Any]:
    """`ossctl.verify/1`: `ok` if there is no problem, `verified` if every hash was known and matches."""
    ok = not any(verdict.problem for verdict in verdicts)
    return {
        "schema": "ossctl.verify/1",
        "ok": ok,
        "verified": ok and all(verdict.expected for verdict in verdicts),
        "files": [
            {
                "path": str(verdict.path),
                "sha256": verdict.sha256 or None,
                "expected": verdict.expected or None,
                "problem": verdict.problem or None,
            }
            for verdict in verdicts
        ],
    }


def rm_document(removal: "Removal", freed: int) -> dict[str, Any]:
    """`ossctl.rm/1`"""
    return {
        "schema": "ossctl.rm/1",
        "freed_bytes": freed,
        "deleted": [str(path) for path in (*removal.links, *removal.contents)],
        "kept": [str(path) for path in removal.shared],
    }


def does_fit(outcome: "Fit | None") -> bool | None:
    """Whether a model fits this machine, or None if its shape is unknown."""
    from ossctl.app.placement.fit import DoesNotFit

    return None if outcome is None else not isinstance(outcome, DoesNotFit)


def _listing(listing: "Listing", outcome: "Fit | None") -> dict[str, Any]:
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
        "fits": does_fit(outcome),
        "problem": listing.problem or None,
    }


def _unfinished(unfinished: "Unfinished") -> dict[str, Any]:
    return {
        "name": unfinished.name,
        "path": str(unfinished.path),
        "bytes": unfinished.n_bytes,
        "total_bytes": unfinished.total,
    }


def _entry(entry: "Entry") -> dict[str, Any]:
    return {
        "name": entry.name,
        "model": entry.model.name,
        "variant": entry.variant.name,
        "reference": str(entry.variant.reference),
        "gigabytes": entry.variant.gigabytes,
        "licence": entry.model.licence,
        "parameters": {"total": entry.model.total, "active": entry.model.active},
        "shape": entry.model.shape,
        "context": entry.model.context,
        "thinking": entry.model.thinking,
        "about": entry.model.about,
    }
