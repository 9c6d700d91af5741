"""The output of `ossctl run`: the answer on stdout, everything else on stderr."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ossctl.cli.output import Output
from ossctl.errors import ExitCode, OssctlError
from ossctl.text import counted, one_line

if TYPE_CHECKING:
    from ossctl.app.run.run import RunAnswer, RunResult
    from ossctl.app.tools.approval import ToolApproval
    from ossctl.app.tools.source import ToolOutcome

_BETWEEN = "---\n"
_MANY_TOKENS = 256  # of a prompt from the cache, that are worth a line
_CALL_HINT = "--tool-cmd NAME=COMMAND runs a program for a function; --json prints the call."


@dataclass
class RunOutput:
    """Prints a run as it happens, and its result.

    With `whole`, nothing is printed before the answer is complete.
    """

    out: Output
    as_json: bool = False
    extract: bool = False
    whole: bool = False
    show_reasoning: bool = False
    yes: bool = False
    sink: Path | None = None
    may_run: "ToolApproval" = field(init=False)
    _results: list[str] = field(default_factory=list)  # of tools
    _tail: str = ""  # the last character on stdout
    _without_block: bool = False  # whether an answer had no code block to print
    _unanswered: bool = False  # whether an answer ended with a call, which is not printed

    def __post_init__(self) -> None:
        from ossctl.app.tools.approval import ToolApproval

        self.may_run = ToolApproval(self.out.warning, self._ask, unasked=self.yes)

    def _ask(self, question: str) -> str:
        if not self.out.can_ask:
            return ""
        from ossctl.repl.terminal import ask

        return ask(question, self.out.aside)

    @property
    def _streams(self) -> bool:
        return not (self.whole or self.as_json or self.extract or self.sink)

    def answer(self, text: str) -> None:
        if self._streams:
            self.out.write(text)
            self._tail = text[-1:]

    def reasoning(self, text: str) -> None:
        if self.show_reasoning:
            self.out.aside(text)

    def remark(self, text: str) -> None:
        self.out.warning(text)

    def ran(self, outcome: "ToolOutcome") -> None:
        self._results.append(outcome.result)
        failed = "" if outcome.ok else "failed: "
        call = f"{outcome.call.name}({one_line(outcome.call.arguments)})"
        self.out.note(f"{call} → {failed}{one_line(outcome.result)}")

    def broke_off(self) -> None:
        """End the line of an unfinished answer, so that an error message starts a new one."""
        if self._tail not in ("", "\n") and self.out.on_terminal:
            self.out.write("\n")

    def finish(self, result: "RunResult") -> ExitCode:
        """Print what has not been printed yet, then what is wrong with it."""
        if self.show_reasoning:
            self._end_reasoning([answer.generation.reasoning for answer in result.answers])
        if self._streams:
            self.out.write("" if self._tail in ("", "\n") else "\n")
        elif self.as_json:
            self._put(json.dumps(result.record(), ensure_ascii=False, indent=2, default=str) + "\n")
        else:
            texts = [text for answer in result.answers if (text := self._text(answer)) is not None]
            if texts:
                self._put(_BETWEEN.join(texts))
        for answer in result.answers:
            self._explain(answer)
        self._note_cached(result)
        if self._without_block:
            self.out.error("the answer has no code block", "The whole answer is on stderr.")
        incomplete = self._without_block or self._unanswered
        return result.exit_code or (ExitCode.FAILED if incomplete else ExitCode.DONE)

    def _end_reasoning(self, reasonings: Sequence[str]) -> None:
        """End the reasoning of a single answer, which was printed as it came, or print that of several."""
        if any(reasonings):
            self.out.aside(_BETWEEN.join(f"{text}\n" for text in reasonings) if reasonings[1:] else "\n")

    def _note_cached(self, result: "RunResult") -> None:
        """Say how much of a long prompt was on disk. Further answers and rounds of calls find it in RAM."""
        first = result.answers[0].generation
        cached, prompt = first.cached_tokens, len(first.request.prompt)
        if cached >= _MANY_TOKENS and len(result.answers) == 1 and not first.earlier.prompt:
            self.out.note(f"{counted(cached, 'prompt token')} cached, {prompt - cached:,} prefilled.")

    def _text(self, answer: "RunAnswer") -> str | None:
        """The text to print for an answer, or None if there is none."""
        content = answer.generation.content
        if answer.is_incomplete or answer.misfit or not content:
            return None
        if self.extract:
            from ossctl.app.user_text import first_code_block

            block = first_code_block(content)
            if block is None:
                self.out.warning(content.rstrip("\n"))
                self._without_block = True
                return None
            content = block
        elif self._results and not answer.spec.conversation.formatted:
            from ossctl.app.tools.browser.citations import footnoted

            content = footnoted(content, self._results)
        return content if content.endswith("\n") else content + "\n"

    def _put(self, text: str) -> None:
        if self.sink is None:
            self.out.write(text)
            return
        from ossctl.app.run.run import save

        try:
            save(text, self.sink)
        except OssctlError as error:
            self.out.warning(text.rstrip("\n"))
            raise OssctlError(error.message, "The answer is on stderr.") from None

    def _explain(self, answer: "RunAnswer") -> None:
        """Report what is wrong with an answer, and what to do about it."""
        generation = answer.generation
        if generation.recovered:
            how = "; ".join(generation.recovered)
            self.out.warning(f"The model broke its format, and the answer was recovered: {how}.")
        what, hint = _complaint(answer)
        if answer.is_incomplete:
            what = what or "a stop string ended the answer"
            kind = "answer" if answer.spec.conversation.text_format else "JSON"
            unprinted = "" if self.as_json else " and was not printed"
            hint = f"The {kind} is incomplete{unprinted}. {hint}".strip()
        elif answer.misfit:
            what, hint = answer.misfit, "Try another --seed, or more --schema-retries."
        elif generation.attempts > 1:
            seed = generation.request.sampling.seed
            self.out.note(f"The answer fits the schema at attempt {generation.attempts}, with seed {seed}.")
        if what:
            self.out.error(what, hint)
        if generation.calls and not what and not self.as_json:
            self._unanswered = True
            calls = ", ".join(f"{call.name}({one_line(call.arguments)})" for call in generation.calls)
            self.out.error(f"the model called {calls} and gave no answer", _CALL_HINT)


def _complaint(answer: "RunAnswer") -> tuple[str, str]:
    """What is wrong with an answer and what to do, or two empty texts."""
    count = answer.generation.completion_tokens
    tokens = counted(count, "token")
    what, hint = {
        "length": (f"the answer was cut off at {tokens}", "Raise --max-tokens or --ctx."),
        "repetition": ("the model repeated itself and was stopped", "Try another --seed or --effort."),
        "refusal": ("the model refused", ""),
        "empty": (
            "the model gave no answer",
            "Try another --seed, or --show-reasoning to see why.",
        ),
    }.get(answer.ending, ("", ""))
    if answer.generation.cut_in_reasoning:
        what = f"the reasoning was cut off at {tokens}, so there is no answer"
        hint = "Raise --max-tokens, or set --max-reasoning-tokens."
    return what, hint
