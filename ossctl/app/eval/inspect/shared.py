"""Engines by model: a process loads each once, for all of Inspect's models that use it."""

import atexit
import threading
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from ossctl.app.eval.inspect.engine import AsyncEngine
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import explain_crashes, load_model
from ossctl.app.library.resolve import choose
from ossctl.app.placement.load_options import LoadOptions
from ossctl.errors import Interrupted
from ossctl.planning.workload import Purpose, Workload

_Key = tuple[Path, LoadOptions]


@dataclass
class SharedEngine:
    """An engine with the number of its users, and what the user of the model should know."""

    key: _Key
    engine: AsyncEngine
    remarks: tuple[str, ...]
    parts: ExitStack
    users: int = 0


@dataclass
class SharedEngines:
    """The engines of a process."""

    _by_key: dict[_Key, SharedEngine] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, reference: str, options: LoadOptions) -> SharedEngine:
        """The engine of a model, which is loaded if it is not yet. Raises as `choose` and `load_model` do."""
        choice = choose(reference, options)
        key = choice.path.resolve(), options
        with self._lock:
            if key not in self._by_key:
                self._by_key[key] = _load(key, choice.warning)
            shared = self._by_key[key]
            shared.users += 1
            return shared

    def give_back(self, shared: SharedEngine) -> None:
        """Free the model once for each `take`; the last one ends it."""
        with self._lock:
            shared.users -= 1
            if not shared.users:
                del self._by_key[shared.key]
                shared.parts.close()

    def close(self) -> None:
        """Free all models."""
        with self._lock:
            while self._by_key:
                self._by_key.popitem()[1].parts.close()


def _load(key: _Key, warning: str) -> SharedEngine:
    path, options = key
    explain_crashes("The samples in Inspect's log are complete.")
    interrupt = Interrupt()
    with ExitStack() as parts:
        try:
            # Handlers of signals are for the main thread
            with interrupt if threading.current_thread() is threading.main_thread() else nullcontext():
                model = parts.enter_context(load_model(path, options, Workload(Purpose.BATCH), interrupt))
        except Interrupted:
            raise KeyboardInterrupt from None
        engine = parts.enter_context(AsyncEngine(model))
        remarks = tuple(filter(None, (warning, *model.remarks)))
        return SharedEngine(key, engine, remarks, parts.pop_all())


ENGINES = SharedEngines()  # Inspect makes the models: nothing else lives as long as they do
atexit.register(ENGINES.close)
