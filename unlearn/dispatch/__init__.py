"""Carrying plans out: a journal of tasks, and the processes that work it off."""
