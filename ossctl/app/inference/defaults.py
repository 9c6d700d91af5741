"""What requests get that do not say otherwise."""

import datetime as dt
from dataclasses import dataclass, field

from ossctl.dialect import Effort, JsonFormat
from ossctl.engine.request import Sampling


@dataclass(frozen=True)
class Defaults:
    """What a request gets that does not say otherwise.

    `date` is what the model is told today is; if that is None it is told `today`, which is not part of what
    was asked. The seed of `sampling` is that of line 0: each line has the next, so that the same file gives
    the same answers again and its lines differ. `system` are instructions for a conversation that has none,
    `timeout` the seconds that an answer may take once it is begun.
    """

    date: dt.date | None = None
    effort: Effort | None = None
    max_reasoning_tokens: int | None = None
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)
    today: dt.date | None = None
    system: str = ""
    json_format: JsonFormat | None = None
    timeout: float | None = None
