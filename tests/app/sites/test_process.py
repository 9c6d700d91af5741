"""The driver's side of a child, when the driver itself is at fault."""

from queue import SimpleQueue
from threading import Lock
from typing import Any, cast

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.run import BatchModel
from ossctl.app.inference.defaults import Defaults
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.sites.process import ProcessSite
from ossctl.app.sites.site import Beat, Lost, SiteEvent, SiteJob
from ossctl.app.tools.options import ToolOptions
from ossctl.planning.workload import Workload


def test_a_bug_while_receiving_is_the_death_of_the_site() -> None:
    unsendable = cast(Any, Lock())
    model = BatchModel(NANO_FILE, LoadOptions())
    job = SiteJob(model, LineParser(Defaults()), Workload(), ToolOptions(), cpus=unsendable)
    events = SimpleQueue[SiteEvent]()
    ProcessSite(job).start(events.put)
    while isinstance(death := events.get(timeout=60), Beat):
        pass
    assert isinstance(death, Lost)
    assert "cannot pickle '_thread.lock' object" in death.reason
