"""Harmony, the dialect of gpt-oss, which was trained on no other format."""
