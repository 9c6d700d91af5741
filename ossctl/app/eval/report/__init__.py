"""Reports of an evaluation: tables for a terminal and Markdown, CSV, JSON, and a page with a picture."""
