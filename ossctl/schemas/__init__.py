"""JSON schemas: what they mean, what a grammar can hold of them, and whether an answer fits."""
