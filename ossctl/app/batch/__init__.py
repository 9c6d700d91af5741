"""`ossctl batch`: `run` is the whole command, `runner` its main loop, `resume` and `finalize` before and
after it.
"""
