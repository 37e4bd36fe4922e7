"""The frozen English teacher, the multilingual student, their tokenizers, and how two token clouds make a score."""
