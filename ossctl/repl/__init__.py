"""The terminal of a chat: prompt, keys, slash commands, and the view of an answer as it comes."""
