"""The line below the prompt. Nothing here changes anything: the prompt asks for it with every redraw."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.repl.wording import percent, share

if TYPE_CHECKING:
    from ossctl.repl.repl import Repl

_MIN_PREFILL = 128  # tokens left to prefill; fewer are done in a moment


@dataclass(frozen=True)
class Part:
    """A piece of the toolbar."""

    text: str
    is_warning: bool = False


def toolbar(repl: "Repl") -> list[Part]:
    """What the user should see while writing."""
    if repl.chat.is_ready:
        return list(_parts(repl))
    if repl.model.error is not None:
        return [Part(f"{repl.model.name} is not loaded", is_warning=True)]
    return [Part(f"loading {repl.model.name} …")]


def _parts(repl: "Repl") -> Iterator[Part]:
    chat, meter = repl.chat, repl.meter
    yield Part(chat.model.name or repl.model.name)
    if chat.effort is not None:
        yield Part(f"effort {chat.effort}")
    if meter.rate:
        yield Part(f"{meter.rate:,.1f} tokens/s")
    done, total = chat.model_session.prefill_progress or (0, 0)
    if total - done >= _MIN_PREFILL:
        yield Part(f"prefilling {share(done / total)}")
    usage = meter.usage
    if usage is not None and usage.used:
        hint = ", /compact frees space" if usage.nearly_full else ""
        yield Part(f"context {percent(usage)}{hint}", usage.nearly_full)
    if repl.composer.attachments:
        yield Part(f"with {', '.join(Path(file.name).name for file in repl.composer.attachments)}")
    if chat.log.problem:
        yield Part("not saved", is_warning=True)
