"""One answer for a script, or many through standard input."""
