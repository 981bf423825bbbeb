"""Where a gateway's key comes from, and how it stays unseen: environment, this session's memory, the system keyring."""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType

from imagegen_magic.errors import ImageGenError, MissingKey
from imagegen_magic.providers.base import Provider

_SERVICE = "imagegen_magic"
_remembered: dict[str, Key] = {}


class Key:
    """A key that shows itself to nobody but who asks by `reveal()`."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret.strip()

    def reveal(self) -> str:
        """Return the key itself; for the Authorization header only."""
        return self._secret

    def redact(self, text: str) -> str:
        """Return the text with every appearance of the key blotted out."""
        return text.replace(self._secret, "[key]") if len(self._secret) >= 8 else text  # shorter ones are words

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and self._secret == other._secret

    def __hash__(self) -> int:
        return hash(self._secret)

    def __repr__(self) -> str:
        return "<Key>"

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be stored")


def remember(name: str, secret: str) -> None:
    """Keep a key in memory for the rest of this session; raises MissingKey where it can be none."""
    _remembered[name] = _checked(secret.strip(), f"what was typed for {name}")


def _checked(secret: str, where: str) -> Key:
    """Refuse what cannot be a key, without showing it: an HTTP header takes printable ASCII alone."""
    if not (secret and secret.isascii() and secret.isprintable() and " " not in secret):
        raise MissingKey(
            f"The key in {where} has a character that no key has (a line break, a blank, a quote from a text editor?)",
            next_step="copy the key again, alone and whole",
        )
    return Key(secret)


def save(name: str, secret: str, home: Path) -> None:
    """Put a key into the system keyring; raises ImageGenError where there is none."""
    keyring = _keyring()
    if keyring is None:
        raise ImageGenError(
            "There is no system keyring to save a key in",
            whose="you",
            charged="no",
            next_step="pip install 'imagegen_magic[keyring]', or set the key in the environment; for this session it is remembered",
        )
    from keyring.errors import KeyringError

    try:
        keyring.set_password(_SERVICE, name, secret.strip())
    except KeyringError as error:
        raise ImageGenError(
            f"The system keyring took no key: {type(error).__name__}",
            whose="you",
            charged="no",
            next_step="unlock or install one, or set the key in the environment; for this session it is remembered",
        ) from None
    home.mkdir(parents=True, exist_ok=True)
    names = {*_saved_names(home), name}
    _names_file(home).write_text("\n".join(sorted(names)) + "\n", encoding="utf-8")


def find(provider: Provider, home: Path | None = None) -> Key | None:
    """Return the gateway's key, or None where none is set."""
    if provider.name in _remembered:
        return _remembered[provider.name]
    if secret := os.environ.get(provider.key_variable, "").strip():
        return _checked(secret, provider.key_variable)
    if home is not None and provider.name in _saved_names(home) and (keyring := _keyring()):
        stored = keyring.get_password(_SERVICE, provider.name)
        return _checked(stored, "the system keyring") if stored else None
    return None


def need(provider: Provider, home: Path | None = None) -> Key:
    """Return the gateway's key; raises MissingKey, which says where to set one."""
    key = find(provider, home)
    if key is None:
        raise MissingKey(
            f"No key is set for {provider.title}",
            next_step=f"set {provider.key_variable} in the environment, or %imagegen login {provider.name}, "
            "or add --sandbox to try it without a key",
        )
    return key


def known() -> tuple[str, ...]:
    """Return the keys of this session and of the environment, to be kept out of what leaves this machine."""
    told = [key.reveal() for key in _remembered.values()]
    told += [value.strip() for name, value in os.environ.items() if name.upper().endswith("_API_KEY")]
    return tuple(secret for secret in dict.fromkeys(told) if len(secret) >= 8)  # shorter ones are words


def where(provider: Provider, home: Path | None = None) -> str:
    """Say where the gateway's key comes from, never what it is."""
    if provider.name in _remembered:
        return "this session"
    if os.environ.get(provider.key_variable, "").strip():
        return provider.key_variable
    return "system keyring" if find(provider, home) else "not set"


def _keyring() -> ModuleType | None:
    try:
        import keyring
    except ImportError:
        return None
    return keyring


def _names_file(home: Path) -> Path:
    # the names alone, so that a keyring is opened only for gateways that have a key in it
    return home / "keyring-names.txt"


def _saved_names(home: Path) -> list[str]:
    try:
        return _names_file(home).read_text(encoding="utf-8").split()
    except OSError:
        return []
