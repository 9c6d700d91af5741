"""Continuous batching over a `Runner`. The engine handles token ids only; dialects handle text."""
