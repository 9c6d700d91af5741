"""ossctl as a provider of models for Inspect AI: its own engine, in this process."""

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, cast

import msgspec
from inspect_ai._util.error import PrerequisiteError  # shown without a traceback
from inspect_ai.model import (
    ChatMessage,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelCall,
    ModelInfo,
    ModelOutput,
    set_model_info,
)
from inspect_ai.solver._task_state import sample_state  # it alone has the epoch
from inspect_ai.tool import ToolChoice, ToolInfo

from ossctl.app.eval.inspect import registry
from ossctl.app.eval.inspect.engine import AsyncEngine
from ossctl.app.eval.inspect.messages import Body, body_of, in_inspects_words
from ossctl.app.eval.inspect.model_args import read_model_args
from ossctl.app.eval.inspect.outputs import Outputs, call_of
from ossctl.app.eval.inspect.settings import ProviderSettings
from ossctl.app.eval.inspect.shared import ENGINES
from ossctl.app.wire.chat_completions import Task, parse_task
from ossctl.app.wire.lines import Line
from ossctl.dialect import Conversation, Message
from ossctl.engine.request import N_SEEDS
from ossctl.errors import OssctlError, RequestError
from ossctl.harmony.dialect import HarmonyDialect

_CONNECTIONS_PER_SEQUENCE = 2  # as many as run wait in the engine, ready to follow
_REQUEST = Line(0)  # Inspect's requests come from no file

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """An engine, what its requests have in common, and how to give it back."""

    engine: AsyncEngine
    settings: ProviderSettings
    close: Callable[[], None]


def provider_for(engine: AsyncEngine, settings: ProviderSettings, name: str = "") -> Model:
    """A model `ossctl/NAME` of Inspect; `name` is the loaded model's if it is empty.

    A loaded model has one engine at a time, which may serve several of Inspect's models; close it after them.
    Raises UsageError for settings that the model does not support.
    """
    served = Served(engine, settings.for_model(engine.model), lambda: None)
    make = cast(Callable[..., ModelAPI], registry.ossctl)
    config = GenerateConfig()
    api = make(model_name=name or engine.model.name, config=config, served=served)
    made = Model(api, config)
    api.qualified_model_name = str(made)
    return made


class OssctlAPI(ModelAPI):
    """A model of ossctl. Inspect makes one for each name, configuration and arguments.

    Those with the same model and loading options share an engine. Arguments (`-M NAME=VALUE`) are ossctl's
    options by their own names.
    """

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig | None = None,
        *,
        served: Served | None = None,
        **model_args: Any,
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config or GenerateConfig())
        if base_url or api_key:
            raise PrerequisiteError("ossctl runs models in this process, without a base URL or an API key.")
        self._served = served or _serve(model_name, model_args)
        loaded, settings = self._served.engine.model, self._served.settings
        self._loaded = loaded
        self._outputs = Outputs(model_name, loaded.piece, settings.tools.by_name)
        self._seeds: Counter[bytes] = Counter()
        self._collapses = not isinstance(loaded.dialect, HarmonyDialect)
        info = ModelInfo(
            model=loaded.name,
            context_length=loaded.runner.n_ctx_seq,
            reasoning=bool(loaded.dialect.reasoning_settings),
        )
        set_model_info(self.canonical_name(), info)
        if config is not None and config.max_connections is None and config.adaptive_connections is None:
            # Inspect would begin with 20 requests at once, and try up to 100. Its Model has the same object.
            config.max_connections = self.max_connections()

    async def generate(
        self,
        input: list[ChatMessage],  # noqa: A002 (Inspect's name)
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput | tuple[ModelOutput, ModelCall]:
        """The answers to one request. Raises RequestError, which names the field."""
        try:
            task = self._task(body_of(input, tools, tool_choice, config), config)
            choices = await self._served.engine.answers(task, self._served.settings.tools)
        except RequestError as error:
            if error.code == "context_length_exceeded":
                return self._outputs.overflow(error.message)
            raise in_inspects_words(error) from None
        max_calls = 1 if config.parallel_tool_calls is False else None
        return self._outputs.output(task, choices, tools, max_calls=max_calls), call_of(task, choices)

    async def count_tokens(
        self,
        input: str | list[ChatMessage],  # noqa: A002 (Inspect's name)
        config: GenerateConfig | None = None,
    ) -> int:
        """Tokens of a text, or of the prompt that the messages make."""
        if isinstance(input, str):
            return await self.count_text_tokens(input)
        config = config or GenerateConfig()
        body = {**body_of(input, [], "none", config), "seed": 0}  # nothing is asked that a seed could count
        task = self._task(body, config)
        return len(self._served.engine.rendered(task.conversation))

    async def count_text_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return len(await self.tokenize(text))

    async def tokenize(self, text: str) -> list[int]:
        """The ids of the tokens of a text."""
        return self._served.engine.rendered(Conversation((Message("user", text),)), raw=True)

    def max_connections(self) -> int:
        """Requests in the engine at a time: those of the plan's sequences, and as many that wait."""
        return _CONNECTIONS_PER_SEQUENCE * self._loaded.runner.n_seq

    def connection_key(self) -> str:
        """One for each engine."""
        return f"{self._loaded.name}-{id(self._served.engine):x}"

    def canonical_name(self) -> str:
        """With the prefix: no model of a service is meant, whatever the name."""
        return f"ossctl/{self.model_name}"

    def collapse_user_messages(self) -> bool:
        """Many templates take no two messages of a role in a row. gpt-oss's format does."""
        return self._collapses

    def collapse_assistant_messages(self) -> bool:
        """As for those of users."""
        return self._collapses

    def collapse_system_messages(self) -> bool:
        """As for those of users."""
        return self._collapses

    def close(self) -> None:
        """Give the engine back. The last to do so frees the model, unless it was loaded elsewhere."""
        self._served.close()

    def _task(self, body: Body, config: GenerateConfig) -> Task:
        """Raises RequestError."""
        off = body.get("reasoning_effort") == "none"
        if off:
            del body["reasoning_effort"]
        body["seed"] = self._seed(body)
        task = parse_task(body, _REQUEST, self._served.settings.defaults)
        if off:
            task = replace(task, conversation=replace(task.conversation, effort=None, think="off"))
        return task if config.timeout is None else replace(task, timeout=config.timeout)

    def _seed(self, body: Body) -> int:
        """The seed of a request: its own in the first epoch, and those that follow in others.

        Without one, it depends on the sample, the epoch, and how many requests the sample has made before: a
        second run gives the same answers, also one that asks a part of the samples, and another epoch other
        ones. Outside of samples it depends on what is asked.
        """
        state = sample_state()
        epoch = state.epoch if state else 1
        if "seed" in body:
            seed = int(body["seed"])
            return seed if epoch == 1 else (seed + (epoch - 1) * (body.get("n") or 1)) % N_SEEDS
        base = self._served.settings.defaults.sampling.seed
        what = body if state is None else str(state.sample_id)
        asked = blake2b(msgspec.json.encode((what, epoch, base), enc_hook=repr), digest_size=8).digest()
        self._seeds[asked] += 1
        again = msgspec.json.encode((self._seeds[asked],))
        return int.from_bytes(blake2b(asked + again, digest_size=4).digest())


def _serve(name: str, model_args: dict[str, Any]) -> Served:
    """Load a model, or use one that is loaded. Raises PrerequisiteError for what the user has to change."""
    try:
        options, settings = read_model_args(model_args)
        with ExitStack() as parts:
            parts.callback(settings.tools.close)
            shared = ENGINES.take(name, options)
            parts.callback(ENGINES.give_back, shared)
            settings = settings.for_model(shared.engine.model)
            close = parts.pop_all().close
    except OssctlError as error:
        message = f"-M {error.message[2:]}" if error.message.startswith("--") else error.message
        raise PrerequisiteError(f"{message}. {error.hint}".rstrip(" ")) from None
    for remark in shared.remarks if shared.users == 1 else ():
        _log.warning("%s", remark)
    return Served(shared.engine, settings, close)
