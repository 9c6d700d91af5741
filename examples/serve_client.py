"""Answer several questions with one loaded model: python examples/serve_client.py MODEL QUESTION..."""

import json
import subprocess
import sys

model, *questions = sys.argv[1:]
command = ["ossctl", "run", "--serve-stdin", "-m", model]
with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8") as server:
    for number, question in enumerate(questions):
        request = {"id": str(number), "prompt": question, "max_tokens": 40, "temperature": 0}
        print(json.dumps(request), file=server.stdin)
    server.stdin.close()  # pending requests are still answered
    for line in server.stdout:
        event = json.loads(line)
        if "done" in event:
            print(f"{questions[int(event['id'])]} -> {event['done']['answer']}")
        elif "error" in event:
            print(f"{event['id']}: {event['error']['message']}", file=sys.stderr)
sys.exit(server.returncode)
