"""Print the answers in the output of a batch, sorted by id: python examples/show_answers.py OUT"""

import json
import sys
from pathlib import Path

records = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
for record in sorted(records, key=lambda r: r["custom_id"]):
    if record["error"]:
        print(f"{record['custom_id']}  {record['error']['message']}")
        continue
    choice = record["response"]["body"]["choices"][0]
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls", [])]
    shown = [message["content"], *(f"{call['name']}({call['arguments']})" for call in calls)]
    print(f"{record['custom_id']}  {' '.join(filter(None, shown))}  ({choice['finish_reason']})")
    if "reasoning_content" in message:
        print(f"    thinking: {message['reasoning_content']}")
