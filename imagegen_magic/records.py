"""Base classes of records and errors: they survive pickling and copying, and show no secret.

A pickle holds the fields by name, so a version with other fields can read it. Pickles name `restored` and `restored_error`, which
therefore stay in this module.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import PurePath
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from imagegen_magic.secret_patterns import without_queries

K = TypeVar("K")
V = TypeVar("V")

_PLAIN = (str, int, float, bool, bytes, type(None))
_OS_FIELDS = ("errno", "strerror", "filename", "filename2")


class Record:
    """Base of the frozen dataclasses: a pickle holds the fields by name, and a repr has no query of an address.

    Hashing is the dataclass's own. A class whose fields may hold unhashable values hashes with `hash_of_fields`.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    _renamed_fields: ClassVar[Mapping[str, str]] = {}  # old name -> current name

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (type(self), self._state())

    def _state(self) -> dict[str, Any]:
        """Return the state of a pickle: field name -> value."""
        return _fields_of(self)

    def __copy__(self) -> Self:
        return self  # immutable

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return restored(type(self), copy.deepcopy(_fields_of(self), memo))

    def __repr__(self) -> str:
        shown = (f"{item.name}={getattr(self, item.name)!r}" for item in fields(self) if item.repr and not _is_default(self, item))
        return without_queries(f"{type(self).__qualname__}({', '.join(shown)})")


R = TypeVar("R", bound=Record)


def restored(kind: type[R], state: Mapping[str, Any]) -> R:
    """Return a record from its fields by name: missing ones get their default or are derived, unknown ones are dropped with a warning."""
    made: R = object.__new__(kind)
    known = fields(kind)
    state = {kind._renamed_fields.get(name, name): value for name, value in state.items()}
    for item in known:
        object.__setattr__(made, item.name, state[item.name] if item.name in state else _default(item))
    derive = getattr(made, "__post_init__", None)
    if derive and any(item.name not in state for item in known):
        derive()
    if unknown := [name for name in state if name not in {item.name for item in known}]:
        what = f"Another version of imagegen_magic pickled this {kind.__name__}; unknown fields are left out: {', '.join(unknown)}"
        warnings.warn(what, stacklevel=2)
    return made


def _fields_of(record: Record) -> dict[str, Any]:
    return {item.name: getattr(record, item.name) for item in fields(record)}


_COMPARABLE = (Record, Mapping, tuple, *_PLAIN)


def _default(item: Field[Any]) -> Any:
    if item.default_factory is not MISSING:
        return item.default_factory()
    return None if item.default is MISSING else item.default


def _is_default(record: Record, item: Field[Any]) -> bool:
    if item.default is MISSING and item.default_factory is MISSING:
        return False
    value, usual = getattr(record, item.name), _default(item)
    return value is usual or (type(value) is type(usual) and isinstance(usual, _COMPARABLE) and value == usual)


def hash_of_fields(record: Record) -> int:
    """Return a hash that is equal for equal records, even if a field holds a list, a dict, an array or an image."""
    return hash(tuple(hash_of(getattr(record, item.name)) for item in fields(record) if item.compare))


def hash_of(value: Any) -> int:
    """Return a hash that is equal for equal values: of lists and dicts by their items, of other unhashable values by their type."""
    match value:
        case Mapping():
            return hash(frozenset((key, hash_of(each)) for key, each in value.items()))
        case tuple() | list():
            return hash(tuple(map(hash_of, value)))
        case set() | frozenset():
            return hash(frozenset(value))
        case bytearray():
            return hash(bytes(value))
    try:
        return hash(value)
    except TypeError:
        return hash(type(value).__qualname__)


class FrozenDict(dict[K, V]):
    """An immutable, hashable dict; equal to a dict with the same items."""

    __slots__ = ()

    def __hash__(self) -> int:  # type: ignore[override]  # dict has none
        return hash_of(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(copy.deepcopy(dict(self), memo))

    def _refuse(self, *arguments: Any, **named: Any) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} does not change: dict(…) makes a copy that does")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse


def frozen(value: Mapping[K, V]) -> FrozenDict[K, V]:
    """Return a mapping and the mappings in it as FrozenDict."""
    if type(value) is FrozenDict:
        return value
    return FrozenDict({key: frozen(each) if isinstance(each, Mapping) else each for key, each in value.items()})  # type: ignore[misc]


class PortableError(Exception):
    """Base of the errors: pickling and copying keep its fields and do not call its constructor.

    A pickle drops functions, and holds only the type's name of a value that cannot be pickled.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        return restored_error, (type(self), self.args, {name: _portable(value) for name, value in fields_of_error(self, _travels)})

    def __copy__(self) -> Self:
        return restored_error(type(self), self.args, dict(fields_of_error(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return restored_error(type(self), self.args, {name: _copied(value, memo) for name, value in fields_of_error(self)})


E = TypeVar("E", bound=PortableError)


def restored_error(kind: type[E], args: tuple[Any, ...], state: Mapping[str, Any]) -> E:
    """Return an error from its arguments and its fields by name, without calling its constructor."""
    made = kind.__new__(kind, *args)
    made.args = args
    for name, value in state.items():
        setattr(made, name, value)
    return made


def fields_of_error(error: PortableError, keeps: Callable[[Any], bool] = lambda value: True) -> Iterable[tuple[str, Any]]:
    """Yield the fields of an error by name, those of an OSError too."""
    yield from ((name, value) for name, value in vars(error).items() if keeps(value))
    if isinstance(error, OSError):  # its fields are not in vars()
        yield from ((name, value) for name in _OS_FIELDS if (value := getattr(error, name, None)) is not None)


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it, without queries of addresses; another object by the name of its type."""
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else str(value)
        case str() | PurePath():
            return without_queries(str(value))
        case Mapping():
            return {str(key): plain(each) for key, each in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(each) for each in value]
    name = type(value).__name__
    return str(value) if name == "Decimal" else f"<{name}>"  # not imported here: it takes a millisecond


def _travels(value: Any) -> bool:
    return not callable(value) or isinstance(value, type)


def _portable(value: Any) -> Any:
    """Return a value, or the name of its type if it cannot be pickled."""
    if type(value) in _PLAIN or isinstance(value, PurePath):
        return value
    import pickle  # needed for pickling only

    try:
        pickle.loads(pickle.dumps(value))
    except Exception:  # pickling a value of the caller may raise anything
        return f"<{type(value).__name__}>"
    return value


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    try:
        return copy.deepcopy(value, memo)
    except Exception:  # likewise; the copy shares it
        return value


class ProcessBound:
    """Base of objects that belong to one process: pickling and copying raise TypeError.

    `_instead` names what to pickle instead.
    """

    __slots__ = ()
    _instead: ClassVar[str] = ""

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        instead = f": {self._instead}" if self._instead else ""
        raise TypeError(f"a {type(self).__name__} belongs to the process that made it and cannot be pickled or copied{instead}")
