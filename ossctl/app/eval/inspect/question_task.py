"""A task of Inspect from a file of questions."""

from pathlib import Path

from inspect_ai import Task, task
from inspect_ai.dataset import MemoryDataset, Sample
from inspect_ai.model import ChatMessage, ChatMessageSystem, ChatMessageUser
from inspect_ai.solver import generate

from ossctl.app.eval.grading.program import DEFAULT_SECONDS
from ossctl.app.eval.inspect.scorers import QUESTION_KEY, graded
from ossctl.app.eval.question import GraderName, Question
from ossctl.app.eval.question_prompt import check_template, prompt_of
from ossctl.app.eval.questions import read_questions
from ossctl.errors import UsageError


@task
def question_task(  # noqa: PLR0913 (these are options of `inspect eval -T`)
    path: str,
    grader: str | None = None,
    *,
    template: str | None = None,
    shuffle_choices: int | None = None,
    program: str | None = None,
    program_seconds: float = DEFAULT_SECONDS,
    judge: str | None = None,
) -> Task:
    """The questions of a file of JSON lines, each with a grader of its own or `grader`.

    `template` is the prompt, with {question}, {choices} and {letters}; `shuffle_choices` is a seed.
    `program` is the command that the grader program runs, `judge` the model that the grader model asks.
    Raises UsageError.
    """
    if template is not None:
        check_template(template)
    named = _grader(grader, program, judge)
    samples = []
    for question in read_questions(Path(path), named):
        if question.grader is GraderName.PROGRAM and program is None:
            raise UsageError(f"{path}: question {question.id} needs a program as grader", "Give its command.")
        asked = question if shuffle_choices is None else question.shuffled(shuffle_choices)
        samples.append(_sample(asked, template))
    return Task(
        dataset=MemoryDataset(samples, name=Path(path).name),
        solver=generate(),
        scorer=graded(program, program_seconds, judge),
        name=Path(path).name.partition(".")[0],
    )


def _grader(name: str | None, program: str | None, judge: str | None) -> GraderName | None:
    if name is None:
        return GraderName.PROGRAM if program else GraderName.MODEL if judge else None
    if name not in tuple(GraderName):
        raise UsageError(f"{name!r} is not a grader", f"Use one of: {', '.join(GraderName)}.")
    return GraderName(name)


def _sample(question: Question, template: str | None) -> Sample:
    prompt = prompt_of(question, template)
    messages: list[ChatMessage] = [
        ChatMessageSystem(content=question.system),
        ChatMessageUser(content=prompt),
    ]
    stored = {
        "question": question.text,
        "grader": str(question.grader),
        "tolerance": question.tolerance,
        "schema": question.schema,
    }
    return Sample(
        id=question.id,
        input=messages if question.system else prompt,
        choices=list(question.choices) or None,
        target=list(question.targets),
        metadata={**question.metadata, QUESTION_KEY: stored},
    )
