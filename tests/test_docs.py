"""README.md and docs/ say what the program does, and their commands run."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ossctl.app.batch.line_parser import LineParser
from ossctl.app.inference.defaults import Defaults
from ossctl.app.tools import command
from ossctl.app.wire.chat_completions import Body, Shorthand
from ossctl.app.wire.lines import Line, read_lines
from ossctl.errors import RequestError
from tests.support.shown_output import PAGES, ROOT, Ran, blocks_of, refreshed_page, run_pages, unknown_marks

DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference" / "json.md"
PACKAGE = ROOT / "ossctl"
PROSE = (*PAGES, ROOT / "CONTRIBUTING.md")
pytestmark = pytest.mark.timeout(600)  # the first test that needs them runs all pages

MOST_NOT_RUN = 16  # blocks that compile, need a GPU or other machines, or write outside of a test's home
SLOW = ("eval.md",)  # imports Inspect six times


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ran(request: pytest.FixtureRequest) -> dict[Path, list[Ran]]:
    """The pages that are tested, run once."""
    if shutil.which("bash") is None or shutil.which("jq") is None:
        pytest.skip("bash or jq is missing")
    users = [item for item in request.session.items if "ran" in getattr(item, "fixturenames", ())]
    specs = [getattr(item, "callspec", None) for item in users]
    tested = {spec.params.get("page") if spec else REFERENCE for spec in specs}
    return run_pages([page for page in PAGES if page in tested])


each_page = pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page.name in SLOW else []) for page in PAGES],
    ids=map(name_of, PAGES),
)


@each_page
def test_the_commands_of_a_page_run(page: Path, ran: dict[Path, list[Ran]]) -> None:
    failed = [each.described for each in ran[page] if each.code != 0]
    assert not failed, "\n".join([name_of(page), *failed])


@each_page
def test_a_page_shows_what_its_commands_print(page: Path, ran: dict[Path, list[Ran]]) -> None:
    differing = [each.described for each in ran[page] if not each.is_as_shown]
    assert not differing, "\n".join([f"{name_of(page)}: `make generated` refreshes", *differing])


def test_what_is_not_run_says_why() -> None:
    blocks = [block for page in PAGES for block in blocks_of(text_of(page))]
    assert not [mark for page in PAGES for mark in unknown_marks(text_of(page))]
    assert sum(bool(block.not_run) for block in blocks) <= MOST_NOT_RUN


def test_commands_are_in_blocks_that_run() -> None:
    for page in PAGES:
        other = [block for block in blocks_of(text_of(page)) if block.language not in ("console", "sh")]
        assert not [block.line for block in other if block.language == "" or block.text.startswith("$ ")]


def test_every_json_line_is_a_request() -> None:
    found = [block.text for page in PAGES for block in blocks_of(text_of(page)) if block.language == "jsonl"]
    found += [
        lines
        for page in PAGES
        for lines in re.findall(r"cat > \w+\.jsonl <<'END'\n(.*?)END\n", text_of(page), re.DOTALL)
    ]
    lines = [Line(1, line.encode()) for block in found for line in block.strip().splitlines()]
    wrong = [line.data for line in lines if not is_request(line)]
    assert len(lines) >= 6
    assert len(wrong) == 1, "one page shows what becomes of a wrong line"


def is_request(line: Line) -> bool:
    try:
        LineParser(Defaults()).parse(line)
    except RequestError:
        return False
    return True


PAGE = """
```sh
apples=5
```

```console
$ echo $apples apples
4 apples
$ echo $apples apples
4 pears
$ printf '%s\\n' first 2 3 last
first
…
last
$ exit 3
```

<!-- exact -->
```console
$ echo $apples
4
```

<!-- stand-in -->
```console
$ echo $apples.1 GB of pears
12.1 GB of apples
```
"""


def test_numbers_may_differ_and_words_may_not(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.replace("$ exit 3\n", ""), encoding="utf-8")
    (ran,) = run_pages([page]).values()
    assert [each.is_as_shown for each in ran] == [True, True, False, True, False, False]
    page.write_text(refreshed_page(page.read_text(encoding="utf-8"), ran), encoding="utf-8")
    (ran,) = run_pages([page]).values()
    assert all(each.is_as_shown for each in ran)
    assert [each.step.shown for each in ran[1:4]] == [("4 apples",), ("5 apples",), ("first", "…", "last")]
    assert [each.step.shown for each in ran[4:]] == [("5",), ("12.1 GB of pears",)]


def test_commands_that_fail_are_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE, encoding="utf-8")
    (ran,) = run_pages([page]).values()
    assert [each.code for each in ran] == [0, 0, 0, 0, None, None, None]


def test_the_readme_is_short() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) < 200


def test_the_demo_has_twenty_requests_in_all_line_forms() -> None:
    path = ROOT / "examples" / "prompts.jsonl"
    with path.open("rb") as file:
        tasks = [*map(LineParser(Defaults()).parse, read_lines(file))]
    assert len({task.custom_id for task in tasks}) == 20
    records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert {"body", "prompt", "messages"} <= {key for record in records for key in record}


# Links and tables


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(text_of(page))):
        if re.match("https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors_of(text_of(file))):
            broken.append(target)
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    linked = set(re.findall(r"\]\(([^)#\s]+)", text_of(DOCS / "index.md")))
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")}
    assert pages - {"index.md"} <= linked


@pytest.mark.parametrize("page", PROSE, ids=name_of)
def test_tables_have_as_many_cells_in_every_row(page: Path) -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", without_blocks(text_of(page)), re.MULTILINE):
        rows = [re.split(r"(?<!\\)\|", row)[1:-1] for row in table.strip().splitlines()]
        assert len({len(row) for row in rows}) == 1, table
        assert all(re.fullmatch(" ?-{3,} ?", cell) for cell in rows[1]), table


def without_blocks(text: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^(`{3,}).*?^\1$", "", text, flags=re.DOTALL | re.MULTILINE)


def without_code(text: str) -> str:
    return re.sub("`[^`\n]*`", "code", without_blocks(text))


def named_in(text: str) -> set[str]:
    """The words that a page's prose has as code."""
    return {
        word for span in re.findall("`([^`\n]*)`", without_blocks(text)) for word in re.findall(r"\w+", span)
    }


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall("^#+ (.*)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# What the pages have to name


def test_the_reference_explains_every_key_that_it_shows(ran: dict[Path, list[Ran]]) -> None:
    outputs = ["\n".join(each.output) for each in ran[REFERENCE]]
    documents = [json.loads(text) for text in outputs if re.fullmatch(r"[{\[].*[}\]]", text, re.DOTALL)]
    assert len(documents) >= 8
    listed = {key for document in documents if isinstance(document, list) for key in document}  # by jq
    keys = {key for document in documents for key in keys_of(document)}
    assert not (keys | listed) - named_in(text_of(REFERENCE)) - {"schema", "custom_id"}


def keys_of(document: Any) -> Iterator[str]:
    """The keys of a document; not the codes that errors are counted by."""
    if isinstance(document, dict):
        yield from document
        for name, value in document.items():
            yield from keys_of(value) if name != "errors" else ()
    elif isinstance(document, list):
        for value in document:
            yield from keys_of(value)


def test_the_reference_has_every_field_of_a_request() -> None:
    _, _, rest = text_of(REFERENCE).partition("\n## Requests\n")
    table, _, _ = rest.partition("\n## ")
    listed = {
        name
        for row in table.splitlines()
        if row.startswith("| `")
        for name in re.findall(r"`(\w+)`", row.split("|")[1])
    }
    fields = {field.name for kind in (Body, Shorthand) for field in msgspec.structs.fields(kind)}
    assert listed == fields - {"id", "custom_id"}


def test_the_reference_has_every_variable_that_is_read() -> None:
    reads = re.compile(
        r"""environ(?:\.get\(|\.setdefault\(|\[)["'](\w+)|["'](\w+)["'] (?:not )?in os\.environ"""
    )
    source = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    names = {a or b for a, b in reads.findall(source)} - {"SYSTEMROOT", "LOCALAPPDATA"}
    page = text_of(DOCS / "reference" / "environment.md")
    assert not {name for name in names if name not in page}


def test_the_variables_of_a_tool_are_listed() -> None:
    page = text_of(DOCS / "tools.md")
    assert not {name for name in (*command._ENVIRONMENT, *command._WINDOWS) if f"`{name}`" not in page}


def test_every_code_of_a_failure_is_explained() -> None:
    codes = re.findall(r"`([a-z_]+)`", (RequestError.__doc__ or "").partition("`code`")[2])
    page = text_of(DOCS / "batch.md")
    assert len(codes) >= 8
    assert not {code for code in codes if f"| `{code}` |" not in page}


def test_the_map_names_files_that_exist() -> None:
    text = text_of(DOCS / "explanation" / "architecture.md")
    files = re.findall(r"`((?:\w+/)+(?:\w+\.(?:py|json))?)`", text)
    ours = [name for name in files if not name.startswith(("tests/", "snapshots/", "ossctl/"))]
    assert len(ours) > 60
    assert not {
        name for name in ours if not (PACKAGE / name).exists() and not (PACKAGE / "app" / name).exists()
    }
