"""Files of questions: what they may look like, and what is said about those that cannot be used."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.eval.question import GraderName, Question
from ossctl.app.eval.question_prompt import check_template, prompt_of
from ossctl.app.eval.questions import read_questions
from ossctl.errors import UsageError
from tests.support.questions import choice_questions, word_problems, write_questions

CITY = {"question": "What is the capital of France?", "choices": ["London", "Paris", "Rome"]}


def read(path: Path, *lines: dict[str, Any] | str, grader: str | None = None) -> list[Question]:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(texts), encoding="utf-8")
    return list(read_questions(path, GraderName(grader) if grader else None))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "questions.jsonl"


@pytest.mark.parametrize(
    ("fields", "grader", "targets"),
    [
        ({"answer": 42}, "number", ("42",)),
        ({"answer": "42"}, "number", ("42",)),
        ({"answer": "$1,000"}, "number", ("$1,000",)),
        ({"answer": 0.5}, "number", ("0.5",)),
        ({"answer": "48/2 = 24\n24 + 48 = 72\n#### 72"}, "number", ("72",)),
        ({"answer": "Paris"}, "exact", ("Paris",)),
        ({"answer": ["Paris", "City of Light"]}, "exact", ("Paris", "City of Light")),
        ({"answer": [1, "one"]}, "exact", ("1", "one")),
        ({"answer": "B", **CITY}, "choice", ("B",)),
        ({"answer": "b", **CITY}, "choice", ("B",)),
        ({"answer": "(B)", **CITY}, "choice", ("B",)),
        ({"answer": 1, **CITY}, "choice", ("B",)),
        ({"answer": "1", **CITY}, "choice", ("B",)),
        ({"answer": "Paris", **CITY}, "choice", ("B",)),
        ({"answer": ["Paris", "C"], **CITY}, "choice", ("B", "C")),
        ({"answer_index": 1, **CITY}, "choice", ("B",)),
        ({"answer": 1, "choices": ["1", "2"]}, "choice", ("B",)),
        ({"answer": 25, "choices": [5, 25]}, "choice", ("B",)),
        ({"answer_index": 1, "choices": ["B", "A"]}, "choice", ("B",)),
        ({"answer": "B", "answer_index": 1, **CITY}, "choice", ("B",)),
        ({"answerKey": "B", "choices": {"text": ["x", "y"], "label": ["A", "B"]}}, "choice", ("B",)),
        ({"answer": "B", "options": {"A": "x", "B": "y"}}, "choice", ("B",)),
        ({"answerKey": "2", "choices": {"text": ["x", "y"], "label": ["1", "2"]}}, "choice", ("B",)),
        ({"answerKey": "1", "choices": {"text": ["3", "1"], "label": ["A", "B"]}}, "choice", ("B",)),
        ({"answer": "2", "choices": {"1": "x", "2": "y"}}, "choice", ("B",)),
        ({"answer_index": 0, "choices": {"1": "x", "2": "y"}}, "choice", ("A",)),
        ({"answer": r"\d+", "grader": "regex"}, "regex", (r"\d+",)),
        ({"grader": "schema", "schema": {"type": "object"}}, "schema", ()),
        ({"grader": "program"}, "program", ()),
        ({"grader": "model", "answer": "Paris"}, "model", ("Paris",)),
        ({"answer": "42", "grader": "exact"}, "exact", ("42",)),
    ],
)
def test_the_answer_says_how_it_is_graded(
    path: Path, fields: dict[str, Any], grader: str, targets: tuple[str, ...]
) -> None:
    (question,) = read(path, {"question": "?", **fields})
    assert (question.grader, question.targets) == (grader, targets)


def test_the_graders_own_name_in_a_line_goes_before_the_one_for_all(path: Path) -> None:
    lines = {"question": "?", "answer": "42"}, {"question": "?", "answer": "42", "grader": "number"}
    assert [question.grader for question in read(path, *lines, grader="exact")] == ["exact", "number"]


def test_other_fields_are_kept_as_metadata(path: Path) -> None:
    line = {"id": "q", "question": "?", "answer": 1, "system": "Be brief.", "level": 3, "tags": ["a"]}
    (question,) = read(path, line)
    assert (question.id, question.system, question.metadata) == (
        "q",
        "Be brief.",
        {"level": 3, "tags": ["a"]},
    )


def test_a_byte_order_mark_crlf_blank_lines_and_gzip_are_read(path: Path, tmp_path: Path) -> None:
    data = b'\xef\xbb\xbf{"question": "a", "answer": 1}\r\n\r\n{"question": "b", "answer": 2}\r\n'
    path.write_bytes(data)
    packed = tmp_path / "questions.jsonl.gz"
    packed.write_bytes(gzip.compress(data))
    assert [question.id for question in read_questions(path)] == ["1", "3"]
    assert [question.text for question in read_questions(packed)] == ["a", "b"]


def test_questions_are_read_one_by_one(path: Path) -> None:
    path.write_text('{"question": "a", "answer": 1}\nnot JSON\n')
    questions = read_questions(path)
    assert next(questions).text == "a"
    with pytest.raises(UsageError, match=r"line 2: not valid JSON"):
        next(questions)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ({"answer": 1}, "question is missing", "answer"),
        ({"question": "", "answer": 1}, "question is empty", ""),
        ({"question": ["x"], "answer": 1}, "question must be text, not a list", ""),
        ({"question": "?", "prompt": "?", "answer": 1}, "both question and prompt are given", "Keep one"),
        ({"question": "?"}, "it has no answer", "Add the right one"),
        ({"question": "?", "answer": None}, "it has no answer", ""),
        ({"question": "?", "answer": ""}, "answer is empty", ""),
        ({"question": "?", "answer": []}, "answer is an empty list", ""),
        ({"question": "?", "answer": True}, "answer must be text, a number or a list of these", ""),
        ({"question": "?", "answer": {"a": 1}}, "not an object", ""),
        ({"question": "?", "answer": "D", **CITY}, "answer 'D' is not among the 3 choices", "A to C"),
        ({"question": "?", "answer": 3, **CITY}, "answer '3' is not among the 3 choices", "from 0 to 2"),
        ({"question": "?", "answer": -1, **CITY}, "answer '-1' is not among the 3 choices", ""),
        ({"question": "?", "answer": "Madrid", **CITY}, "'Madrid' is not among", "the text of a choice"),
        (
            {"question": "?", "answer": 1, "choices": [1, 2]},
            "can mean the choice A or B",
            "Use answer_index",
        ),
        ({"question": "?", "answer": "B", "choices": ["B", "A"]}, "can mean the choice A or B", ""),
        (
            {"question": "?", "answer": "A", "answer_index": 1, **CITY},
            "answer means A, answer_index means B",
            "",
        ),
        ({"question": "?", "answer_index": 1}, "answer_index needs choices", ""),
        (
            {"question": "?", "answer": "A", "choices": ["x"]},
            "choices must have from 2 to 26 entries, not 1",
            "",
        ),
        ({"question": "?", "answer": "A", "choices": ["x", "x"]}, "'x' is given twice", "differ"),
        ({"question": "?", "answer": "A", "choices": ["x", " "]}, "choice B is empty", ""),
        ({"question": "?", "answer": "A", "choices": "x, y"}, "choices must be a list of texts", ""),
        ({"question": "?", "answer": "A", "choices": {"0": "x", "1": "y"}}, "with the keys A, B, C", ""),
        (
            {"question": "?", "answer": 1, "grader": "fuzzy"},
            "'fuzzy' is not a grader",
            "choice, number, exact",
        ),
        ({"question": "?", "answer": 1, "grader": ["x"]}, "is not a grader", ""),
        ({"question": "?", "answer": 1, "grader": "choice"}, "the grader choice needs choices", ""),
        ({"question": "?", "answer": "x", "grader": "number"}, "answer 'x' is not a number", "exact"),
        ({"question": "?", "answer": "(", "grader": "regex"}, "not a regular expression", ""),
        ({"question": "?", "answer": "A", "grader": "exact", **CITY}, "has no use for choices", ""),
        ({"question": "?", "grader": "schema"}, "needs a JSON schema in the field schema", ""),
        ({"question": "?", "grader": "schema", "schema": {"type": "x"}}, "schema: at /type", ""),
        ({"question": "?", "answer": 1, "tolerance": -1}, "tolerance must be a non-negative number", ""),
        ({"question": "?", "answer": "x", "tolerance": 1}, "tolerance has no meaning", ""),
        ({"id": 1.5, "question": "?", "answer": 1}, "id must be text or an integer", ""),
        ({"question": "?", "answer": 1, "system": 5}, "system must be text", ""),
        ("[1]", "not a JSON object", "Write it like"),
        ('{"question": "?", "answer": 1', "not valid JSON", "Write it like"),
        ('{"question": "\\ud800", "answer": 1}', "not valid JSON", ""),
    ],
)
def test_what_is_wrong_with_a_line_is_said_with_its_number(
    path: Path, line: dict[str, Any] | str, message: str, hint: str
) -> None:
    first = {"question": "?", "answer": 1}
    fields = {**line, "question": line["question"]} if isinstance(line, dict) and "question" in line else line
    with pytest.raises(UsageError) as caught:
        read(path, first, fields)
    assert caught.value.message.startswith(f"{path}, line 2: ")
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_two_questions_with_one_id_are_refused(path: Path) -> None:
    line = {"id": 7, "question": "?", "answer": 1}
    with pytest.raises(UsageError, match=r"line 2: the id '7' is already that of line 1"):
        read(path, line, line)


def test_bytes_that_are_no_text_are_refused_with_their_line(path: Path) -> None:
    path.write_bytes(b'{"question": "?", "answer": 1}\n{"question": "\xff", "answer": 1}\n')
    with pytest.raises(UsageError, match=r"line 2: not valid JSON"):
        list(read_questions(path))


@pytest.mark.parametrize("data", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_questions_is_refused(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with pytest.raises(UsageError, match="contains no questions"):
        list(read_questions(path))


def test_a_missing_file_a_folder_and_one_json_document_are_refused(path: Path, tmp_path: Path) -> None:
    for given, message in ((path, "no input file"), (tmp_path, "is a directory")):
        with pytest.raises(UsageError, match=message):
            list(read_questions(given))
    path.write_text('[\n{"question": "?", "answer": 1}\n]')
    with pytest.raises(UsageError, match="is a JSON array, not one JSON object per line"):
        list(read_questions(path))


def test_choices_are_shuffled_the_same_way_for_the_same_seed_and_id(path: Path) -> None:
    line = {"question": "?", "choices": [f"choice {n}" for n in range(10)], "answer": [3, 4]}
    questions = read(path, {"id": "a", **line}, {"id": "b", **line})
    shuffled = [question.shuffled(5) for question in questions]
    assert shuffled == [question.shuffled(5) for question in questions]
    assert shuffled[0].choices != shuffled[1].choices
    assert shuffled[0].choices != questions[0].shuffled(6).choices
    for question in shuffled:
        assert {question.choices["ABCDEFGHIJ".index(target)] for target in question.targets} == {
            "choice 3",
            "choice 4",
        }


def test_prompts_ask_for_the_mark_that_graders_look_for(path: Path) -> None:
    choice, number, text, pattern = read(
        path,
        {**CITY, "answer": "B"},
        {"question": "What is {6} times 7?", "answer": 42},
        {"question": "Who?", "answer": "Ada"},
        {"question": "Write {choices}.", "answer": "x", "grader": "regex"},
    )
    assert prompt_of(choice).startswith("What is the capital of France?\n\nA) London\nB) Paris\nC) Rome\n\n")
    assert prompt_of(choice).endswith('"ANSWER: X", where X is one of A, B, C.')
    assert prompt_of(number).startswith("What is {6} times 7?\n\n")
    assert '"ANSWER: ' in prompt_of(number)
    assert '"ANSWER: ' in prompt_of(text)
    assert prompt_of(pattern) == "Write {choices}."
    assert prompt_of(number, "{question} Use \\boxed{}.") == "What is {6} times 7? Use \\boxed{}."
    with pytest.raises(UsageError, match=r"no \{question\}"):
        check_template("What is it?")


def test_the_sets_for_tests_are_200_questions_each(tmp_path: Path) -> None:
    problems = list(read_questions(write_questions(tmp_path / "a.jsonl", word_problems())))
    choices = list(read_questions(write_questions(tmp_path / "b.jsonl", choice_questions())))
    assert (len(problems), {question.grader for question in problems}) == (200, {"number"})
    assert (len(choices), {question.grader for question in choices}) == (200, {"choice"})
    assert {question.targets for question in choices} == {("A",), ("B",), ("C",), ("D",)}
    assert len({(question.text, question.choices) for question in choices}) == 200


def test_the_questions_of_the_documentation_are_valid(path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "questions.md").read_text("utf-8")
    block = page.partition("```json\n")[2].partition("```")[0]
    graders = [question.grader for question in read(path, *block.splitlines())]
    assert graders == ["number", "choice", "exact", "program"]
