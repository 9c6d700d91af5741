"""Hosts of a batch, as the user names them."""

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from ossctl.app.sites.find_model import reference_elsewhere
from ossctl.app.sites.fleet import Place
from ossctl.app.sites.process import ProcessSite
from ossctl.app.sites.site import SiteJob
from ossctl.app.sites.ssh import LOCAL, Host, SshPlace
from ossctl.errors import UsageError

_HOST = re.compile(r"(?P<name>(?:ssh://)?[^\s/-][^\s/]*?)(?::(?P<program>[~/].*))?")
_HOST_WITH_PORT = re.compile(r"[^:]+:\d+")
_PLAIN_PATH = re.compile(r"[\w./~+@=-]+")  # means the same to every shell

_PAUSES = (1.0, 5.0, 15.0, 30.0, 60.0)  # seconds before each try to start a host again


def host_places(
    hosts: str | None, reference: str | None, *, may_pull: bool
) -> Callable[[SiteJob], Sequence[Place]]:
    """The places for `--hosts`, where the model is what `reference` means. Raises UsageError, ModelError."""
    parsed = parse_hosts(hosts or "")
    if reference is None:
        raise UsageError("--hosts needs a model", "Name it with -m: each host finds it by its name.")
    found_as = reference_elsewhere(reference)

    def places(job: SiteJob) -> Sequence[Place]:
        return [_place(host, replace(job, reference=found_as, may_pull=may_pull)) for host in parsed]

    return places


def _place(host: Host, job: SiteJob) -> Place:
    if host.is_local:
        return Place(host.name, functools.partial(ProcessSite, job), is_named=True)
    at_host = SshPlace(replace(job, distant=True), host)
    return Place(host.name, at_host.new_site, _PAUSES, is_named=True)


def parse_hosts(text: str) -> Sequence[Host]:
    """The hosts of `a,user@b,c:/path/to/ossctl`. Raises UsageError."""
    hosts = [_parse_host(part.strip()) for part in text.split(",") if part.strip()]
    if not hosts:
        raise UsageError("--hosts names no host", "For example: --hosts a,user@b,localhost.")
    names = [host.name for host in hosts]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"--hosts names {name} twice", "A host has one engine.")
    return hosts


def _parse_host(text: str) -> Host:
    found = _HOST.fullmatch(text)
    if found is None:
        raise UsageError(f"--hosts: {text!r} is not a host name", "For example: a, user@b or localhost.")
    name = found["name"]
    host = Host(LOCAL if name == "." else name, found["program"] or "")
    if _HOST_WITH_PORT.fullmatch(host.name):
        raise UsageError(
            f"--hosts: {text}: a port can only be part of a URL", f"Use ssh://{text}, or ~/.ssh/config."
        )
    if host.program and host.is_local:
        raise UsageError(f"--hosts: {text}: localhost always uses the running ossctl", "Leave the path out.")
    if host.program and not _PLAIN_PATH.fullmatch(host.program):
        raise UsageError(
            f"--hosts: {host.program} has characters that shells interpret differently",
            "Create a link to it there, with a plain name.",
        )
    return host
