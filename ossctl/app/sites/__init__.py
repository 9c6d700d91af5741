"""Engines that answer the lines of a batch elsewhere: in other processes, which may die."""
