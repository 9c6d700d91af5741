"""`ossctl run`: one answer for a script, or many with `--serve-stdin`."""
