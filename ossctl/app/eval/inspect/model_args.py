"""The arguments of Inspect's `-M NAME=VALUE`: ossctl's options by their own names."""

import datetime as dt
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from inspect_ai.model import GenerateConfig
from msgspec import Meta

from ossctl.app.eval.inspect.settings import ProviderSettings
from ossctl.app.inference.options import GenerationOptions
from ossctl.app.inference.template_options import TemplateOptions
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.options import ToolOptions
from ossctl.app.wire.chat_completions import convert
from ossctl.dialect import Effort, Think
from ossctl.errors import RequestError, UsageError

_Count = Annotated[int, Meta(ge=0)]
_Positive = Annotated[int, Meta(ge=1)]


class ModelArgs(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """The options, as YAML reads their values. `think` may be `on` or `off`, which YAML reads as booleans."""

    ctx: _Positive | Literal["max"] | None = None
    parallel: Annotated[int, Meta(ge=1, le=256)] | None = None
    gpu_layers: _Count | None = None
    cpu_moe: _Count | None = None
    kv: Literal["f16", "q8_0"] | None = None
    ubatch: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    threads: Annotated[int, Meta(ge=0, le=512)] = 0
    device: str | None = None
    template: str | None = None
    template_vars: dict[str, Any] = {}
    system: str = ""
    effort: Effort | None = None
    think: bool | Think | None = None
    max_reasoning_tokens: _Count | None = None
    date: dt.date | None = None
    seed: _Count = 0
    schema_retries: _Count = GenerationOptions.schema_retries
    python: bool = False
    python_in: Literal["monty", "bwrap", "container"] | None = None
    python_files: str | None = None
    tool_rounds: _Positive = ToolOptions.max_rounds
    tool_timeout: Annotated[float, Meta(ge=0.1)] = ToolOptions.seconds

    def load_options(self) -> LoadOptions:
        """Raises UsageError."""
        return LoadOptions(
            self.ctx,
            self.parallel,
            self.gpu_layers,
            self.cpu_moe,
            self.kv,
            self.ubatch,
            self.threads,
            self.device,
            template=TemplateOptions(self.template).template(),
        )

    def settings(self) -> ProviderSettings:
        """Raises UsageError."""
        switch: dict[object, Think] = {True: "on", False: "off", "on": "on", "off": "off"}
        generation = GenerationOptions(
            system=self.system,
            effort=self.effort,
            think=switch.get(self.think),
            max_reasoning_tokens=self.max_reasoning_tokens,
            date=self.date,
            seed=self.seed,
            schema_retries=self.schema_retries,
            template_variables=self.template_vars,
        )
        tools = ToolOptions(
            python=self.python,
            python_in=self.python_in,
            python_files=None if self.python_files is None else Path(self.python_files),
            max_rounds=self.tool_rounds,
            seconds=self.tool_timeout,
        )
        return ProviderSettings(generation.defaults(), tools.toolbox())


def read_model_args(given: Mapping[str, Any]) -> tuple[LoadOptions, ProviderSettings]:
    """How to load the model, and the defaults of its requests. Raises UsageError."""
    args = {name.replace("-", "_"): value for name, value in given.items()}
    for name in args:
        _check_name(name)
    try:
        read = convert({name: value for name, value in args.items() if value is not None}, ModelArgs)
    except RequestError as error:
        raise UsageError(f"-M {error.message}") from None
    return read.load_options(), read.settings()


def _check_name(name: str) -> None:
    known = ModelArgs.__struct_fields__
    if name in known:
        return
    if name in GenerateConfig.model_fields:
        raise UsageError(f"-M {name} is not an argument of the model", f"Use --{name.replace('_', '-')}.")
    nearest = get_close_matches(name[:80], known, n=1)
    hint = f"Did you mean {nearest[0]}?" if nearest else f"The arguments are {', '.join(known)}."
    raise UsageError(f"-M {name} is not an argument of ossctl's models", hint)
