"""The Triton backend, an extra: imported only where Triton is installed."""
