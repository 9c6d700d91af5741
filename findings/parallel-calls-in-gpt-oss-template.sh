#!/usr/bin/env bash
# The chat template of gpt-oss, as llama.cpp ships it (in the sdist of llama-cpp-python 0.3.36), rendered by
# Transformers 5.24.0: of an assistant message with two tool calls, the second is left out without an error, and its
# result is rendered as another result of the first. A conversation with parallel calls, as the OpenAI API writes it,
# so reaches the model changed. The template of Llama 3.1 raises an error for the same messages.
#
# Seen:
#   <|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{"city": "Zagreb"}<|call|>
#   <|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>"mild"<|end|>
#   <|start|>functions.get_weather to=assistant<|channel|>commentary<|message|>"noon"<|end|>
#   Llama 3.1: This model only supports single tool-calls at once!
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
import pathlib
import re
import sys

from jinja2 import TemplateError
from transformers.utils.chat_template_utils import render_jinja_template

CALLS = {"get_weather": ("mild", {"city": "Zagreb"}), "get_time": ("noon", {"zone": "Asia/Tokyo"})}
calls = [
    {"id": f"call_{name}", "type": "function", "function": {"name": name, "arguments": arguments}}
    for name, (_, arguments) in CALLS.items()
]
results = [{"role": "tool", "tool_call_id": f"call_{name}", "content": result} for name, (result, _) in CALLS.items()]
messages = [
    {"role": "user", "content": "What are the weather in Zagreb and the time in Tokyo?"},
    {"role": "assistant", "content": "", "tool_calls": calls},
    *results,
]


def rendered(name):
    template = (pathlib.Path(sys.argv[1]) / name).read_text()
    return render_jinja_template([messages], chat_template=template, bos_token="", eos_token="")[0][0]


text = rendered("openai-gpt-oss-120b.jinja")
after_user = text[text.index("<|end|>", text.index("<|start|>user")) + len("<|end|>") :]
for message in re.findall(r"<\|start\|>.*?(?:<\|call\|>|<\|end\|>)", after_user):
    print(message)
assert "get_time" not in text and "Tokyo" not in after_user
assert text.count("<|start|>functions.get_weather to=assistant") == 2
try:
    rendered("meta-llama-Llama-3.1-8B-Instruct.jinja")
except TemplateError as error:
    print(f"Llama 3.1: {error}")
else:
    raise AssertionError("Llama 3.1 rendered both calls")
PYTHON
