"""A loaded model and requests to it."""
