"""gpt-oss's browser: search, open and find, over a folder of documents or the web."""
