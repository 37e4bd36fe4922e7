"""Retrieval tasks, exact search, per-query measures, intervals, and the reference systems beside every figure."""
