"""Saved conversations, those of chats and of logged runs."""
