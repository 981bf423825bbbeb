"""What came in a picture's place and cannot be read: an answer in words or somebody's file, and which suffix is safe for it."""

from __future__ import annotations

import re

_SIGNS: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"\xff\xd8\xff", ".jpg"),
    (b"GIF8", ".gif"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tiff"),
    (b"MM\0*", ".tiff"),
    (b"\0\0\0\x0cjP  ", ".jp2"),
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
_BRANDS = {b"avif": ".avif", b"avis": ".avif"} | dict.fromkeys((b"heic", b"heix", b"hevc", b"mif1", b"msf1"), ".heic")
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
    """Return a suffix that tells what a file is, and that no desktop runs as a program: `.txt` for words, `.bin` for what nobody knows."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], ".mp4")
    if found := next((suffix for sign, suffix in _SIGNS if head.startswith(sign)), ""):
        return found
    if _SVG.search(head):
        return ".svg"
    if is_answer(head):
        return ".txt"
    told = _OF_A_TYPE.match(content_type.strip().lower())
    return f".{told[1]}" if told else ".bin"
