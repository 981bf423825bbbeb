"""Terminals whose encoding is not UTF-8, as with `LC_ALL=C`: characters that they cannot show are escaped, so that no cell fails."""

from __future__ import annotations

import codecs
import sys

_HANDLER = "imagegen_magic.escape"


def tolerate() -> None:
    """Make standard output escape the characters that it cannot encode; bytes of file names are written unchanged."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is None or sys.stdout.errors not in ("strict", "surrogateescape"):  # a kernel's own stream accepts everything
        return
    if codecs.lookup(sys.stdout.encoding).name != "utf-8":
        codecs.register_error(_HANDLER, _escaped)
        reconfigure(errors=_HANDLER)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
