"""The values of the settings and their origins: built in, the user's own file, environment, pyproject.toml, notebook; the nearest wins."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import os
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagegen_magic import notebook_folder
from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.engine.storage.disk_errors import as_save_error
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.options import SETTINGS, settings_for
from imagegen_magic.paths import Location, StorePath, located, path_of, text_of
from imagegen_magic.readers import without_credentials
from imagegen_magic.records import Record, hash_of_fields

REQUEST_OPTIONS = settings_for("request")
"""The settings with the names of fields of ImageRequest."""
ENGINE_OPTIONS = settings_for("engine")
"""The settings that every job needs, beside its request's own options and its gateway."""
NOTEBOOK_OPTIONS = settings_for("notebook")
"""The settings that only a cell needs."""

_PREFIX = "IMAGEGEN_"
_PROJECT_FILE = "pyproject.toml"
_OWN_FILE = "settings.toml"


@renamed_fields(look_alikes="provider_tables", troubles="errors")
@dataclass(frozen=True, slots=True, repr=False)
class Settings(Record):
    """The settings in force, each with its origin; `folder` is that of the notebook or script.

    `provider_tables` are the gateways of `[tool.imagegen.providers]`. `errors` has the error of each setting that cannot be read, by its
    name, or by `pyproject.toml` if the whole file cannot be read. An error is raised when its setting is used, so that one bad setting
    refuses only the requests that need it.
    """

    folder: Path
    values: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    provider_tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: Mapping[str, UnsupportedOption] = field(default_factory=dict)

    __hash__ = hash_of_fields

    def get(self, name: str) -> Any:
        """Return the value in force; None if none is set. Raises KeyError for an unknown name, UnsupportedOption for a bad value."""
        if name in self.errors:
            raise copy(self.errors[name])  # it may be raised again
        return self.values[name][0] if name in self.values else SETTINGS[name].default

    def origin(self, name: str) -> str:
        """Return where the value in force was set."""
        return self.values[name][1] if name in self.values else "built in"

    def check(self, *names: str) -> None:
        """Raise UnsupportedOption if one of these settings or the project's file cannot be read, or if a setting does not exist."""
        for name, error in self.errors.items():
            if name in names or name not in SETTINGS:
                raise copy(error)

    @property
    def without_errors(self) -> Settings:
        """The settings with the next farther value in place of each that cannot be read: for collecting what was paid for.

        An error of `home` stays, because another folder would be another ledger.
        """
        return dataclasses.replace(self, errors={name: error for name, error in self.errors.items() if name == "home"})

    def replace(self, origin: str, **values: Any) -> Settings:
        """Return the settings with nearer values; None sets nothing. Raises UnsupportedOption for a value that cannot be read."""
        changed = self.overlay(origin, values)
        for name in values:
            if name in changed.errors and changed.errors[name] is not self.errors.get(name):
                raise changed.errors[name]
        return changed

    def overlay(self, origin: str, changes: Mapping[str, Any], file: str = "") -> Settings:
        """Return the settings with nearer values, or their `errors`, which name the `file` (default: the origin); None sets nothing."""
        values, errors = dict(self.values), dict(self.errors)
        for name, value in changes.items():
            if value is not None:
                errors.pop(name, None)
                try:
                    values[name] = _read(name, value, file or origin), origin
                except UnsupportedOption as error:
                    errors[name] = error
        return dataclasses.replace(self, values=values, errors=errors)

    @property
    def home(self) -> Path:
        """The folder of the ledger: `IMAGEGEN_HOME`, else platformdirs' user data folder."""
        if home := self.get("home"):
            return _expanded(home)
        import platformdirs

        return Path(platformdirs.user_data_dir("imagegen_magic", appauthor=False))

    @property
    def save_dir(self) -> Location:
        """The folder of the originals, beside the notebook unless it is absolute or in a store. Raises UnsupportedOption as `beside`."""
        folder = located(self.get("save_dir"))
        return folder if isinstance(folder, StorePath) else self.beside(folder)

    @property
    def save_dir_within(self) -> Path | None:
        """The folder of the originals relative to the notebook's; None if it is absolute or in a store."""
        folder = located(self.get("save_dir"))
        if isinstance(folder, StorePath) or (folder := _expanded(folder)).is_absolute():
            return None
        return folder

    def beside(self, path: str | Path) -> Path:
        """Return a path relative to the notebook's folder. Raises UnsupportedOption if it names the home of an unknown user."""
        return self.folder / _expanded(path)


def _expanded(path: str | Path) -> Path:
    try:
        return path_of(path).expanduser()
    except RuntimeError:
        what = f"{str(path)!r} names the home of a user that this system does not know"
        raise UnsupportedOption(what, option="save_dir", value=path, hint="write the path out") from None


def _read(name: str, value: Any, place: str) -> Any:
    if name not in SETTINGS:
        near = difflib.get_close_matches(name, SETTINGS, n=1)
        what, fix = f"{place} has an option {name!r} that does not exist", {near[0]: value} if near else None
        raise UnsupportedOption(what, option=name, value=value, allowed=sorted(SETTINGS), fix=fix)
    try:
        return SETTINGS[name].read(value)
    except ValueError as error:
        value = without_credentials(value)
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

    What cannot be read is among the `errors` of the settings.
    """
    settings = Settings(Path(start) if start is not None else notebook_folder.working())
    for option in SETTINGS.values():
        if value := os.environ.get(option.variable):
            settings = settings.overlay(f"environment {option.variable}", {option.name: value})
    try:
        table, file = _project_table(settings.folder)
    except UnsupportedOption as error:
        return dataclasses.replace(settings, errors={**settings.errors, _PROJECT_FILE: error})
    provider_tables = table.pop("providers", {})
    settings = settings.overlay(_PROJECT_FILE, {name.replace("-", "_"): value for name, value in table.items()}, file)
    return _with_own(dataclasses.replace(settings, provider_tables=provider_tables))


def own_file(settings: Settings) -> Path:
    """Return the file of the user's own settings, which hold in every notebook unless something nearer is set."""
    return settings.home / _OWN_FILE


def _with_own(settings: Settings) -> Settings:
    try:
        own = _own_table(settings)
    except UnsupportedOption as error:
        return dataclasses.replace(settings, errors={_OWN_FILE: error, **settings.errors})
    missing = {name: value for name, value in own.items() if name not in settings.values and name not in settings.errors}
    return settings.overlay("your settings", missing, text_of(own_file(settings))) if missing else settings


def _own_table(settings: Settings) -> dict[str, Any]:
    try:
        file = own_file(settings)
        found = file.stat()
    except (OSError, UnsupportedOption):  # an error of the home is reported where the home is used
        return {}
    return dict(_parsed(file, found.st_mtime_ns, found.st_size))


def save_own(settings: Settings, name: str, value: str | None) -> None:
    """Write one of the user's own settings, or remove it. Raises UnsupportedOption for a bad one, SaveError if the disk refuses."""
    own = _own_table(settings)
    if value is None:
        own.pop(name, None)
    else:
        _read(name, value, "this line")
        own[name] = value
    text = "".join(f"{each} = {json.dumps(str(kept))}\n" for each, kept in own.items())
    with as_save_error(own_file(settings)):
        settings.home.mkdir(parents=True, exist_ok=True)
        own_file(settings).write_text(text, encoding="utf-8")
    _parsed.cache_clear()


def unknown_variables() -> dict[str, str]:
    """Return the environment's `IMAGEGEN_…` variables that set nothing, each with the most similar one that does ("" if none is)."""
    known = {option.variable for option in SETTINGS.values()}
    unknown = sorted(name for name, value in os.environ.items() if value and name.upper().startswith(_PREFIX) and name not in known)
    near = ((name, difflib.get_close_matches(name[len(_PREFIX) :].lower(), SETTINGS, n=1)) for name in unknown)
    return {name: SETTINGS[found[0]].variable if found else "" for name, found in near}


def _project_table(folder: Path) -> tuple[dict[str, Any], str]:
    for parent in (folder, *folder.resolve().parents):
        file = parent / _PROJECT_FILE
        try:
            found = file.stat()
        except OSError:
            continue
        return dict(_parse(file, found.st_mtime_ns, found.st_size)), text_of(file)
    return {}, ""


@functools.lru_cache(maxsize=16)
def _parse(file: Path, changed: int, size: int) -> dict[str, Any]:
    """Return the project's table; read again if the file has changed, because parsing takes milliseconds."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error)) from None
    if b"imagegen" not in content:
        return {}
    table = _decoded(file, content)
    found = _within(_within(table, "tool", file), "imagegen", file)
    _within(found, "providers", file)
    return found


@functools.lru_cache(maxsize=4)
def _parsed(file: Path, changed: int, size: int) -> dict[str, Any]:
    return _decoded(file, file.read_bytes())


def _decoded(file: Path, content: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _unreadable(file, str(error)) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _unreadable(file, f"line {line} is not in UTF-8") from None


def _within(table: dict[str, Any], name: str, file: Path) -> dict[str, Any]:
    """Return a table within a table, empty if there is none. Raises UnsupportedOption if it is something else."""
    found = table.get(name, {})
    if not isinstance(found, dict):
        raise _unreadable(file, f"{name} is no table")
    return dict(found)


def _unreadable(file: Path, why: str) -> UnsupportedOption:
    return UnsupportedOption(f"{file} cannot be read: {why}", option=_PROJECT_FILE, value="", hint="correct the file, or rename it")
