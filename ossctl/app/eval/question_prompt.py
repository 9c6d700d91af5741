"""How a question is put to a model, and how the model is asked to mark its answer."""

from string import ascii_uppercase

from ossctl.app.eval.question import GraderName, Question
from ossctl.errors import UsageError

# The mark is that of simple-evals and Inspect.
CHOICE_TEMPLATE = """\
{question}

{choices}

Which choice is right? End your answer with a line of the form "ANSWER: X", where X is one of {letters}."""
NUMBER_TEMPLATE = """\
{question}

End your answer with a line of the form "ANSWER: N", where N is the number alone."""
EXACT_TEMPLATE = """\
{question}

End your answer with a line of the form "ANSWER: X", where X is the answer alone."""
PLAIN_TEMPLATE = "{question}"

_TEMPLATES = {
    GraderName.CHOICE: CHOICE_TEMPLATE,
    GraderName.NUMBER: NUMBER_TEMPLATE,
    GraderName.EXACT: EXACT_TEMPLATE,
}


def check_template(template: str) -> None:
    """Raise UsageError if `template` has no place for the question."""
    if "{question}" not in template:
        raise UsageError(
            "the template has no {question}",
            "Write {question} where it belongs; {choices} and {letters} too.",
        )


def prompt_of(question: Question, template: str | None = None) -> str:
    """The question in `template`, by default that of its grader. Other braces are kept as they are."""
    chosen = template or _TEMPLATES.get(question.grader, PLAIN_TEMPLATE)
    letters = ascii_uppercase[: len(question.choices)]
    choices = "\n".join(f"{a}) {b}" for a, b in zip(letters, question.choices, strict=True))
    head, _, tail = chosen.partition("{question}")
    filled = (
        part.replace("{letters}", ", ".join(letters)).replace("{choices}", choices) for part in (head, tail)
    )
    return question.text.join(filled)
