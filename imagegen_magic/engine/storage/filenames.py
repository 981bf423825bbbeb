"""Names of image files, made from a prompt or from the name that the user gave."""

from __future__ import annotations

import re
import unicodedata

from imagegen_magic.paths import encodable

_MAX_WORDS = 4
_MAX_WORDS_BYTES = 80
_MAX_NAME_BYTES = 120
_MAX_ID_BYTES = 16
_PROMPT_CHARACTERS = 2_000  # of a prompt that its name may come from
_RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])", re.IGNORECASE)  # device names on Windows
_COMMON = """
    a about above across after against all also among an ancient and another any are around as at background be beautiful been before
    behind being below beneath beside between beyond big but by can create depict depicting down draw during each for from generate had
    has have he her here his i if illustration image in inside into is it its large like little make me my near new no not of off old on
    onto or our out outside over paint photo photograph picture please render she should show showing small so some style such than that
    the their them then there these they this those through tiny to toward under until up upon us very was we were what when where which
    while who will with within without would you your
"""
_STOP_WORDS = frozenset(_COMMON.split())


def filename_stem(prompt: str, short_id: str, name: str | None = None) -> str:
    """Return the name of an image's file, without index and suffix: `name`, or a few distinctive words of the prompt, and the id.

    It consists of letters, digits, their accents and `-` (and `_` in `name`), which the file system's encoding has; at most 140 bytes
    in UTF-8.
    """
    if name is None:
        words = _shortened(_distinctive_words(prompt), _MAX_WORDS_BYTES)
    else:
        words = _shortened("-".join(_runs(name, also="_")), _MAX_NAME_BYTES)
    identity = _shortened("".join(_runs(short_id)), _MAX_ID_BYTES)
    stem = "-".join(part for part in (words.strip("-_") or "picture", identity) if part)
    return f"picture-{stem}" if _RESERVED.fullmatch(stem) else stem


def row_folder(row: int) -> str:
    """Return the name of the folder for a row of the ledger: that of its 1,000, as `12000-12999`."""
    first = row - row % 1_000
    return f"{first}-{first + 999}"


def _distinctive_words(prompt: str) -> str:
    runs = _runs(prompt.lower())
    distinctive = [run for run in runs if run not in _STOP_WORDS and not (len(run) == 1 and run.isascii() and run.isalpha())]
    return "-".join((distinctive or runs)[:_MAX_WORDS])


def _runs(text: str, also: str = "") -> list[str]:
    """Return the runs of letters, digits and their accents in a text, in Unicode's composed form."""
    characters = [" "]
    for each in encodable(unicodedata.normalize("NFC", text[:_PROMPT_CHARACTERS])).replace("'", "").replace("’", ""):
        fits = _is_letter(each) or each in also or (_is_accent(each) and characters[-1] != " ")
        characters.append(each if fits else " ")
    return [run for run in "".join(characters).split() if any(map(_is_letter, run))]


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LN"


def _is_accent(character: str) -> bool:
    return unicodedata.category(character) in ("Mn", "Mc") and not unicodedata.name(character, "").startswith("VARIATION SELECTOR")


def _shortened(text: str, max_bytes: int) -> str:
    """Return the beginning of a text that fits into so many bytes, not cut within a letter and its accents."""
    raw = text.encode()
    if len(raw) <= max_bytes:
        return text
    short = raw[:max_bytes].decode("utf-8", "ignore")
    while short and _is_accent(text[len(short)]):
        short = short[:-1]
    return short
