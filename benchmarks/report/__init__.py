"""How long a report takes, and how much memory, as runs grow."""
