"""A site's side of a batch: it gets lines and gives back records."""

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.batch.run import BatchModel
from ossctl.app.inference.defaults import Defaults
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.sites.site import Done, FromSite, SiteJob, SiteLine
from ossctl.app.sites.worker import SiteWorker
from ossctl.app.tools.options import ToolOptions
from ossctl.planning.workload import Workload


def test_a_line_that_is_given_back_is_forgotten() -> None:
    said: list[FromSite] = []
    job = SiteJob(BatchModel(NANO_FILE, LoadOptions()), LineParser(Defaults()), Workload(), ToolOptions())
    worker = SiteWorker(job, said.append)
    bodies = [b'{"prompt": "Hello", "max_tokens": 2}', b"not JSON", b'{"prompt": "Hi", "max_tokens": 9}'] * 4
    worker.submit([SiteLine(3 * n, n, body) for n, body in enumerate(bodies, 1)])
    worker.finish()
    worker.run()
    done = {event.index: event.counts.sums for event in said if isinstance(event, Done)}
    assert sorted(done) == [3 * n for n in range(1, 13)]
    assert [n for n in done if done[n].get("failed")] == [6, 15, 24, 33]
    assert not worker._indices
