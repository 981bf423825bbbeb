"""Keys of gateways: from this session's memory, the environment, the system keyring or a hosted notebook's secrets; shown nowhere."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from imagegen_magic._version import install_extra
from imagegen_magic.engine import hosted_secrets
from imagegen_magic.engine.settings import Settings, load
from imagegen_magic.errors import ImageGenError, MissingKey, UnsupportedOption
from imagegen_magic.providers.base import Provider

if TYPE_CHECKING:
    from imagegen_magic.request import ImageRequest

MIN_LENGTH = 8  # characters; what is shorter may be a word of any text

_ENDINGS = ("_API_KEY", "_API_TOKEN", "FAL_KEY")  # of the variables that hold keys
_SERVICE = "imagegen_magic"
_RETRY_AFTER = 10.0  # seconds until a keyring that could not be opened is read again: each attempt may open a dialogue
_remembered: dict[str, Key] = {}
_answers: dict[tuple[str, str, int], _Answer] = {}  # of the keyring, by home, gateway, and when a key was last saved


class Key:
    """A key that only `reveal()` returns; no repr, pickle or string shows it."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret.strip()

    def reveal(self) -> str:
        """Return the key itself; for the Authorization header only."""
        return self._secret

    def redact(self, text: str) -> str:
        """Return the text with each occurrence of the key replaced."""
        return text.replace(self._secret, "[key]") if len(self._secret) >= MIN_LENGTH else text

    def is_well_formed(self) -> bool:
        """Return whether it can be a key: an HTTP header takes printable ASCII only."""
        return bool(self._secret) and self._secret.isascii() and self._secret.isprintable() and " " not in self._secret

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._secret == other._secret

    def __hash__(self) -> int:
        return hash(self._secret)

    def __repr__(self) -> str:
        return "<Key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be stored")


class KeyRule(NamedTuple):
    """Name and value of the header that carries a key, and the hosts beside the base URL's that it may go to."""

    header: tuple[str, str] = ("Authorization", "Bearer {}")
    hosts: tuple[str, ...] = ()


class _Answer(NamedTuple):
    """The keyring's answer at a time (`time.monotonic()`): a key, or the reason why it could not be opened, or neither."""

    key: Key | None
    refusal: str
    at: float


# No variable here holds the text of a key while something may be raised: some tracebacks show variables.


def remember(name: str, secret: str | Key) -> None:
    """Keep a key in memory for the rest of this session; raises MissingKey if it cannot be a key."""
    key = secret if isinstance(secret, Key) else Key(secret)
    del secret
    _remembered[name] = _checked(key, f"the input for {name}")


def _checked(key: Key, origin: str) -> Key:
    """Return a key; raises MissingKey for what cannot be one, without showing it."""
    if not key.is_well_formed():
        raise MissingKey(
            f"The key in {origin} has a character that no key has (a line break, a blank, a quote from a text editor?)",
            hint="copy the complete key again, and nothing else",
        )
    return key


def save(name: str, secret: str | Key, home: Path) -> None:
    """Put a key into the system keyring; raises ImageGenError if there is none."""
    key = secret if isinstance(secret, Key) else Key(secret)
    del secret
    keyring = _keyring()
    if keyring is None:
        raise _not_saved("There is no system keyring to save a key in", install_extra("keyring"))
    if refusal := _put(keyring, name, key):
        raise _not_saved(f"The system keyring took no key: {refusal}", "unlock or install one")
    home.mkdir(parents=True, exist_ok=True)
    names = {*_saved_names(home), name}
    _names_file(home).write_text("\n".join(sorted(names)) + "\n", encoding="utf-8")
    _answers.clear()


def _put(keyring: ModuleType, name: str, key: Key) -> str:
    """Return the reason why the keyring refused a key; empty if it took it."""
    try:
        keyring.set_password(_SERVICE, name, key.reveal())
    except Exception as error:  # a system's keyring may raise anything
        return type(error).__name__
    return ""


def _not_saved(what: str, step: str) -> ImageGenError:
    step += ", or set the key in the environment; for this session it is remembered"
    return ImageGenError(what, blame="you", charge="no", hint=step)


def find(provider: Provider, home: Path | None = None) -> Key | None:
    """Return the gateway's key, or None if none is set.

    Raises MissingKey if it cannot be a key, or is in a keyring that cannot be opened.
    """
    if provider.name in _remembered:
        return _remembered[provider.name]
    for variable in (provider.key_variable, *provider.other_key_variables):
        if variable and (key := _in_environment(variable)) is not None:
            return _checked(key, variable)
    if home is None or provider.name not in _saved_names(home):
        return None
    answer = _of_keyring(provider.name, home, again=True)
    if answer.refusal:
        raise MissingKey(
            f"The key of {provider.title} is in the system keyring, which could not be opened ({answer.refusal})",
            hint=f"unlock the keyring, or set {provider.key_variable} in the environment, or %imagegen login {provider.name}",
        )
    return _checked(answer.key, "the system keyring") if answer.key else None


def require(provider: Provider, home: Path | None = None) -> Key:
    """Return the gateway's key; raises MissingKey, which names the ways to set one."""
    key = find(provider, home)
    if key is None and not provider.needs_key:
        return Key("")
    if key is None and (key := from_secrets(provider)) is None:
        raise MissingKey(f"No key is set for {provider.title}", hint=f"{ways_to_set(provider)}, or add --sandbox to try it without a key")
    return key


def from_secrets(provider: Provider) -> Key | None:
    """Return the gateway's key from the secrets of a hosted notebook, and keep it for this session; None if there is none.

    Only for the gateway that was chosen, when its key is needed: each secret may open a dialogue. Outside the main thread none is read.
    Raises MissingKey if the secret cannot be a key.
    """
    if not hosted_secrets.readable():
        return None
    for variable in filter(None, (provider.key_variable, *provider.other_key_variables)):
        key = Key(hosted_secrets.read(variable))
        if key.reveal():
            _remembered[provider.name] = _checked(key, f"the secret {variable} of {hosted_secrets.host()}")
            return key
    return None


def ways_to_set(provider: Provider) -> str:
    """Return how to set the gateway's key: in the environment or a hosted notebook's secrets, or by %imagegen login."""
    login = f"%imagegen login {provider.name}"
    if host := hosted_secrets.host():
        return f"add {provider.key_variable} to the secrets of {host} for this notebook, and run {login}, which reads or asks for it"
    return f"set {provider.key_variable} in the environment, or {login}"


def where(provider: Provider, home: Path | None = None) -> str:
    """Return where the gateway's key comes from; a keyring that cannot be opened counts as having it."""
    if provider.name in _remembered:
        return "this session"
    for variable in (provider.key_variable, *provider.other_key_variables):
        if variable and _in_environment(variable):
            return variable
    try:
        return "system keyring" if find(provider, home) else "not set"
    except MissingKey:
        return "system keyring"


def known(settings: Settings | None = None) -> tuple[str, ...]:
    """Return the keys of this session, the environment and the system keyring, longest first: the one list of what no output may show.

    Each key in the keyring is read once, and none if no key was ever saved. A keyring that cannot be opened adds none.
    """
    settings = settings or load()
    keys = [*_remembered.values(), *_of_environment(settings)]
    with suppress(UnsupportedOption):  # a home that cannot be read must not hide the other keys
        answers = [_of_keyring(name, settings.home) for name in _saved_names(settings.home)]
        keys += [answer.key for answer in answers if answer.key]
    secrets = {key.reveal() for key in keys}
    return tuple(sorted((secret for secret in secrets if len(secret) >= MIN_LENGTH), key=lambda secret: (-len(secret), secret)))


def reject_embedded_keys(requests: Iterable[ImageRequest], others: Iterable[Any] = (), settings: Settings | None = None) -> None:
    """Raise UnsupportedOption if a request contains a known key: in a prompt, an option, a name, or `others`."""
    asked = list({id(request): request for request in requests}.values())
    secrets = known(settings)
    if not secrets:
        return
    options = [settings.get(name) for name in ("name", "save_dir")] if settings else []
    for place, values in (("prompt", [each.prompt for each in asked]), ("line", [*options, *others, *(each.asked() for each in asked)])):
        texts = "\n".join({text for value in values for text in _texts(value)})  # a key has no line break itself
        if any(secret in texts for secret in secrets):
            del secrets, texts
            raise holds_key(place)


def holds_key(place: str) -> UnsupportedOption:
    """Return the refusal of a prompt or a line that holds a key; it does not contain the key."""
    return UnsupportedOption(
        f"This {place} holds something like a key, so nothing was run",
        option=place,
        value="[key]",
        hint="take it out of the cell, which is saved with the notebook, and give it by %imagegen login NAME or in the "
        "environment; if others could see it, make a new one at the service",
    )


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts within a value."""
    if isinstance(value, str | Path):
        yield str(value)
    elif isinstance(value, Mapping):
        yield from (text for pair in value.items() for each in pair for text in _texts(each))
    elif isinstance(value, list | tuple):
        yield from (text for each in value for text in _texts(each))
    elif hasattr(value, "thing"):  # of a variable, by its name
        yield from _texts(value.thing)


def _in_environment(variable: str) -> Key | None:
    return Key(os.environ[variable]) if os.environ.get(variable, "").strip() else None


def _of_environment(settings: Settings) -> Iterator[Key]:
    """Yield the values of every variable with the name of a key, and of the variables that configured providers name."""
    yield from (Key(os.environ[variable]) for variable in _key_variables(settings))


def _key_variables(settings: Settings) -> list[str]:
    tables = [table for table in settings.provider_tables.values() if isinstance(table, Mapping)]
    named = {str(table["key_variable"]) for table in tables if "key_variable" in table}
    return [variable for variable in os.environ if variable.upper().endswith(_ENDINGS) or variable in named]


def environment_without_keys() -> dict[str, str]:
    """Return the environment for a process that needs no key of a service."""
    keys = _key_variables(load())
    return {name: value for name, value in os.environ.items() if name not in keys}


def _of_keyring(name: str, home: Path, *, again: bool = False) -> _Answer:
    """Return the keyring's answer, read once; `again` reads again after a while if it could not be opened."""
    entry = (str(home), name, _changed(home))
    answer = _answers.get(entry)
    if answer is None or (again and answer.refusal and time.monotonic() - answer.at > _RETRY_AFTER):
        answer = _answers[entry] = _read_keyring(name)
    return answer


def _read_keyring(name: str) -> _Answer:
    keyring = _keyring()
    if keyring is None:
        return _Answer(None, "", time.monotonic())
    try:
        key = Key(keyring.get_password(_SERVICE, name) or "")
    except Exception as error:  # a system's keyring may raise anything
        return _Answer(None, type(error).__name__, time.monotonic())
    return _Answer(key if key.reveal() else None, "", time.monotonic())


def _keyring() -> ModuleType | None:
    try:
        import keyring
    except ImportError:
        return None
    return keyring


def _names_file(home: Path) -> Path:
    # the names alone, so that a keyring is opened only for gateways that have a key in it
    return home / "keyring-names.txt"


def _changed(home: Path) -> int:
    try:
        return _names_file(home).stat().st_mtime_ns
    except OSError:
        return 0


def _saved_names(home: Path) -> list[str]:
    try:
        return _names_file(home).read_text(encoding="utf-8").split()
    except OSError:
        return []
