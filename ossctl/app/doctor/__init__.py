"""`ossctl doctor`: check this installation."""
