"""`ossctl plan`: how models would run on this machine or another."""
