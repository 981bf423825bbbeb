"""The table of an export: one row a picture, safe to open in any spreadsheet."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from imagegen_magic.studies.sweeps.result import columns

if TYPE_CHECKING:
    from imagegen_magic.studies.export.archive import Copy

_FORMULA = re.compile(
    r"\s*[=+\-@\t\r\n＝＋－＠]"
)  # what spreadsheets take for the beginning of one, behind blanks and control characters too


def table(copies: Sequence[Copy]) -> str:
    """Return the table as CSV (RFC 4180): axes of the sweep first, then the options that any picture has, then what came of it.

    A text that a spreadsheet would take for a formula begins with an apostrophe (OWASP, "CSV Injection").
    """
    records = [_record(copy) for copy in copies]
    names = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(_safe, names))
    writer.writerows([_safe(record.get(name)) for name in names] for record in records)
    return text.getvalue()


def _record(copy: Copy) -> dict[str, object]:
    facts = _facts(copy)
    return {"file": facts["file"], **columns(copy.place, facts), **facts}


def _facts(copy: Copy) -> dict[str, object]:
    image, cost = copy.image, copy.image.cost
    return {
        "file": copy.file or "(gone)",
        "prompt": copy.prompt,
        "gateway": image.provider,
        "model": image.model,
        **_options(copy.options, [*copy.place, "model"]),
        "width": image.width,
        "height": image.height,
        "format": image.mime_type,
        "bytes": copy.size or None,
        "seconds": None if image.seconds is None else round(image.seconds, 3),
        "cost": cost.amount,
        "currency": cost.unit or None,
        "cost is": cost.kind,
        "play money": "yes" if image.sandbox else "no",
        "made": datetime.fromtimestamp(image.created, UTC).isoformat(timespec="seconds"),
        "differences": "; ".join(image.differences) or None,
        "picture": image.id or None,
        "task": image.task_id,
        "sha256 of the original": copy.sha256 or None,
    }


def _options(options: Mapping[str, object], others: Iterable[str]) -> dict[str, object]:
    taken = set(others)
    return {name.replace("_", " "): _plain(value) for name, value in options.items() if name not in taken}


def _plain(value: object) -> object:
    return value if isinstance(value, str | int | float | None) else json.dumps(value, ensure_ascii=False)


def _safe(value: object) -> str:
    if value is None:
        return ""
    text = str(value).replace("\0", "")
    return f"'{text}" if isinstance(value, str) and _FORMULA.match(text) else text
