"""Requests in OpenAI's JSON formats, from JSON lines, tables and text files."""
