"""`ossctl eval`: tasks with graded answers, over models and settings, with honest numbers."""
