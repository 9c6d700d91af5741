"""An MCP server without the `mcp` package: `python mcp_by_hand.py KIND`.

It starts in no time, speaks the protocol of 2025, and does what a server should not.
"""

import json
import os
import subprocess
import sys
import time
from typing import Any

VERSION = "2025-06-18"
TOOLS = ["twice", "twice", "ask", "garbage", "end", "ignore", "unknown_content", "child"]
ASKS = {
    "elicitation/create": {"message": "Who?", "requestedSchema": {"type": "object", "properties": {}}},
    "sampling/createMessage": {"messages": [], "maxTokens": 5},
    "roots/list": {},
}


def say(**message: Any) -> None:
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)


def hear() -> dict[str, Any]:
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    message: dict[str, Any] = json.loads(line)
    return message


def ask() -> str:
    """Ask the client for everything that a server may ask for, and return its answers."""
    answers = []
    for number, (method, params) in enumerate(ASKS.items()):
        say(id=f"ask-{number}", method=method, params=params)
        answer = hear()
        answers.append(f"{method}: {answer.get('error', {}).get('message', answer)}")
    return "\n".join(answers)


def call(name: str) -> dict[str, Any]:
    if name == "garbage":
        print('{"jsonrpc": "2.0", "result": {', flush=True)
    if name == "end":
        print("out of cheese, my key is", os.environ.get("TOY_KEY"), file=sys.stderr, flush=True)
        sys.exit(7)
    if name in {"garbage", "ignore"}:
        return {}
    if name == "child":
        child = subprocess.Popen(["sleep", "60"], stdin=subprocess.DEVNULL)
        return {"content": [{"type": "text", "text": str(child.pid)}]}
    text = {"type": "text", "text": ask() if name == "ask" else name}
    content: list[Any] = [{"type": "smell"} if name == "unknown_content" else text]
    return {"content": content}


def serve() -> None:
    result: dict[str, Any]
    while True:
        message = hear()
        match message["method"]:
            case "initialize":
                info = {"name": "by hand", "version": "1"}
                result = {"protocolVersion": VERSION, "capabilities": {"tools": {}}, "serverInfo": info}
            case "tools/list":  # a page a function
                page = int(message.get("params", {}).get("cursor", 0))
                result = {"tools": [{"name": TOOLS[page], "inputSchema": {"type": "object"}}]}
                if page + 1 < len(TOOLS):
                    result["nextCursor"] = str(page + 1)
            case "tools/call":
                result = call(message["params"]["name"])
            case _:
                if "id" in message:
                    say(id=message["id"], error={"code": -32601, "message": "Method not found"})
                continue
        if result:
            say(id=message["id"], result=result)


def main(kind: str) -> None:
    print(f"This is {kind}.", file=sys.stderr, flush=True)
    if kind == "dead":
        sys.exit(3)
    while kind == "noisy":
        os.write(1, b"What is this MCP?\n")
    while kind == "endless":
        os.write(2, b"complaint " * 1000)
    if kind == "mute":
        time.sleep(60)
    try:
        serve()
    finally:
        if kind == "stubborn":
            time.sleep(60)


if __name__ == "__main__":
    main(sys.argv[1])
