"""MCP servers from `--mcp` and from files that other programs share."""

import json
from pathlib import Path
from typing import Any

import pytest

from ossctl.app.tools.mcp.given import servers_given
from ossctl.app.tools.mcp.server import McpServer
from ossctl.app.tools.mcp.server_file import servers_of_file
from ossctl.app.tools.options import ToolOptions
from ossctl.errors import UsageError


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "t0ken-value")
    monkeypatch.delenv("MISSING", raising=False)


def file_of(folder: Path, **servers: Any) -> Path:
    file = folder / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    return file


def test_a_name_is_that_of_a_server_in_a_config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        "[mcp.files]\ncommand = 'npx'\nargs = ['-y', 'x']\nenv = {A = '${TOKEN}'}\nallow = ['read*']\n"
        "[mcp.wrong]\n"
    )
    monkeypatch.setenv("OSSCTL_CONFIG", str(config))
    named, renamed = servers_given(["files", "other=files"])
    assert (named.name, renamed.name) == ("files", "other")
    assert (named.argv, named.env, named.allow) == (("npx", "-y", "x"), {"A": "t0ken-value"}, ("read*",))
    with pytest.raises(UsageError, match=r"config.toml, line 6: mcp.wrong: expected either command or url"):
        servers_given(["wrong"])


def test_without_a_terminal_each_server_says_what_is_allowed_unless_all_is(tmp_path: Path) -> None:
    file = file_of(tmp_path, trusted={"command": "x", "allow": ["read*"]}, other={"command": "y"})
    ToolOptions(mcp=[f"trusted={file}"]).refuse_unaskable(can_ask=False)
    ToolOptions(mcp=[str(file)], unasked=True).refuse_unaskable(can_ask=False)
    with pytest.raises(UsageError, match="--mcp other needs your consent to each call"):
        ToolOptions(mcp=[str(file)]).refuse_unaskable(can_ask=False)


@pytest.mark.parametrize(
    ("given", "name", "argv"),
    [
        ("files=npx -y server-filesystem '/a b'", "files", ("npx", "-y", "server-filesystem", "/a b")),
        ("npx -y @modelcontextprotocol/server-filesystem /tmp", "filesystem", None),
        ("uvx mcp-server-time@1.0 --local", "time", None),
        ("python -m weather_mcp", "weather", None),
        ("/usr/bin/python3 tools/notes.py", "notes", None),
        ("docker run -i mcp/git", "git", None),
        ("./server", "server", ("./server",)),
    ],
)
def test_a_command_is_named_after_its_program(given: str, name: str, argv: tuple[str, ...] | None) -> None:
    (server,) = servers_given([given])
    assert server.name == name
    assert argv in {None, server.argv}
    assert not server.url


@pytest.mark.parametrize(
    ("given", "name", "shown"),
    [
        ("https://mcp.linear.app/mcp", "linear", "https://mcp.linear.app/mcp"),
        ("http://localhost:8000/mcp?key=secret", "localhost", "http://localhost:8000/mcp"),
        ("http://127.0.0.1:8000/mcp", "server", "http://127.0.0.1:8000/mcp"),
        ("it=https://user:secret@example.com/a#b", "it", "https://example.com/a"),
    ],
)
def test_a_url_is_named_after_its_host_and_shown_without_secrets(given: str, name: str, shown: str) -> None:
    (server,) = servers_given([given])
    assert (server.name, server.shown) == (name, shown)
    assert server.url == given.removeprefix("it=")


def test_a_name_that_two_servers_would_have_gets_a_number() -> None:
    assert [server.name for server in servers_given(["./a", "x/a.py"])] == ["a", "a-2"]
    with pytest.raises(UsageError, match="two servers with the name a"):
        servers_given(["./a", "a=./b"])


def test_a_file_has_programs_and_urls(tmp_path: Path) -> None:
    file = file_of(
        tmp_path,
        files={
            "command": "npx",
            "args": ["-y", "server", "${userHome}/x", "${TOKEN}"],
            "env": {"KEY": "${env:TOKEN}", "LEVEL": "${MISSING:-info}"},
            "cwd": "${workspaceFolder}",
            "tools": ["read_*"],
            "allow": ["read_file"],
            "timeout_ms": 3,
        },
        web={
            "type": "http",
            "url": "https://e.com/?k=${TOKEN}",
            "headers": {"Authorization": "Bearer ${TOKEN}"},
        },
        off={"command": "x", "disabled": True},
    )
    files, web = servers_given([str(file)])
    assert files == McpServer(
        "files",
        argv=("npx", "-y", "server", f"{Path.home()}/x", "t0ken-value"),
        shown="npx -y server '${userHome}/x' '${TOKEN}'",
        env={"KEY": "t0ken-value", "LEVEL": "info"},
        cwd=str(Path.cwd()),
        tools=("read_*",),
        allow=("read_file",),
        secrets=frozenset({"t0ken-value"}),
    )
    assert files.offers("read_file")
    assert not files.offers("write_file")
    assert not files.allows("read_all")
    assert (web.url, web.shown) == ("https://e.com/?k=t0ken-value", "https://e.com/")
    assert web.headers == {"Authorization": "Bearer t0ken-value"}
    assert web.masked("refused t0ken-value") == "refused ***"
    assert "t0ken" not in f"{files} {web}".replace(files.argv[-1], "").replace(web.url, "")


def test_one_server_of_a_file_can_be_taken(tmp_path: Path) -> None:
    file = file_of(tmp_path, a={"command": "x"}, b={"command": "y"})
    assert [server.argv for server in servers_given([f"b={file}"])] == [("y",)]
    with pytest.raises(UsageError, match="has no server c"):
        servers_given([f"c={file}"])


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (3, "a is not an object"),
        ({}, "a: expected either command or url"),
        ({"command": "x", "url": "http://y"}, "a: expected either command or url"),
        ({"command": ["x"]}, "a: command is not a string"),
        ({"command": "x", "args": "y"}, "a: args is not a list of strings"),
        ({"command": "x", "env": {"A": 1}}, "a: env is not an object of strings"),
        (
            {"command": "x", "env": {"A": "${MISSING}"}},
            "a: env.A: the environment variable MISSING is not set",
        ),
        ({"command": "x", "args": ["${input:key}"]}, r"a: args: \$\{input:key\} cannot be replaced"),
        ({"command": "x", "type": "http"}, "a: type http does not fit the command"),
        ({"url": "http://y", "type": "sse"}, "a: type sse is not supported"),
        ({"command": "x", "type": ["http"]}, "a: type is not a string"),
        ({"url": "ftp://u:p@y"}, "a: ftp://y is not the URL of an HTTP server"),
        ({"url": "http://y:port"}, "a: http://y:port is not a URL"),
        ({"command": "x", "envFile": ".env"}, "a: envFile is not supported"),
        ({"command": "x", "cwd": 1}, "a: cwd is not a string"),
    ],
)
def test_a_wrong_server_is_refused_by_its_key(tmp_path: Path, server: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"mcp.json: {message}"):
        servers_of_file(file_of(tmp_path, a=server))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "expected a command, a URL or a file"),
        ("a=", "expected a command, a URL or a file"),
        ("'open", "No closing quotation"),
        ("no-such-file.json", "no-such-file.json"),
        ("http://", "is not the URL of an HTTP server"),
    ],
)
def test_a_wrong_option_is_refused(given: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        servers_given([given])


@pytest.mark.parametrize("text", ["[]", "{}", '{"mcpServers": []}', "{"])
def test_a_file_without_servers_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mcp.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"mcp\.json"):
        servers_given([str(file)])
