"""Text on which column functions could differ from functions of one string."""

from hypothesis import strategies as st

NASTY = [
    *"aAZIß'’-_ .,&<>:/w{}%$\\;0",
    *"éÉñışİſK Å½²№ﬁĄ…",
    *"\u0301\u0323\u0306\u0345\u0338\u093c\u094d\u09d7\u0655\u0653\u20dd",  # combining
    *"=<≠ŭṩºẞΩσςΐ",
    *"नऩकक़ীবো漢字ー゙がガｶﾞ한글ㄱ\u1100\u1161\u11a8각Жйاأآﷺع",
    *"\x00\x1c\t\n\r\x85\u00a0\u2003\u2028\u3000\u00ad\u200b\u200c\u200d\u200f\u202a\u2066\ufeff\ufe0f",
    *"😀👩🏽𝐀𐐀𑄮𑄱𝅗𝅥\U000e0100\U0010ffff\ue000\u0378",
]

_MARKUP = ["&amp;", "&#x301;", "&lt;b&gt;", "<b>", "</b>", "<!--", "-->", "http://a.b", "www.x", "%s", "${a}", "50 %"]
_PIECES = [*NASTY, *_MARKUP, "word ", "a b "]

TEXTS = st.lists(st.one_of(st.lists(st.sampled_from(_PIECES), max_size=10).map("".join), st.text(max_size=10)), max_size=6)
"""Columns of strings."""
