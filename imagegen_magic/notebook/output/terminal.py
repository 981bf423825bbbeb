"""A terminal whose encoding is not UTF-8, as under `LC_ALL=C`: what it cannot show is escaped, so that no cell fails over a letter."""

from __future__ import annotations

import codecs
import sys

_HANDLER = "imagegen_magic.escape"


def tolerate() -> None:
    """Let standard output escape what its encoding does not have, where it would raise; bytes of file names go out as they are."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is None or sys.stdout.errors not in ("strict", "surrogateescape"):  # a kernel's own stream takes everything
        return
    if codecs.lookup(sys.stdout.encoding).name != "utf-8":
        codecs.register_error(_HANDLER, _escaped)
        reconfigure(errors=_HANDLER)


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.lookup_error("backslashreplace")(error)
