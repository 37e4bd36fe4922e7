"""Entropic optimal transport between two small token clouds. Pure tensors: knows nothing of text, files or training."""
