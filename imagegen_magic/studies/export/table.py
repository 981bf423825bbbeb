"""The table of an export: one row per image, safe to open in any spreadsheet."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Sequence

from imagegen_magic.humanize import iso_time
from imagegen_magic.studies.export.item import ExportItem, as_json
from imagegen_magic.studies.sweeps.result import columns

_SIGNS = "=+-@\N{MINUS SIGN}"  # how a formula begins, in every width
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters and symbols without a mark
_PLAIN = (str, int, float, type(None))


def table(items: Sequence[ExportItem]) -> str:
    """Return the table as CSV (RFC 4180): the axes of the sweep, then the options, then the results.

    A text that a spreadsheet would take for a formula gets a leading apostrophe (OWASP, "CSV Injection").
    """
    records = []
    for item in items:
        facts = _facts(item)
        records.append({"file": facts["file"], **columns(item.combination, facts), **facts})
    names = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(_safe, names))
    writer.writerows([_safe(record.get(name)) for name in names] for record in records)
    return text.getvalue()


def _facts(item: ExportItem) -> dict[str, object]:
    image, cost = item.image, item.image.cost
    return {
        "file": item.file or "(missing)",
        "prompt": item.prompt,
        "gateway": image.provider,
        "model": image.model,
        **{name: value if isinstance(value, _PLAIN) else as_json(value) for name, value in item.named_options(["model"]).items()},
        "width": image.width,
        "height": image.height,
        "format": image.mime_type,
        "bytes": item.size or None,
        "seconds": None if image.seconds is None else round(image.seconds, 3),
        "cost": cost.amount,
        "currency": cost.unit or None,
        "cost is": cost.kind,
        "play money": "yes" if image.sandbox else "no",
        "made": iso_time(image.created),
        **item.scores,
        "differences": "; ".join(image.differences) or None,
        "picture": image.id or None,
        "task": image.task_id,
        "sha256 of the original": item.sha256 or None,
    }


def _safe(value: object) -> str:
    if value is None:
        return ""
    text = str(value).replace("\0", "")
    return f"'{text}" if isinstance(value, str) and _may_be_formula(text) else text


def _may_be_formula(text: str) -> bool:
    """Return whether a text begins like a formula, after anything that a spreadsheet may skip, or with a tab or a new line."""
    blank = re.match(r"\s*", text)
    first = next((mark for mark in text if not _is_skipped(mark)), "")
    return unicodedata.normalize("NFKC", first)[:1] in tuple(_SIGNS) or bool(blank and re.search(r"[\t\r\n]", blank[0]))


def _is_skipped(mark: str) -> bool:
    """Return whether a character shows nothing: spaces, control and format characters, marks that combine, and unassigned ones."""
    return mark in _BLANKS or mark.isspace() or not mark.isprintable() or unicodedata.category(mark) in ("Mn", "Me")
