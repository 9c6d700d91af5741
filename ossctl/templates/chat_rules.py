"""What a template does with roles: found by trial, so that no message is ever lost in silence."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ossctl.templates.probe import FIRST, SYSTEM, TEXT, USER, Messages, Probe, assistant, tool, user
from ossctl.templates.template_format import ChatRules

_LATER = "zqLater"
_PARAMETER = "zqka"
# Variables that a template may insist on, with values that say nothing.
_INSISTED = {"functions": "[]", "datetime": ""}


def derive_rules(probe: Probe) -> ChatRules:
    """The rules under which the template renders chats. Sets the variables that it insists on."""
    rules = next(filter(lambda rules: _renders(probe, rules), _candidates()), ChatRules())
    probe.given |= rules.always
    system = {"role": "system", "content": SYSTEM}
    later = {"role": "system", "content": _LATER}
    rules = replace(rules, alternate=not _shows(probe, rules, [user(), user(_LATER)], USER, _LATER))
    both = [(system, later, user()), (system, user(), assistant(), later, user())]
    rules = replace(rules, late_system=all(_shows(probe, rules, chat, SYSTEM, _LATER, USER) for chat in both))
    return replace(rules, **_declaration(probe))


def arranged(messages: Messages, rules: ChatRules) -> list[dict[str, Any]]:
    """Messages that the template renders completely, with the texts of `messages` in their order."""
    merged: list[dict[str, Any]] = []
    for message in _placed(messages, rules):
        previous = merged[-1] if merged else {}
        same = previous.get("role") == message["role"] and message["role"] in ("user", "assistant")
        calling = "tool_calls" in previous or "tool_calls" in message
        if rules.alternate and same and not calling:
            texts = filter(None, (previous["content"], message["content"]))
            merged[-1] = previous | message | {"content": "\n\n".join(texts)}
        else:
            merged.append(message)
    if rules.text_parts:
        return [m | {"content": [{"type": "text", "text": m["content"]}]} for m in merged]
    return merged


def _placed(messages: Messages, rules: ChatRules) -> Iterator[dict[str, Any]]:
    """The messages with roles that the template knows, and system texts where it takes them."""
    leading = True
    folded: list[str] = []
    for message in messages:
        role = "system" if message["role"] == "developer" else message["role"]
        placed = dict(message, role=role)
        leading = leading and role == "system"
        if leading and (rules.fold_system or not rules.late_system):
            folded.append(message["content"])
            continue
        if folded and not rules.fold_system:
            yield {"role": "system", "content": "\n\n".join(folded)}
            folded = []
        if role == "system" and (rules.fold_system or not rules.late_system):
            placed["role"] = "user"
        if folded and placed["role"] == "user":
            placed["content"] = "\n\n".join([*folded, placed["content"]])
            folded = []
        yield placed
    if folded:
        yield {"role": "user" if rules.fold_system else "system", "content": "\n\n".join(folded)}


def declared(rules: ChatRules, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The variables that declare functions, given in the API's form."""
    if not tools or not rules.tools:
        return dict(rules.always)
    return dict(rules.always) | {rules.tools: json.dumps(tools) if rules.json_tools else list(tools)}


def _candidates() -> Iterator[ChatRules]:
    for fold in (False, True):
        for parts in (False, True):
            for always in ({}, _INSISTED):
                yield ChatRules(fold_system=fold, text_parts=parts, always=always)


def _renders(probe: Probe, rules: ChatRules) -> bool:
    chat = [{"role": "system", "content": SYSTEM}, user(), assistant(), user(_LATER)]
    return _shows(probe, rules, chat, SYSTEM, USER, TEXT, _LATER)


def _shows(probe: Probe, rules: ChatRules, chat: Messages, *texts: str) -> bool:
    shown = probe.render(arranged(chat, rules), prompt=True, **rules.always)
    return shown is not None and all(text in shown for text in texts)


def _declaration(probe: Probe) -> dict[str, Any]:
    """The variable that makes the template print a function's name and its parameter's."""
    tools = [tool(FIRST, {_PARAMETER: {"type": "string", "description": "A."}})]
    for name, as_json in (("tools", False), ("functions", True), ("functions", False)):
        for chat in ([user()], [{"role": "system", "content": SYSTEM}, user()]):
            shown = probe.render(chat, prompt=True, **{name: json.dumps(tools) if as_json else tools}) or ""
            if FIRST in shown and _PARAMETER in shown:
                return {"tools": name, "json_tools": as_json}
    return {}
