"""The three functions of gpt-oss's browser, with the parameters that the model was trained with."""

from dataclasses import replace

from ossctl.harmony.browser import BROWSER

# gpt-oss gets this in its own words; other models would not know how to cite.
_CITING = (
    "Each display starts with its `cursor` in brackets, and each line with its number. Cite what you use as"
    " `【{cursor}†L{line_start}-L{line_end}】`, for example `【6†L9-L11】` or `【8†L3】`."
)

_search, OPEN, FIND = (
    replace(tool, name=f"{BROWSER.name}_{tool.name}", native="browser") for tool in BROWSER.tools
)
SEARCH = replace(_search, description=f"{_search.description}\n{_CITING}")
