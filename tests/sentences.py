"""English sentences made of a few words, and their translation into made-up languages."""

import hashlib

SUBJECTS = ("the teacher", "a student", "my brother", "the old doctor", "every child", "our friend", "the farmer", "a woman")
VERBS = ("reads", "buys", "forgets", "paints", "carries", "sells", "finds", "opens")
OBJECTS = ("the red book", "a small house", "two letters", "the gate", "some bread", "a long story", "the last ticket", "her hat")


def translate(sentence: str, language: str) -> str:
    """Word-by-word: every English word has one made-up word in each language."""
    letters = "abdefgijklmnoprstuwy"
    words = []
    for word in sentence.split():
        digest = hashlib.sha256(f"{language} {word}".encode()).digest()
        words.append("".join(letters[byte % len(letters)] for byte in digest[: 3 + digest[0] % 4]))
    return " ".join(words)
