"""Which options hold, and who said so: built in, the environment, pyproject.toml, the notebook; nearest to the cell wins."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import os
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from imagegen_magic import notebook_folder, readers
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.paths import path_of, text_of
from imagegen_magic.records import Record, hash_of_fields

# name -> (how to read it, built-in value); the request's own options have no built-in value: the plan fills them in
KNOWN: dict[str, tuple[Any, Any]] = {
    "provider": (readers.text, None),
    "model": (readers.text, None),
    "size": (readers.text, None),
    "resolution": (readers.text, None),
    "quality": (readers.text, None),
    "n": (readers.count, None),
    "background": (readers.text, None),
    "moderation": (readers.text, None),
    "output_format": (readers.text, None),
    "output_compression": (readers.compression, None),
    "timeout": (readers.seconds, 600.0),
    "submit_timeout": (readers.seconds, 120.0),
    "save_dir": (readers.folder, "imagegen"),
    "name": (readers.text, None),
    "preview": (readers.preview, 1024),
    "sandbox": (readers.flag, False),
    "poll_seconds": (readers.seconds, None),
    "submits_at_once": (readers.count, 8),
    "home": (readers.folder, None),
    "keep_loop": (readers.flag, False),
    "reuse": (readers.flag, False),
    "ask_above_pictures": (readers.count, 20),
    "ask_above_cost": (readers.amount, Decimal(5)),
    "unknown_price": (readers.amount, None),
    "drift_above": (readers.share, 0.02),
    "uploader": (readers.text, None),
}
_PREFIX = "IMAGEGEN_"
ENGINE_OPTIONS = (
    *("timeout", "submit_timeout", "save_dir", "name", "sandbox", "poll_seconds"),
    *("submits_at_once", "home", "reuse", "unknown_price", "uploader"),
)
"""What every request needs, beside its own options and its gateway."""
REQUEST_OPTIONS = ("model", "size", "resolution", "quality", "n", "background", "moderation", "output_format", "output_compression")


@dataclass(frozen=True, slots=True, repr=False)
class Settings(Record):
    """The options in force, each with its origin; `folder` is where the notebook (or script) is.

    `troubles` says what cannot be read, by the name of its option, and `pyproject.toml` where that is the whole file. It is raised when
    it is asked for, so that one bad setting refuses the requests that need it and nothing else.
    """

    folder: Path
    values: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    look_alikes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    troubles: Mapping[str, UnsupportedOption] = field(default_factory=dict)

    __hash__ = hash_of_fields

    def get(self, name: str) -> Any:
        """Return the value in force; None if none is set. Raises KeyError for an unknown name, UnsupportedOption for a bad value."""
        if name in self.troubles:
            raise copy(self.troubles[name])  # it may be raised again
        return self.values[name][0] if name in self.values else KNOWN[name][1]

    def origin(self, name: str) -> str:
        """Return who said so."""
        return self.values[name][1] if name in self.values else "built in"

    def check(self, *names: str) -> None:
        """Raise UnsupportedOption where one of these options cannot be read, or an option that does not exist, or the project's file."""
        for name, trouble in self.troubles.items():
            if name in names or name not in KNOWN:
                raise copy(trouble)

    @property
    def sound(self) -> Settings:
        """The settings without what cannot be read: in its place stands what was said farther away, or is built in.

        It is for what must go on, as collecting what was paid for. A ledger's folder that cannot be read stays one: another folder would
        be another ledger.
        """
        return dataclasses.replace(self, troubles={name: each for name, each in self.troubles.items() if name == "home"})

    def replace(self, origin: str, **nearer: Any) -> Settings:
        """Lay nearer values over these; None says nothing. Raises UnsupportedOption for what cannot be read."""
        laid = self.overlaid(origin, nearer)
        for name in nearer:
            if name in laid.troubles and laid.troubles[name] is not self.troubles.get(name):
                raise laid.troubles[name]
        return laid

    def overlaid(self, origin: str, nearer: Mapping[str, Any], where: str = "") -> Settings:
        """Lay nearer values over these, and what cannot be read into `troubles`, which name its place (`where`, else the origin)."""
        values, troubles = dict(self.values), dict(self.troubles)
        for name, value in nearer.items():
            if value is not None:
                troubles.pop(name, None)
                try:
                    values[name] = _read(name, value, where or origin), origin
                except UnsupportedOption as error:
                    troubles[name] = error
        return dataclasses.replace(self, values=values, troubles=troubles)

    @property
    def home(self) -> Path:
        """The folder of the ledger: `IMAGEGEN_HOME`, else platformdirs' user data folder."""
        if home := self.get("home"):
            return _expanded(home)
        import platformdirs

        return Path(platformdirs.user_data_dir("imagegen_magic", appauthor=False))

    @property
    def save_dir(self) -> Path:
        """The folder of the originals, beside the notebook unless it is absolute. Raises UnsupportedOption as `beside` does."""
        return self.beside(self.get("save_dir"))

    @property
    def save_dir_within(self) -> Path | None:
        """Where in the notebook's folder the originals go; None where their folder is given whole."""
        said = _expanded(self.get("save_dir"))
        return None if said.is_absolute() else said

    def beside(self, path: str | Path) -> Path:
        """Return a path as the notebook means it. Raises UnsupportedOption where it names the home of an unknown user."""
        return self.folder / _expanded(path)


def _expanded(path: str | Path) -> Path:
    try:
        return path_of(path).expanduser()
    except RuntimeError:
        what = f"{str(path)!r} names the home of a user that this system does not know"
        raise UnsupportedOption(what, option="save_dir", value=path, hint="write the path out") from None


def _read(name: str, value: Any, place: str) -> Any:
    if name not in KNOWN:
        step = difflib.get_close_matches(name, KNOWN, n=1)
        raise UnsupportedOption(
            f"{place} has an option {name!r} that does not exist",
            option=name,
            value=value,
            allowed=sorted(KNOWN),
            fix={step[0]: value} if step else None,
        )
    try:
        return KNOWN[name][0](value)
    except ValueError as error:
        what = f"{name} = {_shown(value)} in {place} cannot be used"
        raise UnsupportedOption(what, option=name, value=value, hint=f"the setting {name} takes {error}") from None


def _shown(value: Any) -> str:
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an int of more digits than Python writes
        text = f"a number of {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:59]}…"


def load(start: Path | str | None = None) -> Settings:
    """Read the environment and the nearest pyproject.toml upward from `start` (default: the working folder).

    What cannot be read is among the `troubles` of the settings, and is raised by what needs it.
    """
    folder = Path(start) if start is not None else notebook_folder.working()
    settings = Settings(folder)
    for name in KNOWN:
        variable = f"{_PREFIX}{name.upper()}"
        if os.environ.get(variable):
            settings = settings.overlaid(f"environment {variable}", {name: os.environ[variable]})
    try:
        table, file = _project_table(folder)
    except UnsupportedOption as error:
        return dataclasses.replace(settings, troubles={**settings.troubles, "pyproject.toml": error})
    look_alikes = table.pop("providers", {})
    said = {name.replace("-", "_"): value for name, value in table.items()}
    return dataclasses.replace(settings.overlaid("pyproject.toml", said, where=file), look_alikes=look_alikes)


def unknown_variables() -> dict[str, str]:
    """Return the environment's `IMAGEGEN_…` variables that set nothing, each with the nearest one that does (empty: none is near)."""
    known = {f"{_PREFIX}{name.upper()}" for name in KNOWN}
    strange = sorted(name for name, value in os.environ.items() if name.upper().startswith(_PREFIX) and value and name not in known)
    near = ((name, difflib.get_close_matches(name.upper().removeprefix(_PREFIX).lower(), KNOWN, n=1)) for name in strange)
    return {name: f"{_PREFIX}{found[0].upper()}" if found else "" for name, found in near}


def _project_table(folder: Path) -> tuple[dict[str, Any], str]:
    for place in (folder, *folder.resolve().parents):
        file = place / "pyproject.toml"
        try:
            found = file.stat()
        except OSError:
            continue
        return dict(_parse(file, found.st_mtime_ns, found.st_size)), text_of(file)
    return {}, ""


@functools.lru_cache(maxsize=16)
def _parse(file: Path, changed: int, size: int) -> dict[str, Any]:
    """Return the project's table; read again when the file has changed, as parsing takes milliseconds."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from None
    if b"imagegen" not in content:
        return {}
    import tomllib

    try:
        table: Any = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unreadable(file, str(error)) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(file, f"line {line} is not in UTF-8") from None
    return _within(_within(table, "tool", file), "imagegen", file, "providers")


def _within(table: dict[str, Any], name: str, file: Path, *inner: str) -> dict[str, Any]:
    """Return a table within a table, empty where it is not there; raises UnsupportedOption where it, or one `inner`, is something else."""
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise _unreadable(file, f"{name} is no table")
    for each in inner:
        _within(found, each, file)
    return dict(found)


def _unreadable(file: Path, why: str) -> UnsupportedOption:
    return UnsupportedOption(f"{file} cannot be read: {why}", option="pyproject.toml", value="", hint="correct the file, or rename it")
