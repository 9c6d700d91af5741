#!/usr/bin/env bash
# trafilatura 2.3.1 cannot be imported after pip 23.2.1, which Python 3.11.7 brings, has installed it without an error.
# justext 3.0.2 asks for lxml[html_clean]; lxml 6.1.3 was built with a tool that writes the extra as html-clean, the
# normal form of PEP 685. pip before 23.3 compares the two names as they stand: it warns that there is no such extra, and
# installs lxml alone. `pip check` finds nothing wrong. A newer pip installs all of it. So a package that depends on
# trafilatura should name lxml_html_clean itself.
#
# Seen:
#   justext wants lxml[html_clean]>=4.4.2; lxml has lxml_html_clean; extra == "html-clean"
#   pip 23.2.1: WARNING: lxml 6.1.3 does not provide the extra 'html_clean'
#   pip check: No broken requirements found.
#   import: ImportError: lxml.html.clean module is now a separate project lxml_html_clean.
#   pip 26.3: 12 degrees and rainy.
# Fails if any of these changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

installed_by() { # VERSION of pip; prints its warnings
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/pip" -q --no-cache-dir install "pip==$1" 2> /dev/null
    "$folder/$1/bin/pip" -q --no-cache-dir install trafilatura==2.3.1 justext==3.0.2 lxml==6.1.3 2>&1 |
        grep -o "WARNING: lxml 6.1.3 does not provide the extra '[a-z_-]*'" || true
}

old=$(installed_by 23.2.1)
bin="$folder/23.2.1/bin"
"$bin/python" - <<'PYTHON'
from importlib.metadata import requires

(wanted,) = (line for line in requires("justext") if line.startswith("lxml"))
(given,) = (line for line in requires("lxml") if line.startswith("lxml_html_clean"))
print(f"justext wants {wanted}; lxml has {given}")
assert "[html_clean]" in wanted, wanted
assert given.endswith('"html-clean"'), given
PYTHON
echo "pip 23.2.1: $old"
[ -n "$old" ]
echo "pip check: $("$bin/pip" check)"
if "$bin/python" -c "import trafilatura" 2> "$folder/error"; then
    echo "import: works now" && exit 1
fi
grep -o "ImportError: lxml.html.clean module is now a separate project lxml_html_clean\." "$folder/error" | sed 's/^/import: /'
[ -z "$(installed_by 26.3)" ]
page='<html><body><article><p>12 degrees and rainy.</p></article></body></html>'
text=$("$folder/26.3/bin/python" -c 'import sys, trafilatura; print(trafilatura.extract(sys.argv[1]))' "$page")
echo "pip 26.3: $text"
[ "$text" = "12 degrees and rainy." ]
