#!/usr/bin/env bash
# Chat templates and the "arguments" of a tool call. The OpenAI API writes them as a string of JSON; Transformers asks
# for an object, and its 5.24.0 hands whatever it gets to the template. Of the 70 templates that llama.cpp ships (in the
# sdist of llama-cpp-python 0.3.36), 57 render a call whose arguments are an object. Given the string, only 13 of those
# write the same prompt; 20 write it encoded a second time, without an error, those of Qwen2.5, Llama 3.x, Mistral Nemo,
# DeepSeek V3.1 and gpt-oss among them.
#
# Seen:
#   an object is rendered by 57 of 70
#   string: encoded twice by 20, an error in 21, rendered like the object by 13, in some other way by 3
#   Qwen2.5: "arguments": "{\"city\": \"Zagreb\"}"
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" -q --no-cache-dir)
"${pip[@]}" install transformers==5.24.0 jinja2==3.1.6
"${pip[@]}" download --no-deps --no-binary llama-cpp-python -d "$folder" llama-cpp-python==0.3.36
tar xzf "$folder"/llama_cpp_python-0.3.36.tar.gz -C "$folder" --strip-components=5 --wildcards \
  '*/vendor/llama.cpp/models/templates/*.jinja'
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import collections
import json
import pathlib
import sys

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

ARGUMENTS = {"city": "Zagreb"}
CITY = {"type": "object", "properties": {"city": {"type": "string", "description": "A city."}}, "required": ["city"]}
TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "The weather of a city.", "parameters": CITY},
}


def rendered(template, arguments):
    """The prompt, or None if the template refuses the messages or leaves the arguments out."""
    call = {"id": "call00000", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages = [
        {"role": "user", "content": "How is the weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call00000", "name": "get_weather", "content": "mild"},
    ]
    try:
        text = render_jinja_template(
            [messages],
            tools=[TOOL],
            chat_template=template,
            add_generation_prompt=True,
            bos_token="<s>",
            eos_token="</s>",
        )[0][0]
    except (TemplateError, TypeError):
        return None
    return text if "Zagreb" in text else None


def outcome(template):
    expected = rendered(template, ARGUMENTS)
    if expected is None:
        return "no call"
    text = rendered(template, json.dumps(ARGUMENTS))
    if text is None:
        return "error"
    if text == expected:
        return "same"
    return "twice" if json.dumps(json.dumps(ARGUMENTS)) in text else "other"


templates = {path.stem: path.read_text() for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja"))}
outcomes = {name: outcome(template) for name, template in templates.items()}
count = collections.Counter(outcomes.values())
print(f"an object is rendered by {len(outcomes) - count['no call']} of {len(outcomes)}")
print(
    f"string: encoded twice by {count['twice']}, an error in {count['error']}, "
    f"rendered like the object by {count['same']}, in some other way by {count['other']}"
)
qwen = rendered(templates["Qwen-Qwen2.5-7B-Instruct"], json.dumps(ARGUMENTS))
print("Qwen2.5:", qwen[qwen.rindex('"arguments"') : qwen.rindex("}\n</tool_call>")])
for name in (
    "Qwen-Qwen2.5-7B-Instruct",
    "meta-llama-Llama-3.1-8B-Instruct",
    "mistralai-Mistral-Nemo-Instruct-2407",
    "deepseek-ai-DeepSeek-V3.1",
    "openai-gpt-oss-120b",
):
    assert outcomes[name] == "twice", name
assert count == {"no call": 13, "twice": 20, "error": 21, "same": 13, "other": 3}, count
PYTHON
