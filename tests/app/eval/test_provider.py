"""The provider of models for Inspect AI, over nano and the real engine."""

import datetime as dt
import os
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import anyio
import pytest
from inspect_ai import Task, eval  # noqa: A004 (Inspect's name)
from inspect_ai._util.error import PrerequisiteError
from inspect_ai._util.registry import is_registry_object
from inspect_ai.dataset import Sample
from inspect_ai.log import EvalLog, read_eval_log
from inspect_ai.model import (
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageTool,
    ChatMessageUser,
    ContentImage,
    ContentReasoning,
    ContentText,
    GenerateConfig,
    Model,
    ModelOutput,
    ResponseSchema,
    get_model,
    get_model_info,
)
from inspect_ai.scorer import includes
from inspect_ai.solver import Generate, TaskState, generate, solver, use_tools
from inspect_ai.tool import Tool as InspectTool
from inspect_ai.tool import ToolCall, ToolCallError, ToolFunction, ToolInfo, tool
from inspect_ai.tool._tool_params import ToolParam, ToolParams
from inspect_ai.util import JSONSchema

from ossctl.app.eval.inspect.engine import AsyncEngine
from ossctl.app.eval.inspect.provider import provider_for
from ossctl.app.eval.inspect.settings import ProviderSettings
from ossctl.app.inference.defaults import Defaults
from ossctl.app.inference.interrupt import Interrupt
from ossctl.app.inference.loading import load_model
from ossctl.app.library.resolve import NANO_FILE
from ossctl.app.placement.load_options import LoadOptions
from ossctl.app.tools.source import KeepGoing, ToolOutcome
from ossctl.app.tools.toolbox import Toolbox
from ossctl.dialect import Conversation, Message, Tool
from ossctl.dialect import ToolCall as Call
from ossctl.engine.request import Sampling
from ossctl.errors import RequestError, UsageError
from ossctl.planning.workload import Purpose, Workload

pytestmark = [  # warnings of Inspect's own, and streams that it leaves open
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SUM = "What is 12 plus 30?"
ENDLESS = GenerateConfig(extra_body={"ignore_eos": True})
WEATHER = ToolInfo(
    name="get_weather",
    description="Get the weather in a city.",
    parameters=ToolParams(properties={"city": ToolParam(type="string")}, required=["city"]),
)


@pytest.fixture(scope="module")
def engine() -> Iterator[AsyncEngine]:
    options = LoadOptions(ctx=512, parallel=4, threads=1)
    with (
        load_model(NANO_FILE, options, Workload(Purpose.BATCH), Interrupt()) as model,
        AsyncEngine(model) as engine,
    ):
        yield engine


@pytest.fixture(scope="module")
def nano(engine: AsyncEngine) -> Model:
    return provider_for(engine, ProviderSettings(Defaults(sampling=Sampling(temperature=0))), "nano")


def run(call: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await call()

    return anyio.run(main)


def ask(model: Model, messages: str | Sequence[ChatMessage], **options: Any) -> ModelOutput:
    given = messages if isinstance(messages, str) else list(messages)
    tools = {name: options.pop(name) for name in ("tools", "tool_choice") if name in options}
    output: ModelOutput = run(lambda: model.generate(given, config=GenerateConfig(**options), **tools))
    return output


def parts(output: ModelOutput) -> tuple[str, str]:
    """The reasoning and the answer."""
    content = output.message.content
    assert isinstance(content, list)
    reasoning = "".join(part.reasoning for part in content if isinstance(part, ContentReasoning))
    return reasoning, output.completion


def test_an_answer_comes_with_its_reasoning_and_counts(nano: Model) -> None:
    output = ask(nano, SUM)
    assert parts(output) == ("12 + 30: 2 + 0 = 2. 1 + 3 = 4. So 42.", "12 + 30 = 42.")
    assert output.stop_reason == "stop"
    usage = output.usage
    assert usage is not None
    assert usage.reasoning_tokens == 34
    assert usage.output_tokens == 51
    assert usage.input_tokens + (usage.input_tokens_cache_read or 0) == output.input_context_tokens
    assert usage.total_tokens == (output.input_context_tokens or 0) + 51
    assert output.time


def test_messages_of_all_roles_and_their_parts_reach_the_model(nano: Model, engine: AsyncEngine) -> None:
    reasoning, text = ContentReasoning(reasoning="A name."), ContentText(text="HELLO TOM.")
    call = ToolCall("c1", "get_weather", {"city": "Turku"})
    output = ask(
        nano,
        [
            ChatMessageSystem(content="Answer in capital letters."),
            ChatMessageUser(content=[ContentText(text="My name is"), ContentText(text="Tom.")]),
            ChatMessageAssistant(content=[reasoning, text], tool_calls=[call]),
            ChatMessageTool(content=[ContentText(text="rainy")], tool_call_id="c1"),
        ],
        reasoning_effort="low",
        extra_body={"date": "2026-01-01"},
    )
    messages = (
        Message("system", "Answer in capital letters."),
        Message("user", "My name is\nTom."),
        Message("assistant", "HELLO TOM.", "A name.", (Call("get_weather", '{"city":"Turku"}'),)),
        Message("tool", "rainy", tool="get_weather"),
    )
    conversation = Conversation(messages, effort="low", date=dt.date(2026, 1, 1))
    assert output.input_context_tokens == len(engine.model.dialect.render(conversation))


def test_a_call_and_its_result_go_through_inspect(nano: Model) -> None:
    question = ChatMessageUser(content="What is the weather in Turku?")
    first = ask(nano, [question], tools=[WEATHER])
    assert first.stop_reason == "tool_calls"
    (call,) = first.message.tool_calls or []
    assert (call.function, call.arguments, call.parse_error) == ("get_weather", {"city": "Turku"}, None)
    result = ChatMessageTool(content='{"temperature": 20, "sky": "rainy"}', tool_call_id=call.id)
    second = ask(nano, [question, first.message, result], tools=[WEATHER])
    assert second.completion == "It is 20 degrees and rainy in Turku."


def test_the_error_of_a_call_and_a_name_that_is_none_reach_the_model(nano: Model) -> None:
    def prompt_tokens(error: str) -> int:
        call = ToolCall("c1", "no such tool!", {})
        failed = ChatMessageTool(content="", tool_call_id="c1", error=ToolCallError("parsing", error))
        conversation: list[ChatMessage] = [
            ChatMessageUser(content="Hello"),
            ChatMessageAssistant(content="", tool_calls=[call]),
            failed,
        ]
        return ask(nano, conversation, tools=[WEATHER]).input_context_tokens or 0

    assert prompt_tokens("no tool, nor anything like it") > prompt_tokens("no tool") > 0


@pytest.mark.parametrize(
    ("choice", "n_calls"), [("none", 0), ("any", 1), (ToolFunction(name="get_weather"), 1)]
)
def test_a_call_may_be_forbidden_or_required(nano: Model, choice: Any, n_calls: int) -> None:
    message = "Hello" if n_calls else "What is the weather in Turku?"
    output = ask(nano, message, tools=[WEATHER], tool_choice=choice)
    assert len(output.message.tool_calls or ()) == n_calls


def test_a_call_that_is_cut_has_a_parse_error(nano: Model) -> None:
    output = ask(nano, "What is the weather in Turku?", tools=[WEATHER], max_tokens=26)
    assert output.stop_reason == "max_tokens"
    (call,) = output.message.tool_calls or []
    assert call.parse_error


def test_choices_share_a_prompt_and_differ_in_seed(nano: Model) -> None:
    output = ask(nano, "Tell me something.", num_choices=3, temperature=2.0, max_tokens=20)
    assert len({choice.message.text + str(choice.message.content) for choice in output.choices}) > 1
    usage = output.usage
    assert usage is not None
    assert usage.input_tokens + (usage.input_tokens_cache_read or 0) == output.input_context_tokens


def test_log_probabilities_are_of_the_answer(nano: Model) -> None:
    (choice,) = ask(nano, SUM, logprobs=True, top_logprobs=2).choices
    assert choice.logprobs is not None
    assert "".join(entry.token for entry in choice.logprobs.content) == "12 + 30 = 42."
    first = choice.logprobs.content[0]
    assert first.top_logprobs is not None
    assert first.top_logprobs[0].token == first.token
    assert len(first.top_logprobs) == 2
    assert first.bytes == list(first.token.encode())


def test_an_answer_fits_its_schema(nano: Model) -> None:
    schema = JSONSchema(type="object", properties={"n": JSONSchema(type="integer")}, required=["n"])
    output = ask(nano, SUM, response_schema=ResponseSchema(name="sum", json_schema=schema))
    assert output.completion.startswith('{"n":')


def test_limits_end_an_answer(nano: Model) -> None:
    assert ask(nano, SUM, max_tokens=5).stop_reason == "max_tokens"
    cut = ask(nano, SUM, max_tokens=5).message.metadata
    assert cut == {"cut_in": "reasoning"}
    assert ask(nano, SUM, stop_seqs=["="]).completion == "12 + 30 "
    usage = ask(nano, SUM, reasoning_tokens=3).usage
    assert usage is not None
    assert (usage.reasoning_tokens or 0) <= 7


def test_a_full_context_window_is_the_models_length(nano: Model) -> None:
    assert ask(nano, "word " * 600).stop_reason == "model_length"
    output = ask(nano, "word " * 100, extra_body={"ignore_eos": True}, temperature=1.5, seed=1)
    assert output.stop_reason in ("model_length", "max_tokens")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best_of": 2}, "best_of is not supported: use num_choices"),
        (
            {"prompt_logprobs": 3},
            "prompt_logprobs is not supported: log probabilities are returned for answers only",
        ),
        ({"modalities": ["image"]}, "modalities is not supported: the model writes text only"),
        ({"verbosity": "low"}, "verbosity is not supported: ask for it in a message"),
        (
            {"reasoning_summary": "detailed"},
            "reasoning_summary is not supported: the reasoning is returned",
        ),
        ({"reasoning_effort": "max"}, "reasoning_effort: 'max' is not supported, must be 'low', 'medium' or"),
        ({"reasoning_effort": "none"}, "reasoning_effort none is not for gpt-oss, which always reasons"),
        ({"num_choices": 200}, "num_choices is 200, must be from 1 to 128"),
        ({"stop_seqs": [""]}, "stop_seqs contains an empty string"),
        ({"top_logprobs": 3}, "top_logprobs needs logprobs: true"),
        ({"frequency_penalty": 5}, "frequency_penalty is 5.0, must be from -2 to 2"),
        ({"extra_body": {"minp": 0.1}}, "minp is not supported; did you mean min_p?"),
        ({"extra_body": {"messages": []}}, "extra_body.messages is set by the request itself"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(nano: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(nano, SUM, **options)
    assert caught.value.message.startswith(message)


def test_media_are_refused_by_name(nano: Model) -> None:
    image = ContentImage(image="data:image/png;base64,aGk=")
    with pytest.raises(RequestError, match=r"messages\[0\].content\[1\]: image is not supported"):
        ask(nano, [ChatMessageUser(content=[ContentText(text="See"), image])])


def test_options_of_our_own_are_in_the_extra_body(nano: Model) -> None:
    assert ask(nano, SUM, extra_body={"regex": "[a-c]{3}"}).completion.strip("abc") == ""


def test_tokens_are_counted_by_the_models_own_vocabulary(nano: Model) -> None:
    prompt = ask(nano, SUM).input_context_tokens
    assert run(lambda: nano.count_tokens([ChatMessageUser(content=SUM)])) == prompt
    config = GenerateConfig(seed=7, max_tokens=3)
    assert run(lambda: nano.count_tokens([ChatMessageUser(content=SUM)], config)) == prompt
    assert run(lambda: nano.count_tokens(SUM)) == len(run(lambda: nano.api.tokenize(SUM))) < 15
    info = get_model_info(nano)
    assert info is not None
    assert info.context_length == 512


def test_as_many_requests_run_as_the_plan_has_sequences(nano: Model, engine: AsyncEngine) -> None:
    api = nano.api
    assert nano.config.max_connections == api.max_connections() == 8
    seen: list[int] = []

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for n in range(12):
                config = GenerateConfig(max_tokens=40, seed=n, **ENDLESS.model_dump(exclude_none=True))
                group.start_soon(nano.generate, "Hello", [], None, config)
            while not (seen and seen[-1] == 4):
                await anyio.sleep(0.002)
                seen.append(len(engine.running()))

    anyio.run(main)
    assert max(seen) == engine.model.runner.n_seq == 4


def test_a_cancelled_request_leaves_the_engine(nano: Model, engine: AsyncEngine) -> None:
    async def main() -> None:
        with anyio.move_on_after(0.1) as scope:
            await nano.generate("Hello", config=ENDLESS.merge(GenerateConfig(temperature=1.5)))
        assert scope.cancelled_caught
        with anyio.fail_after(5):
            while engine.running():  # noqa: ASYNC110 (as users of the engine would see it)
                await anyio.sleep(0.01)

    anyio.run(main)
    assert ask(nano, SUM).completion == "12 + 30 = 42."


@dataclass(eq=False)
class Weather:
    """The function that nano knows, which runs here."""

    concurrent: bool = False
    calls: int = 0
    block: threading.Event | None = None
    closed: int = 0

    def tools(self) -> Sequence[Tool]:
        parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        return [Tool("get_weather", "Get the weather in a city.", parameters)]

    def describe(self, name: str, /) -> str:
        return name

    def notes(self) -> Sequence[str]:
        return ()

    def open(self) -> "Weather":
        return self

    def question(self, _call: Call) -> None:
        return None

    def run(self, call: Call, keep_going: KeepGoing) -> ToolOutcome:
        self.calls += 1
        while self.block and keep_going():
            self.block.wait(0.01)
        return ToolOutcome(call, '{"temperature": 20, "sky": "rainy"}', ok=True)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def weather() -> Weather:
    return Weather()


@pytest.fixture
def forecaster(engine: AsyncEngine, weather: Weather) -> Model:
    settings = ProviderSettings(Defaults(sampling=Sampling(temperature=0)), Toolbox([weather]))
    return provider_for(engine, settings)


def test_functions_that_run_here_are_invisible_to_inspect(forecaster: Model, weather: Weather) -> None:
    output = ask(forecaster, "What is the weather in Turku?")
    assert output.completion == "It is 20 degrees and rainy in Turku."
    assert output.message.tool_calls is None
    assert output.stop_reason == "stop"
    assert "I call get_weather" in parts(output)[0]
    (result,) = (output.message.metadata or {})["tool_results"]
    assert result["arguments"] == '{"city":"Turku"}'
    assert (weather.calls, weather.closed) == (1, 1)
    usage = output.usage
    assert usage is not None
    assert (output.input_context_tokens or 0) < usage.input_tokens + (usage.input_tokens_cache_read or 0)


def test_a_call_that_runs_here_ends_with_its_request(forecaster: Model, weather: Weather) -> None:
    weather.block = threading.Event()

    async def main() -> None:
        with anyio.move_on_after(5):
            async with anyio.create_task_group() as group:
                group.start_soon(forecaster.generate, "What is the weather in Turku?")
                while not weather.calls:  # noqa: ASYNC110 (it counts on another thread)
                    await anyio.sleep(0.01)
                group.cancel_scope.cancel()

    anyio.run(main)
    assert weather.closed == 1


@tool
def get_weather() -> InspectTool:
    async def execute(city: str) -> str:
        """Get the weather in a city.

        Args:
            city: The city.
        """
        return '{"temperature": 20, "sky": "rainy"}' if city else ""

    return execute


def evaluated(model: Model, folder: Path, task: Task, **options: Any) -> EvalLog:
    (log,) = eval(task, model=model, log_dir=str(folder), display="none", **options)
    assert log.status == "success", log.error
    return log


def test_an_eval_runs_and_a_second_run_gives_the_same_answers(engine: AsyncEngine, tmp_path: Path) -> None:
    samples = [Sample(input=f"What is {n} plus {n}?", target=str(2 * n)) for n in range(11, 16)]
    seen = []
    for _ in range(2):
        model = provider_for(engine, ProviderSettings(Defaults(sampling=Sampling(temperature=1.5))), "nano")
        log = evaluated(
            model, tmp_path, Task(samples, solver=generate(), scorer=includes()), epochs=2, max_tokens=40
        )
        calls = {
            (sample.id, sample.epoch): event.call.request["seed"]
            for sample in log.samples or ()
            for event in sample.events
            if event.event == "model" and event.call
        }
        seen.append(calls)
    assert seen[0] == seen[1]
    assert len(set(seen[0].values())) == 10
    assert log.eval.model == "ossctl/nano"
    assert log.eval.model_generate_config.max_connections == 8


def test_tools_of_a_task_are_run_by_inspect(nano: Model, tmp_path: Path) -> None:
    sample = Sample(input="What is the weather in Turku?", target="20 degrees and rainy")
    log = evaluated(
        nano, tmp_path, Task([sample], solver=[use_tools(get_weather()), generate()], scorer=includes())
    )
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == 1
    assert [message.role for message in (log.samples or [])[0].messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


def test_a_time_limit_of_a_sample_cancels_its_request(
    nano: Model, engine: AsyncEngine, tmp_path: Path
) -> None:
    @solver
    def forever() -> Any:
        async def solve(state: TaskState, _generate: Generate) -> TaskState:
            while True:
                await nano.generate("Hello", config=ENDLESS.merge(GenerateConfig(temperature=1.5)))

        return solve

    log = evaluated(nano, tmp_path, Task([Sample(input="x")], solver=forever()), time_limit=1)
    limit = (log.samples or [])[0].limit
    assert limit is not None
    assert limit.type == "time"
    assert not engine.running()


def test_the_same_model_is_loaded_once_and_freed_with_its_last_user() -> None:
    first = get_model("ossctl/nano", ctx=256, parallel=2, memoize=False)
    second = get_model("ossctl/nano", ctx=256, parallel=2, memoize=False, effort="low")
    other = get_model("ossctl/nano", ctx=128, parallel=2, memoize=False)
    assert first.api.connection_key() == second.api.connection_key() != other.api.connection_key()
    other.api.close()
    first.api.close()
    assert ask(second, SUM, temperature=0).completion.endswith("42.")
    second.api.close()
    third = get_model("ossctl/nano", ctx=256, parallel=2, memoize=False)
    assert third.api.connection_key() != first.api.connection_key()
    third.api.close()
    with pytest.raises(RuntimeError, match="closed"):
        ask(third, SUM)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("nano", {"ctxx": 3}, "-M ctxx is not an argument of ossctl's models. Did you mean ctx?"),
        ("nano", {"temperature": 3}, "-M temperature is not an argument of the model. Use --temperature."),
        ("nano", {"kv": "q4"}, "-M kv: 'q4' is not supported, must be 'f16' or 'q8_0'."),
        (
            "nano",
            {"think": False},
            "-M think is not for nano, a test and demo model: its chat format has no such",
        ),
        ("nanoo", {}, "no model is called nanoo. Did you mean nano?"),
        ("./nothing.gguf", {}, "no model file at "),
    ],
)
def test_errors_of_arguments_and_of_loading_are_one_line(
    name: str, args: dict[str, Any], message: str
) -> None:
    with pytest.raises(PrerequisiteError) as caught:
        get_model(f"ossctl/{name}", memoize=False, **args)
    assert str(caught.value.message).startswith(message)


def test_settings_that_a_loaded_model_does_not_have_are_refused(engine: AsyncEngine) -> None:
    with pytest.raises(UsageError, match="--think is not for nano"):
        provider_for(engine, ProviderSettings(Defaults(think="off")))


def test_the_entry_point_of_inspect_registers_the_provider() -> None:
    (point,) = entry_points(group="inspect_ai", name="ossctl")
    assert is_registry_object(point.load().ossctl)


@pytest.mark.slow
def test_inspect_finds_the_provider_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "sums.py").write_text("""\
from inspect_ai import Task, task
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes

@task
def sums():
    return Task([Sample(input="What is 12 plus 30?", target="42")], scorer=includes())
""")
    inspect = Path(sys.executable).with_name("inspect")
    args = [
        "eval",
        "sums.py",
        "--model",
        "ossctl/nano",
        "--temperature",
        "0",
        "-M",
        "ctx=512",
        "-M",
        "threads=1",
    ]
    done = subprocess.run(
        [inspect, *args, "--display", "none", "--log-dir", "logs"],
        cwd=tmp_path,
        env={**os.environ, "OSSCTL_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "logs").glob("*.eval")
    log = read_eval_log(str(path))
    assert log.results is not None
    assert log.results.scores[0].metrics["accuracy"].value == 1
    assert log.eval.model_args == {"ctx": 512, "threads": 1}
