#!/usr/bin/env bash
# Answer every line of stdin with one loaded model: bash examples/serve_client.sh MODEL < questions.txt
set -euo pipefail

jq -Rc '{id: "\(input_line_number)", prompt: ., max_tokens: 40, temperature: 0}' |
    ossctl run --serve-stdin -m "$1" |
    jq -r 'if .done then "\(.id): \(.done.answer)" elif .error then "\(.id) failed: \(.error.message)" else empty end'
