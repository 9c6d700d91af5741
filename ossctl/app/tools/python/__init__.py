"""Python for the model: an interpreter per conversation, in a place where it can touch nothing outside."""
