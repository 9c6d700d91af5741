"""Small chat templates, one for each way in which models write calls and reasoning."""

_TOOLS = "{% if tools %}<tools>{% for t in tools %}{{ t.function | tojson }}{% endfor %}</tools>{% endif %}"
_TURNS = (
    _TOOLS
    + "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content or '' }}%s<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CALLS = "{% for c in m.tool_calls or [] %}%s{% endfor %}"


def chat_template(turn: str = "") -> str:
    """A template in which `turn` ends every message."""
    return _TURNS.replace("%s", turn)


def with_calls(call: str, before: str = "", after: str = "") -> str:
    """A template that writes each call `c` in one way, and something around all of them."""
    calls = _CALLS.replace("%s", call)
    return chat_template("{% if m.tool_calls %}" + before + calls + after + "{% endif %}")


_JSON = '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
_NAME = "{{ c.function.name }}"
_ARGUMENTS = "{{ c.function.arguments | tojson }}"


def _each(argument: str) -> str:
    return "{% for k, v in c.function.arguments.items() %}" + argument + "{% endfor %}"


_PLAIN = "{{ v if v is string else v | tojson }}"

CALLS = {
    "JSON in tags": with_calls("\n<tool_call>\n" + _JSON + "\n</tool_call>"),
    "JSON array": with_calls(_JSON + "{{ ', ' if not loop.last }}", "[TOOL_CALLS][", "]"),
    "name outside": with_calls(
        f"<call>functions.{_NAME}:{{{{ loop.index0 }}}}<args>{_ARGUMENTS}</call>", "<calls>", "</calls>"
    ),
    "name is the key": with_calls(
        "{{ {c.function.name: c.function.arguments} | tojson }}{{ ', ' if not loop.last }}", "<c>[", "]</c>"
    ),
    "only JSON": with_calls(
        "{% if m.tool_calls | length > 1 %}{{ raise_exception('one call') }}{% endif %}" + _JSON
    ),
    "string arguments": with_calls("<f={{ c.function.name }}>{{ '' + c.function.arguments }}</f>"),
    "tagged": with_calls(
        f"\n<tool_call>\n<function={_NAME}>\n"
        + _each(f"<parameter={{{{ k }}}}>\n{_PLAIN}\n</parameter>\n")
        + "</function>\n</tool_call>"
    ),
    "key and value": with_calls(
        f"<tool_call>{_NAME}"
        + _each(f"<arg_key>{{{{ k }}}}</arg_key><arg_value>{_PLAIN}</arg_value>")
        + "</tool_call>"
    ),
    "typed": with_calls(
        f'<x:invoke name="{_NAME}">\n'
        + _each(
            '<x:parameter name="{{ k }}" string="{{ "true" if v is string else "false" }}">'
            f"{_PLAIN}</x:parameter>\n"
        )
        + "</x:invoke>\n",
        "\n\n<x:calls>\n",
        "</x:calls>",
    ),
    "key is the tag": with_calls(
        f'<invoke name="{_NAME}">' + _each(f"<{{{{ k }}}}>{_PLAIN}</{{{{ k }}}}>") + "</invoke>\n",
        "<tools>\n",
        "</tools>",
    ),
    "bare keys": with_calls(
        f"<|tool_call>call:{_NAME}"
        "{{ '{' }}"
        + _each(
            "{{ k }}:{{ '<|q|>' ~ v ~ '<|q|>' if v is string else v | tojson }}{{ ',' if not loop.last }}"
        )
        + "}<tool_call|>"
    ),
    "Python": with_calls(
        _NAME
        + "("
        + _each("{{ k }}={{ v | tojson if v is string else v }}{{ ', ' if not loop.last }}")
        + "){{ ', ' if not loop.last }}",
        "<|start|>[",
        "]<|end|>",
    ),
}


# Small ones in the style of well-known families: reasoning that the model opens or the prompt does, or none.
_RESULT = "<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
_TAGGED_CALLS = _CALLS.replace("%s", "\n<tool_call>\n" + _JSON + "\n</tool_call>")
_CHATML = (
    _TOOLS
    + "{% for m in messages %}{% if m.role == 'tool' %}"
    + _RESULT
    + "{% else %}<|im_start|>{{ m.role }}\n%s{{ m.content or '' }}"
    + _TAGGED_CALLS
    + "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n%p{% endif %}"
)
_DEEPSEEK_CALL = (
    "<¦tool▁call▁begin¦>" + _NAME + "<¦tool▁sep¦>{{ c.function.arguments | tojson }}<¦tool▁call▁end¦>"
)
FAMILIES = {
    "Hermes": _CHATML.replace("%s", "").replace("%p", ""),
    "Qwen3": _CHATML.replace(
        "%s",
        "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}",
    ).replace(
        "%p",
        "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
    ),
    "DeepSeek-V3.1": (
        "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ bos_token }}"
        + _TOOLS
        + "{% for m in messages %}{% if m.role == 'user' %}<¦User¦>{{ m.content }}"
        "{% elif m.role == 'assistant' %}<¦Assistant¦></think>{{ m.content or '' }}"
        "{% if m.tool_calls %}<¦tool▁calls▁begin¦>"
        + _CALLS.replace("%s", _DEEPSEEK_CALL)
        + "<¦tool▁calls▁end¦>{% endif %}<¦end▁of▁sentence¦>"
        "{% elif m.role == 'tool' %}<¦tool▁output▁begin¦>{{ m.content }}<¦tool▁output▁end¦>"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<¦Assistant¦>"
        "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
    ).replace("¦", "\uff5c"),
}
