"""The lines of keys in TOML."""

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ossctl.config.key_lines import Key, key_lines

TEXT = '''# a comment with [brackets]
top = 1

[run] # [not]
"quoted.key" = """
[no.table]
x = 1
"""
list = [
  "]", # ]
  [1, 2],
]
after.dotted = {inline = 1}
[model."a.b"]
'literal' = \'\'\'
# [no]\'\'\'
last = 1'''


def test_tables_and_keys_are_on_their_lines() -> None:
    assert key_lines(TEXT) == {
        ("top",): 2,
        ("run",): 4,
        ("run", "quoted.key"): 5,
        ("run", "list"): 9,
        ("run", "after", "dotted"): 13,
        ("model", "a.b"): 14,
        ("model", "a.b", "literal"): 15,
        ("model", "a.b", "last"): 17,
    }


NAMES = st.sampled_from(["a", "b-c", "d.e", 'f"g', "", "# h", "ü"])
VALUES = st.sampled_from(["1", '"x"', '"""\n[a]\n"""', "[\n1,\n]", "'#'", "{x = 1}", "true # [", "1.5"])


@given(st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=4), max_size=4))
def test_every_key_is_found_where_it_was_written(tables: dict[str, dict[str, str]]) -> None:
    lines: list[str] = [""]
    expected: dict[Key, int] = {}
    for table, values in tables.items():
        expected[table,] = len("".join(lines).splitlines()) + 1
        lines.append(f"[{quoted(table)}]\n")
        for name, value in values.items():
            expected[table, name] = len("".join(lines).splitlines()) + 1
            lines.append(f"{quoted(name)} = {value}\n")
    text = "".join(lines)
    assert set(all_keys(tomllib.loads(text))) == set(expected)
    assert key_lines(text) == expected


def quoted(name: str) -> str:
    return '"' + name.replace('"', '\\"') + '"'


def all_keys(tables: dict[str, dict[str, Any]]) -> list[Key]:
    return [(table,) for table in tables] + [(table, name) for table in tables for name in tables[table]]
