"""All that a chat template shows about its model's format."""

from functools import lru_cache

from ossctl.templates.call_format import derive_calls
from ossctl.templates.call_probe import Calls, without_end
from ossctl.templates.chat_rules import declared, derive_rules
from ossctl.templates.markers import first_tag, shared_start, tags
from ossctl.templates.probe import TEXT, Probe, assistant
from ossctl.templates.reasoning_format import derive_reasoning
from ossctl.templates.template_format import CallFormat, ChatRules, ReasoningFormat, TemplateFormat


@lru_cache(maxsize=8)
def derive_format(source: str) -> TemplateFormat:
    """The format of a template. Takes 0.1 to 1 s. Raises whatever Jinja raises if it is not valid."""
    probe = Probe(source)
    rules = derive_rules(probe)
    if probe.prompt() is None:
        return TemplateFormat(rules)  # it renders nothing, and a hostile one takes its time for it
    calls = derive_calls(probe, rules)
    reasoning = derive_reasoning(probe, rules, calls)
    start, end = _around_answers(probe, reasoning)
    example = _example(probe, rules, calls) if calls and not rules.tools else ""
    return TemplateFormat(rules, calls, reasoning, start, end, example)


def chat_problem(source: str) -> str:
    """Why a valid template renders no chat; empty if it does."""
    probe = Probe(source)
    derive_rules(probe)
    if probe.is_exhausted:
        return "loops too long or makes too much text"
    probe.failure = ""
    if probe.prompt() is not None:
        return ""
    return f"fails on a chat: {probe.failure}" if probe.failure else "does not print each of `messages`"


def _example(probe: Probe, rules: ChatRules, calls: CallFormat) -> str:
    """A call as the template writes it."""
    turn = Calls(probe, rules, calls.message).turn(("function_name", {"parameter": "value"})) or ""
    start = max(0, turn.find(calls.section_start))
    return without_end(turn[start:], probe, declared(rules, ())).strip()


def _around_answers(probe: Probe, reasoning: ReasoningFormat | None) -> tuple[str, str]:
    """Tags or words that the model writes before and after the text of an answer."""
    turn, prompt = probe.turn(assistant()), probe.prompt()
    if turn is None or prompt is None or TEXT not in turn:
        return "", ""
    before, _, after = turn.partition(TEXT)
    before = before[len(shared_start([before + TEXT, prompt + " "], cut_words=True)) :]
    for mark in (reasoning.start, reasoning.end) if reasoning else ():
        before = before.replace(mark, "") if mark else before
    before = before.strip()
    return (before, first_tag(after)) if tags(before) else (before, "")
