"""Print the answers of a batch's output, by id: python show_answers.py OUT"""

import json
import sys
from pathlib import Path

records = [json.loads(line) for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()]
for record in sorted(records, key=lambda r: r["custom_id"]):
    if record["error"]:
        print(f"{record['custom_id']}  {record['error']['message']}")
    else:
        choice = record["response"]["body"]["choices"][0]
        print(f"{record['custom_id']}  {choice['message']['content']}  ({choice['finish_reason']})")
