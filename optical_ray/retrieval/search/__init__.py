"""Exact search in blocks: scores of a block of documents, ranks over all blocks, encoded documents on disk."""
