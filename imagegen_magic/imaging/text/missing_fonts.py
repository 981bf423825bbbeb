"""Which scripts no font of this system draws, and the one line that says how to get one: for a whole text, never for each character."""

from __future__ import annotations

import shutil
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Mapping

from imagegen_magic.humanize import alternatives
from imagegen_magic.imaging.text.fonts import missing_glyphs
from imagegen_magic.imaging.text.graphemes import is_emoji, language_of, script_of

_LANGUAGES = {"zh": "Chinese", "ja": "Japanese", "ko": "Korean"}
_GROUPS = {"Chinese": "cjk", "Japanese": "cjk", "Korean": "cjk", "emoji": "emoji"}  # all others: "others"
_PACKAGES: Mapping[str, tuple[str, Mapping[str, str]]] = {  # the tool that a system installs with, and its packages of Noto fonts
    "apt-get": ("apt-get install", {"cjk": "fonts-noto-cjk", "emoji": "fonts-noto-color-emoji", "others": "fonts-noto-core"}),
    "dnf": ("dnf install", {"cjk": "google-noto-sans-cjk-fonts", "emoji": "google-noto-color-emoji-fonts"}),
    "pacman": ("pacman -S", {"cjk": "noto-fonts-cjk", "emoji": "noto-fonts-emoji", "others": "noto-fonts"}),
    "apk": ("apk add", {"cjk": "font-noto-cjk", "emoji": "font-noto-emoji", "others": "font-noto-all"}),
}
_NOTO = "a Noto font of that script (fonts.google.com/noto)"
ACCENTED = "accented Latin"  # the plain letters are in the font that Pillow brings
_SAMPLES = {ACCENTED: "é", "Chinese": "中", "Japanese": "の", "Korean": "한", "emoji": "🦊"}
USUAL = tuple(_SAMPLES)
"""The scripts that most prompts are in."""


class MissingFontWarning(UserWarning):
    """A sheet was drawn with escapes, because no font of this system draws a script of its texts."""


def scripts(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the scripts of which the texts hold characters that no font draws, each once: Chinese, emoji, Arabic, symbols."""
    found: dict[str, None] = {}
    for text in texts:
        language = language_of(text)
        found.update(dict.fromkeys(name for each in missing_glyphs(text) if (name := _script(each, language))))
    return tuple(found)


def _script(cluster: str, language: str) -> str:
    """Return what a character's script is called; empty if no font could have it: a control character, half a surrogate pair."""
    category = unicodedata.category(cluster[0])
    if category[0] == "C":
        return ""
    if is_emoji(cluster):
        return "emoji"
    if (script := script_of(cluster, language)) != "latin":
        return _LANGUAGES[script]
    name = unicodedata.name(cluster[0], "symbols").split()[0].capitalize() if category[0] == "L" else "symbols"
    return ACCENTED if name == "Latin" else name


def unsupported() -> tuple[str, ...]:
    """Return which of `USUAL` no font of this system draws."""
    return tuple(name for name, sample in _SAMPLES.items() if missing_glyphs(sample))


def words(names: tuple[str, ...]) -> str:
    """Return the line about scripts that no font draws: what is drawn instead and how to get a font; empty if there are none."""
    if not names:
        return ""
    return f"No font on this machine draws {alternatives(names)}: escapes such as \\u4e2d stand for the characters. {remedy(names)}"


def remedy(names: tuple[str, ...]) -> str:
    """Return how to get fonts for these scripts on this platform."""
    return f"{_install(names)}, then restart the kernel."


def _install(names: tuple[str, ...]) -> str:
    if sys.platform == "darwin":
        return f"Put {_NOTO} into ~/Library/Fonts"
    if sys.platform == "win32":
        return f"Install {_NOTO}, or the supplemental fonts under Settings, System, Optional features"
    groups = dict.fromkeys(_GROUPS.get(name, "others") for name in names)
    for tool, (command, packages) in _PACKAGES.items():
        if shutil.which(tool) and groups.keys() <= packages.keys():
            return f"Run `{command} {' '.join(packages[group] for group in groups)}` as root, or put {_NOTO} into ~/.local/share/fonts"
    return f"Put {_NOTO} into ~/.local/share/fonts"


def note(names: tuple[str, ...]) -> str:
    """Return the note on a sheet, in characters that every machine draws; empty if nothing is missing."""
    return f"Escapes such as \\u4e2d: no font here draws {alternatives(names)}." if names else ""


def warn(names: tuple[str, ...]) -> None:
    """Emit a MissingFontWarning for the caller's caller if a font is missing for one of these scripts."""
    if names:
        warnings.warn(words(names), MissingFontWarning, stacklevel=3)
