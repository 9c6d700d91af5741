"""Which tasks there are, the most important ones first."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tools.devices.model_files import ModelFile
from tools.devices.options import Options
from tools.devices.task import CHECKS, CPU, Kind, Placement, Task

_PARTS = (Placement.HALF, Placement.EXPERTS)
_BATCHED = ("tiny", "20b")  # many sequences at once: many small kernels, and what people run


@dataclass(frozen=True)
class Agenda:
    """`devices` are llama.cpp's names, the CPU not among them; `folder` is for the CPU's logits."""

    options: Options
    devices: tuple[str, ...]
    models: tuple[ModelFile, ...]
    folder: Path
    server: str | None = None
    addresses: tuple[str, ...] = ()

    def tasks(self) -> Iterator[Task]:
        """Those that are asked for, in order. References are made where they are needed first."""
        for task in self._all():
            if any(map(self.wants, CHECKS[task.kind])):
                yield task

    def wants(self, check: str) -> bool:
        """Whether it is asked for; another one may come with it."""
        return not self.options.checks or check in self.options.checks

    def model(self, task: Task) -> ModelFile | None:
        return next((each for each in self.models if each.name == task.model), None)

    def reference_for(self, task: Task) -> Task:
        """The task that makes what `task` compares with."""
        return replace(task, kind=Kind.REFERENCE, device=CPU, placement=Placement.WHOLE)

    def _all(self) -> Iterator[Task]:
        small = [model for model in self.models if model.small]
        large = [model for model in self.models if not model.small]
        yield Task(Kind.DOCTOR)
        yield from self._placed(small, self.devices, Placement.WHOLE)
        yield from self._placed(large, self.devices, Placement.WHOLE)
        yield from self._batches(self.devices)
        if not self.options.quick:
            for models in (small, large):
                for placement in _PARTS:
                    yield from self._placed(models, self.devices, placement)
        if self._cpu:
            yield from self._placed([*small, *(m for m in large if m.whole)], self._cpu, Placement.WHOLE)
            yield from self._batches(self._cpu)

    @property
    def _cpu(self) -> tuple[str, ...]:
        named = [name.upper() for name in self.options.devices]
        return (CPU,) if not named or CPU in named else ()

    def _placed(
        self, models: Iterable[ModelFile], devices: Sequence[str], placement: Placement
    ) -> Iterator[Task]:
        """For each model and device: a load, and the answers where the CPU's can be had."""
        for model in models:
            for device in devices:
                task = replace(self._task(Kind.LOAD, model), device=device, placement=placement)
                yield task
                if model.whole and (device != CPU or model.small):
                    yield replace(task, kind=Kind.ANSWERS)

    def _batches(self, devices: Sequence[str]) -> Iterator[Task]:
        batched = [model for model in self.models if model.name in _BATCHED] or self.models[:1]
        for model in batched:
            for device in devices if model.whole or CPU not in devices else ():
                for n_seq in self.options.batch:
                    yield replace(self._task(Kind.BATCH, model), device=device, n_seq=n_seq)

    def _task(self, kind: Kind, model: ModelFile) -> Task:
        return Task(
            kind=kind,
            model=model.name,
            path=str(model.path),
            ctx=self.options.ctx,
            seconds=self.options.seconds,
            reference=str(self.folder / f"{model.path.stem}.npz"),
            server=self.server,
            addresses=self.addresses,
        )
