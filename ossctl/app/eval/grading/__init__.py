"""Grades answers: reads the final answer of a text and compares it with the right one."""
