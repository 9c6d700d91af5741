"""No message is ever lost in silence: what a template refuses or drops is found by trial, and changed."""

from typing import Any

import pytest

from ossctl.templates.chat_rules import arranged, declared, derive_rules
from ossctl.templates.probe import Probe, tool
from ossctl.templates.template_format import ChatRules
from tests.support.chat_templates import chat_template

_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
TEMPLATES = {
    "takes all": chat_template(),
    "refuses system": "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('no') }}{% endif %}" + _TURN + "{% endfor %}",
    "drops later system": "{% for m in messages %}{% if m.role != 'system' or loop.first %}"
    + _TURN
    + "{% endif %}{% endfor %}",
    "alternates": "{% if messages[0].role == 'system' %}"
    "{{ messages[0].content }}{% set messages = messages[1:] %}{% endif %}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns') }}{% endif %}"
    + _TURN
    + "{% endfor %}",
    "parts only": "{% for m in messages %}{{ m.role }}{{ m.content[0].text }}{% endfor %}",
    "knows no developer": "{% for m in messages %}{% if m.role in ['system', 'user', 'assistant'] %}"
    + _TURN
    + "{% endif %}{% endfor %}",
    "iterates tools": "{% for t in tools %}{{ t.function.name }}{{ t | tojson }}{% endfor %}"
    + chat_template(),
    "insists on functions": "{{ functions | from_json }}{{ datetime + '' }}" + chat_template(),
}
CHATS = [
    "user",
    "system user",
    "developer user",
    "system developer user assistant user",
    "system user user assistant assistant user",
    "user system user",
    "user assistant system user",
    "system user assistant user system",
    "system",
]


@pytest.mark.parametrize("chat", CHATS)
@pytest.mark.parametrize("template", TEMPLATES)
def test_every_text_is_rendered_in_its_order(template: str, chat: str) -> None:
    probe = Probe(TEMPLATES[template])
    rules = derive_rules(probe)
    messages = [{"role": role, "content": f"text{i}"} for i, role in enumerate(chat.split())]
    text = probe.render(arranged(messages, rules), prompt=True, **declared(rules, []))
    assert text is not None
    places = [text.find(str(message["content"])) for message in messages]
    assert -1 not in places
    assert places == sorted(places)


def test_a_template_that_takes_all_gets_all_as_it_is() -> None:
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]
    assert arranged(messages, ChatRules()) == messages


@pytest.mark.parametrize(
    ("template", "declaration"),
    [
        (chat_template(), ("tools", False)),
        ("{{ functions | from_json | tojson }}", ("functions", True)),
        ("{% for f in functions or [] %}{{ f | tojson }}{% endfor %}", ("functions", False)),
        ("{{ messages[0].content }}", ("", False)),
    ],
)
def test_the_variable_that_declares_functions_is_found(template: str, declaration: Any) -> None:
    probe = Probe(template + "{{ messages[-1].content }}")
    rules = derive_rules(probe)
    assert (rules.tools, rules.json_tools) == declaration
    tools = [tool("find", {"what": {"type": "string"}})]
    shown = probe.render([{"role": "user", "content": "Hi"}], **declared(rules, tools))
    assert ("what" in (shown or "")) == bool(rules.tools)
