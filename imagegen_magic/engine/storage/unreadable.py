"""Files that came in place of an image and cannot be read: whether they are a message, and which suffix is safe for them."""

from __future__ import annotations

import re

from imagegen_magic.formats import format_of

_SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\x4f\xff\x51", ".j2k"),
    (b"\xff\x0a", ".jxl"),
    (b"\0\0\0\x0cJXL ", ".jxl"),
    (b"8BPS", ".psd"),
    (b"v/1\x01", ".exr"),
    (b"\0\0\1\0", ".ico"),
    (b"%PDF", ".pdf"),
    (b"PK\x03\x04", ".zip"),
    (b"\x1f\x8b", ".gz"),
    (b"\x1a\x45\xdf\xa3", ".webm"),
)
_OF_A_TYPE = re.compile(r"(?:image|video|audio)/(?:x-)?([a-z0-9]{1,8})")
_SVG = re.compile(rb"<svg[\s>]", re.IGNORECASE)


def is_answer(head: bytes) -> bool:
    """Say whether a file's beginning is words, as of a page or of JSON, or nothing at all: a drawing in SVG is a picture."""
    if not head.strip():
        return True
    text = head.decode("utf-8", "ignore" if len(head) < 16 else "replace")
    plain = text.rstrip("\ufffd")  # a letter that the beginning cuts in two
    readable = "\ufffd" not in plain and not any(ord(each) < 32 and each not in "\t\n\r\f\x1b" for each in plain)
    return readable and not _SVG.search(head)


def suffix_of(head: bytes, content_type: str) -> str:
    """Return a suffix that names a file's format and that no desktop runs as a program: `.txt` for text, `.bin` if it is unknown."""
    if found := next((suffix for sign, suffix in _SIGNS if head.startswith(sign)), ""):
        return found
    if image_format := format_of(head):
        return image_format.suffix
    if head[4:8] == b"ftyp":
        return ".mp4"
    if _SVG.search(head):
        return ".svg"
    if is_answer(head):
        return ".txt"
    subtype = _OF_A_TYPE.match(content_type.strip().lower())
    return f".{subtype[1]}" if subtype else ".bin"
