"""One image of an export: its copy, and what the page and the table show of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from imagegen_magic.records import Record, hash_of_fields
from imagegen_magic.result import GeneratedImage

MISSING_FILE = "file is missing"


@dataclass(frozen=True, slots=True, repr=False)
class ExportItem(Record):
    """One image of an export; texts are redacted: they hold no key and no path.

    `file` is the path of its copy within the export, with slashes; empty if the original is missing. `combination` is the value of each
    axis of a sweep. `sha256` is of the original, `size` the bytes of the copy, `thumbnail` a data URL. `has_metadata` is True if the
    copy or a sidecar records how the image was made. `scores` are columns of the table: values, and with full metadata reasons.
    """

    image: GeneratedImage
    file: str
    prompt: str
    options: Mapping[str, object] = field(default_factory=dict)
    combination: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    size: int = 0
    thumbnail: str = ""
    has_metadata: bool = False
    scores: Mapping[str, object] = field(default_factory=dict)

    __hash__ = hash_of_fields

    def named_options(self, without: Iterable[str]) -> dict[str, object]:
        """Return the options by their display names, except those in `without` and the axes of the sweep."""
        excluded = {*without, *self.combination}
        return {name.replace("_", " "): value for name, value in self.options.items() if name not in excluded}


def as_json(value: object) -> str:
    """Return a value as JSON, with its characters as they are."""
    return json.dumps(value, ensure_ascii=False)
