"""Which options hold, and who said so: built in, the environment, pyproject.toml, the notebook; nearest to the cell wins."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from imagegen_magic.engine import whereabouts
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.paths import path_of
from imagegen_magic.records import Record, hash_of_fields

_TRUE, _FALSE = {"1", "true", "yes", "on"}, {"0", "false", "no", "off", ""}


def _flag(text: Any) -> bool:
    word = str(text).strip().lower()
    if word not in _TRUE | _FALSE:
        raise ValueError("give 1 or 0")
    return word in _TRUE


def _positive(text: Any) -> float:
    number = float(text)
    if not number > 0:
        raise ValueError("give a number above 0")
    return number


def _count(text: Any) -> int:
    return int(_positive(text))


def _share(text: Any) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError("give a number from 0 to 1")
    return number


def _amount(text: Any) -> Decimal:
    try:
        amount = Decimal(str(text))
    except InvalidOperation:
        raise ValueError("give an amount like 5 or 0.20") from None
    if not amount.is_finite() or amount < 0:
        raise ValueError("give an amount, 0 or more")
    return amount


# name -> (how to read it, built-in value); the request's own options have no built-in value: the plan fills them in
KNOWN: dict[str, tuple[Any, Any]] = {
    "provider": (str, None),
    "model": (str, None),
    "size": (str, None),
    "resolution": (str, None),
    "quality": (str, None),
    "n": (int, None),
    "background": (str, None),
    "moderation": (str, None),
    "output_format": (str, None),
    "output_compression": (int, None),
    "timeout": (_positive, 600.0),
    "submit_timeout": (_positive, 120.0),
    "save_dir": (str, "imagegen"),
    "name": (str, None),
    "preview": (_count, 1024),
    "sandbox": (_flag, False),
    "poll_seconds": (_positive, None),
    "submits_at_once": (_count, 8),
    "home": (str, None),
    "keep_loop": (_flag, False),
    "reuse": (_flag, False),
    "ask_above_pictures": (_count, 20),
    "ask_above_cost": (_amount, Decimal(5)),
    "unknown_price": (_amount, None),
    "drift_above": (_share, 0.02),
    "uploader": (str, None),
}
REQUEST_OPTIONS = ("model", "size", "resolution", "quality", "n", "background", "moderation", "output_format", "output_compression")


@dataclass(frozen=True, slots=True, repr=False)
class Settings(Record):
    """The options in force, each with its origin; `folder` is where the notebook (or script) is."""

    folder: Path
    values: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    look_alikes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    __hash__ = hash_of_fields

    def get(self, name: str) -> Any:
        """Return the value in force; None where nobody said one. Raises KeyError for an unknown name."""
        return self.values[name][0] if name in self.values else KNOWN[name][1]

    def origin(self, name: str) -> str:
        """Return who said so."""
        return self.values[name][1] if name in self.values else "built in"

    def replace(self, origin: str, **nearer: Any) -> Settings:
        """Lay nearer values over these; None says nothing. Raises UnsupportedOption for what cannot be read."""
        said = {name: _read(name, value, origin) for name, value in nearer.items() if value is not None}
        return Settings(self.folder, {**self.values, **said}, self.look_alikes)

    @property
    def home(self) -> Path:
        """The folder of the ledger: `IMAGEGEN_HOME`, else platformdirs' user data folder."""
        if told := self.get("home"):
            return _expanded(told)
        import platformdirs

        return Path(platformdirs.user_data_dir("imagegen_magic", appauthor=False))

    @property
    def save_dir(self) -> Path:
        """The folder of the originals, beside the notebook unless it is absolute. Raises UnsupportedOption as `beside` does."""
        return self.beside(self.get("save_dir"))

    def beside(self, path: str | Path) -> Path:
        """Return a path as the notebook means it. Raises UnsupportedOption where it names the home of an unknown user."""
        return self.folder / _expanded(path)


def _expanded(path: str | Path) -> Path:
    try:
        return path_of(path).expanduser()
    except RuntimeError:
        what = f"{str(path)!r} names the home of a user that this system does not know"
        raise UnsupportedOption(what, option="save_dir", value=path, next_step="write the path out") from None


def _read(name: str, value: Any, origin: str) -> tuple[Any, str]:
    if name not in KNOWN:
        raise UnsupportedOption(f"{origin} has an option {name!r} that does not exist", option=name, value=value, allowed=sorted(KNOWN))
    try:
        return KNOWN[name][0](value), origin
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedOption(f"{name} = {value!r} in {origin} cannot be read ({error})", option=name, value=value) from None


def load(start: Path | str | None = None) -> Settings:
    """Read the environment and the nearest pyproject.toml upward from `start` (default: the working folder)."""
    folder = Path(start) if start is not None else whereabouts.working()
    settings = Settings(folder)
    for name in KNOWN:
        variable = f"IMAGEGEN_{name.upper()}"
        if os.environ.get(variable):
            settings = settings.replace(f"environment {variable}", **{name: os.environ[variable]})
    table, origin = _project_table(folder)
    look_alikes = table.pop("providers", {})
    settings = settings.replace(origin, **{name.replace("-", "_"): value for name, value in table.items()})
    return Settings(settings.folder, settings.values, look_alikes)


def _project_table(folder: Path) -> tuple[dict[str, Any], str]:
    for place in (folder, *folder.resolve().parents):
        file = place / "pyproject.toml"
        try:
            found = file.stat()
        except OSError:
            continue
        return dict(_parse(file, found.st_mtime_ns, found.st_size)), file.name
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
    return UnsupportedOption(f"{file} cannot be read: {why}", option="pyproject.toml", value="", next_step="mend the file, or rename it")
