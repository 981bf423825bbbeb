"""Grapheme clusters: what is one character to the eye, where a line may break between two, and their script."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

_FLAGS = ("\U0001f1e6", "\U0001f1ff")
_PICTURED = frozenset(  # Emoji_Presentation=Yes below U+1F000 (Unicode, emoji-data.txt)
    "⌚⌛⏩⏪⏫⏬⏰⏳◽◾☔☕♈♉♊♋♌♍♎♏♐♑♒♓♿⚓⚡⚪⚫⚽⚾⛄⛅⛎⛔⛪⛲⛳⛵⛺⛽✅✊✋✨❌❎❓❔❕❗➕➖➗➰➿⬛⬜⭐⭕"
)
_CLOSING = frozenset("!),.:;?]}%”’…、。〉》」』】〕！），．：；？］｝％・ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々〜")
_OPENING = frozenset("([{“‘〈《「『【〔（［｛")


def graphemes(text: str) -> Iterator[str]:
    """Yield the grapheme clusters: a letter with its accents, a flag, a family (after Unicode's UAX #29, simplified)."""
    start = 0
    for place in range(1, len(text)):
        if not _continues(text, start, place):
            yield text[start:place]
            start = place
    if text:
        yield text[start:]


def _continues(text: str, start: int, place: int) -> bool:
    each, before = text[place], text[place - 1]
    if each in "\u200d\ufe0e\ufe0f\u20e3" or unicodedata.category(each) in ("Mn", "Me", "Mc"):
        return True
    if "\U0001f3fb" <= each <= "\U0001f3ff" or "\U000e0020" <= each <= "\U000e007f":
        return ord(before) >= 0x2190  # a skin tone or a flag's tag, on something that can have one
    if before == "\u200d":
        return True
    flags = _FLAGS[0] <= each <= _FLAGS[1] and _FLAGS[0] <= before <= _FLAGS[1]
    return flags and place - start == 1


def escaped(cluster: str) -> str:
    """Return characters as a Python string would escape them."""
    return cluster.encode("unicode_escape").decode()


def spaced(text: str) -> str:
    """Return the text with all white space as plain spaces."""
    return "".join(" " if each.isspace() else each for each in text)


def breakable(text: str) -> Iterator[str]:
    """Yield the pieces between which a line may break; a piece keeps the space after it."""
    piece = ""
    for each in graphemes(text):
        if piece and _may_break(piece[-1], each):
            yield piece
            piece = ""
        piece += each
    yield piece


def _may_break(before: str, after: str) -> bool:
    if after[0] == " " or after[0] in _CLOSING or before in _OPENING:
        return False
    return before in " -/–—" or _is_wide(before) or _is_wide(after[0]) or is_emoji(after)


def _is_wide(each: str) -> bool:
    return unicodedata.east_asian_width(each) in "WF"


def is_emoji(cluster: str) -> bool:
    """Return whether a cluster is an emoji: by itself, or by a selector after it."""
    if "\ufe0e" in cluster:
        return False
    return "\ufe0f" in cluster or "\u20e3" in cluster or cluster[0] in _PICTURED or 0x1F000 <= ord(cluster[0]) < 0x20000


def language_of(text: str) -> str:
    """Return which of the scripts that share Han characters a text is in: ja, ko or zh."""
    if any("\u3040" <= each <= "\u30ff" for each in text):
        return "ja"
    return "ko" if any("\uac00" <= each <= "\ud7a3" or "\u1100" <= each <= "\u11ff" for each in text) else "zh"


def script_of(cluster: str, language: str) -> str:
    """Return which faces to try first for a cluster in a text of that language: ja, ko, zh, or latin for all that is not East Asian."""
    first = cluster[0]
    return language if _is_wide(first) or "\u2e80" <= first <= "\u9fff" or "\uff00" <= first <= "\uffef" else "latin"
