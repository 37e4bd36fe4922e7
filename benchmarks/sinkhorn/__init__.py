"""Benchmark of the Sinkhorn solver: speed at equal accuracy, memory, share of a step. Run: python -m benchmarks.sinkhorn --help."""
