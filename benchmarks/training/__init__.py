"""What a training step takes beside Sentence-Transformers and PyLate, and where its time goes."""
