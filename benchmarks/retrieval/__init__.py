"""Search beside PyLate and Sentence-Transformers: MaxSim, encoding, a million stored vectors."""
