"""The direction of imports, as docs/explanation/architecture.md draws it. Any other edge fails here."""

import ast
from collections.abc import Collection, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import ossctl

PACKAGE = Path(ossctl.__file__).parent

# part -> the parts of ossctl that it may import; a file at the top is a part of its own
ALLOWED: dict[str, set[str]] = {
    "__init__": set(),
    "__main__": {"cli"},
    "errors": set(),
    "settings": {"errors"},
    "text": set(),
    "guide": set(),
    "dialect": {"guide"},
    "config": {"errors", "settings", "storage"},
    "cli": {"__init__", "app", "config", "errors", "planning", "repl", "settings", "text"},
    "repl": {"__init__", "app", "config", "dialect", "errors", "planning", "settings", "text"},
    "app": {
        "__init__",
        "build",
        "config",
        "data",
        "dialect",
        "engine",
        "errors",
        "guide",
        "harmony",
        "hub",
        "planning",
        "runtime",
        "schemas",
        "settings",
        "storage",
        "templates",
        "text",
    },
    "engine": {"errors", "guide", "runtime.base", "schemas", "text"},
    "schemas": set(),
    "harmony": {"dialect", "errors", "guide"},
    "templates": {"dialect", "errors", "guide", "text"},
    "data": set(),
    "planning": {"errors"},
    "build": set(),
    "runtime": {"build", "errors"},
    "hub": {"data", "errors"},
    "storage": {"errors"},
}

# The rooms of app/, floor by floor from the top: each may import from the floors below it, and from itself.
FLOORS = (
    {"finished_work"},
    {"sites"},
    {"run", "chat", "batch", "eval", "compare", "bench", "plan", "doctor", "worker"},
    {"library", "sessions", "tools", "wire"},
    {"inference"},
    {"placement"},
    {"html_page", "local_date", "quantiles", "user_text"},
)

# libraries that only these parts import, so that the rest can be tested and understood without them
ONLY_IN = {
    "llama_cpp": {"runtime"},
    "llguidance": {"engine"},
    "jsonschema": {"schemas"},
    "typer": {"cli"},
    "rich": {"cli", "repl"},
    "prompt_toolkit": {"repl"},
    "jinja2": {"templates"},
    "httpx2": {"hub", "app"},
    "mcp": {"app"},
    "mcp_types": {"app"},
    "anyio": {"app"},
    "pydantic": {"app"},
    "huggingface_hub": {"hub"},
    "pypdf": {"app"},
    "trafilatura": {"app"},
    "ddgs": {"app"},
    "inspect_ai": {"app"},
    "inspect_evals": {"app"},
    "ray": {"app"},
    "tomlkit": {"config"},
}

SLOW_TO_IMPORT = {
    "llama_cpp",
    "llguidance",
    "jsonschema",
    "httpx2",
    "huggingface_hub",
    "prompt_toolkit",
    "numpy",
    "jinja2",
    "msgspec",
    "regex",
    "rich",
    "pypdf",
    "trafilatura",
    "ddgs",
    "inspect_ai",
    "inspect_evals",
    "ray",
    "tomlkit",
}

# Where the standard streams are used, and why: everything else goes through `cli/output.py`.
WRITERS = {
    "cli/output.py": "the one writer",
    "cli/streams.py": "what is done when they are lost",
    "repl/": "the screen of a chat",
    "storage/journal.py": "the records of a batch, on stdout as in a file",
    "runtime/crash.py": "after a crash in native code",
    "app/placement/reservation.py": "a process of its own, whose stdout is a pipe",
    "app/tools/files/grep.py": "a process of its own, whose stdout is a pipe",
    "app/tools/browser/pdf_text.py": "a process of its own, whose stdout is a file",
    "app/placement/self_test.py": "a process of its own, whose stdout is a pipe",
    "app/tools/python/child.py": "a program of its own inside a sandbox, whose streams are pipes",
    "build/__main__.py": "a program of its own, before the dependencies can be imported",
}
STREAMS = {"sys.stdout", "sys.stderr", "sys.__stdout__", "sys.__stderr__", "os.write"}
PRINTERS = {"print", "input", "Console", "typer.echo", "typer.secho", "typer.confirm", "typer.prompt"}


def sources() -> Iterator[tuple[str, str, ast.Module]]:
    """(part, path, tree) of every module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE)
        part = inside.parts[0] if len(inside.parts) > 1 else inside.stem
        yield part, str(inside), ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[str]:
    """Names of the modules that any statement below `tree` imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the direction"
            yield node.module or ""


def test_parts_import_only_what_the_design_allows() -> None:
    wrong = []
    for part, path, tree in sources():
        allowed = ALLOWED[part]
        for name in imported(tree):
            if name == "ossctl":
                target = "__init__"
            elif name.startswith("ossctl."):
                target = name.removeprefix("ossctl.")
            else:
                continue
            top = target.partition(".")[0]
            if top != part and not {top, target} & allowed:
                wrong.append(f"{path} imports {name}")
    assert not wrong


def test_rooms_of_app_import_from_the_floors_below_only() -> None:
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    wrong = []
    for part, path, tree in sources():
        room = Path(path).with_suffix("").parts[1] if part == "app" else "__init__"
        if room == "__init__":
            continue
        for name in imported(tree):
            other = (name + "..").split(".")[2] if name.startswith("ossctl.app.") else room
            if other != room and floor_of[other] <= floor_of[room]:
                wrong.append(f"{path} imports {name}")
    assert not wrong


def test_no_modules_import_each_other_in_a_circle() -> None:
    modules = {_module(path): tree for _, path, tree in sources()}
    graph = {
        name: {_within(other, modules) for other in imported(tree)} - {None, name}
        for name, tree in modules.items()
    }
    order = TopologicalSorter(graph)
    order.prepare()  # raises CycleError, which names the circle


def _module(path: str) -> str:
    parts = Path(path).with_suffix("").parts
    return ".".join(["ossctl", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def _within(name: str, modules: Collection[str]) -> str | None:
    """The module of ours that is imported; None for a library's, or for the top, which holds a number."""
    return name if name in modules and name != "ossctl" else None


def test_libraries_stay_in_their_parts() -> None:
    wrong = [
        f"{path} imports {name}"
        for part, path, tree in sources()
        for name in imported(tree)
        if part not in ONLY_IN.get(name.partition(".")[0], {part})
    ]
    assert not wrong


def test_the_command_line_imports_nothing_slow_at_module_level() -> None:
    wrong = []
    for part, path, tree in sources():
        if part != "cli":
            continue
        functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        inside_functions = {name for function in functions for name in imported(function)}
        at_import = set(imported(tree)) - inside_functions
        wrong += [f"{path} imports {n}" for n in at_import if n.partition(".")[0] in SLOW_TO_IMPORT]
    assert not wrong


def test_only_one_class_writes_to_the_standard_streams() -> None:
    wrong = []
    for _, path, tree in sources():
        names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        used = (names & STREAMS) | (called & PRINTERS)
        if used and not path.startswith(tuple(WRITERS)):
            wrong.append(f"{path} uses {', '.join(sorted(used))}")
    assert not wrong


def test_click_is_never_imported() -> None:
    clicks = [path for _, path, tree in sources() for name in imported(tree) if name.split(".")[0] == "click"]
    assert not clicks


def test_every_part_is_named_in_the_map_of_the_code() -> None:
    page = (PACKAGE.parent / "docs" / "explanation" / "architecture.md").read_text(encoding="utf-8")
    parts = {part for part, _, _ in sources()} - {"__init__", "__main__"}
    assert not {part for part in parts if f"`{part}" not in page}
