"""The scorer `text_is`: how much of the text that a picture should have is in it."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from imagegen_magic._version import install_extra
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.result import GeneratedImage
from imagegen_magic.studies.scores.scorer import Scorer, make

_VERSION = "1"
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_MAX_LABEL = 40  # characters of the text in the scorer's name
_MAX_PIECES = 6  # of a picture's text whose order is free: 64 sets of them


def text_is(text: str) -> Scorer:
    """Return a scorer of the text in a picture: the share of characters that are right, 0 to 1, and `exact`, 0 or 1.

    `{{word}}` in `text` is the value of the axis `word`. Blanks, case and the forms of a character (Unicode's NFKC) make no difference,
    and lines may stand in any order. All text of the picture counts. A picture that should have no text gets no value. Raises
    UnsupportedOption without the extra `scores`.
    """
    from imagegen_magic.imaging.text import reading

    if not reading.is_available():
        what = "text_is needs the optional package rapidocr"
        raise UnsupportedOption(what, option="text_is", value=text, hint=f"install it: {install_extra('scores')}")

    def measure(image: GeneratedImage) -> dict[str, float] | None:
        return _measured(image, text)

    def measure_combination(image: GeneratedImage, combination: Mapping[str, str]) -> dict[str, float] | None:
        return _measured(image, _filled(text, combination))

    function = measure_combination if _PLACEHOLDER.search(text) else measure
    facts = {"better": "higher", "range": (0, 1), "packages": ("rapidocr",)}
    return make(function, name=f"text_is {_label(text)}".strip(), version=_version(text), **facts)


def _label(text: str) -> str:
    """Return a text on one line for the name of its scorer."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split()).strip(" -,")
    return line if len(line) <= _MAX_LABEL else f"{line[: _MAX_LABEL - 1].rstrip()}…"


def _version(text: str) -> str:
    """Return the version of the scorer of a text, which also distinguishes texts of the same label."""
    if _normal(_label(text)) == _normal(text):
        return _VERSION
    return f"{_VERSION} {hashlib.sha256(_normal(text).encode(errors='surrogatepass')).hexdigest()[:6]}"


def _filled(text: str, combination: Mapping[str, str]) -> str:
    """Return the text with the values of axes. Raises ValueError for an axis that the picture's sweep does not have."""

    def value(found: re.Match[str]) -> str:
        if found[1] not in combination:
            axes = ", ".join(combination) or "none: it is of no sweep"
            raise ValueError(f"the picture has no axis {found[1]}; its axes: {axes}")
        return combination[found[1]]

    return _PLACEHOLDER.sub(value, text)


def _measured(image: GeneratedImage, text: str) -> dict[str, float] | None:
    """Return the share and whether it is exact, of the scale that is read best; None if no text is expected."""
    from imagegen_magic.imaging.text import reading

    if not (expected := _normal(text)):
        return None
    best = 0.0
    for pieces in reading.texts_of(image.open()):
        best = max(best, share(expected, pieces))
        if best == 1:
            break
    return {"": best, "exact": float(best == 1)}


def share(expected: str, pieces: Iterable[str]) -> float:
    """Return the share of characters that are right, 0 to 1, of pieces of text in the best order: 1 - Levenshtein / the longer length.

    `expected` is normalized, as by `_normal`.
    """
    read = [piece for piece in map(_normal, pieces) if piece]
    return 1 - _distance(expected, read) / max(len(expected), sum(map(len, read)))


def _normal(text: str) -> str:
    """Return a text in NFKC, without blanks and case."""
    return "".join(unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).split())


def _distance(expected: str, pieces: Sequence[str]) -> int:
    """Return the Levenshtein distance of pieces in their best order.

    Each set of pieces has the row of the distance's table after them, whichever of them is the last; of many pieces, the order stays.
    """
    if len(pieces) > _MAX_PIECES:
        pieces = ["".join(pieces)]
    rows = {0: list(range(len(expected) + 1))}
    for chosen in range(1, 1 << len(pieces)):
        ends = (_after(rows[chosen ^ 1 << last], pieces[last], expected) for last in range(len(pieces)) if chosen >> last & 1)
        rows[chosen] = list(map(min, *ends, [len(expected) + sum(map(len, pieces))] * (len(expected) + 1)))
    return rows[(1 << len(pieces)) - 1][-1]


def _after(row: Sequence[int], piece: str, expected: str) -> list[int]:
    """Return the row of the distance's table after a piece."""
    for letter in piece:
        above, row = row, [row[0] + 1]
        for position, wanted in enumerate(expected):
            row.append(min(above[position] + (letter != wanted), above[position + 1] + 1, row[-1] + 1))
    return list(row)
