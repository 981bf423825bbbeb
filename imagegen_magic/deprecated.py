"""Names of an earlier version: a renamed argument or attribute still works, with a DeprecationWarning."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def warn_renamed(owner: str, old: str, new: str, *, stacklevel: int = 3) -> None:
    """Emit the DeprecationWarning for a name; `stacklevel` is that of the code that uses it."""
    warnings.warn(f"{owner}: {old} is now {new}", DeprecationWarning, stacklevel=stacklevel)


def renamed_functions(module: str, **names: str) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module: `names` maps the old name of a class or function to the current one."""

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_renamed(module, name, names[name])
        return getattr(sys.modules[module], names[name])

    return find


class RenamedAttribute:
    """An attribute by its old name: reads and sets the new one, on the class and on its instances."""

    def __init__(self, owner: str, old: str, new: str) -> None:
        self._names = owner, old, new

    def __get__(self, instance: Any, owner: type) -> Any:
        warn_renamed(*self._names)
        return getattr(owner if instance is None else instance, self._names[2])

    def __set__(self, instance: Any, value: Any) -> None:
        warn_renamed(*self._names)
        setattr(instance, self._names[2], value)


def renamed_fields(**names: str) -> Callable[[type[T]], type[T]]:
    """Return a class decorator for a record: `names` maps the old name of a field to the current one.

    The constructor takes the old names, instances have them, and `records.restored` reads them from pickles.
    """

    def decorate(cls: type[T]) -> type[T]:
        constructor: Any = cls.__init__

        @functools.wraps(constructor)
        def accept_old_names(self: Any, *arguments: Any, **given: Any) -> None:
            if not names.keys().isdisjoint(given):
                given |= dict(current_arguments(cls.__name__, names, given))
            constructor(self, *arguments, **given)

        cls.__init__ = accept_old_names  # type: ignore[method-assign]
        cls._renamed_fields = names  # type: ignore[attr-defined]
        for old, new in names.items():
            setattr(cls, old, RenamedAttribute(cls.__name__, old, new))
        return cls

    return decorate


def current_arguments(owner: str, names: Mapping[str, str], given: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Take the arguments with an old name out of `given` and yield them under the current one."""
    for old in [name for name in given if name in names]:
        warn_renamed(owner, old, names[old], stacklevel=4)
        yield names[old], given.pop(old)


def move_renamed(cls: type, names: Mapping[str, str]) -> None:
    """Give the class attributes that a subclass sets by an old name their current name; for `__init_subclass__`."""
    for old, new in names.items():
        if old in vars(cls):
            warn_renamed(cls.__name__, old, new, stacklevel=4)
            setattr(cls, new, vars(cls)[old])
            delattr(cls, old)
