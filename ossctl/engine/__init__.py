"""Continuous batching over a `Runner`. Token ids only: text is the dialects' business."""
