"""Scorers: functions that measure an image, with what their results mean and cost."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pkgutil import resolve_name
from typing import Any, Literal

from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.records import FrozenDict, Record, frozen
from imagegen_magic.result import Cost
from imagegen_magic.studies.scores import fingerprint

Better = Literal["higher", "lower", ""]
Unit = Literal["picture", "combination"]
Kind = Literal["code", "judge"]
INPUTS = ("prompt", "combination", "place", "reference")
"""The parameters that a scorer can have after the image; `place` is another name of `combination`."""
STORED_SCORES = ("seconds", "cost", "stars", "drift", "votes", "size_kept")
"""The scores that the ledger has without any scorer."""

_MAX_NAME = 60  # characters
_MAX_BATCH = 1_000  # images of one call


@dataclass(frozen=True, slots=True)
class Score(Record):
    """One measured value with its `reason` and, from a paid scorer, the `cost` of the call; the value None means: does not apply."""

    value: float | None
    reason: str = ""
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Scorer(Record):
    """A function that measures an image, and what is known of it.

    `better` is the direction that is better, empty if there is none; `range` is (lowest, highest) of its values. `version` replaces the
    fingerprint of the code; `packages` are distributions whose versions matter. `batch` is the number of images of one call, 0 for one
    image that is not in a list. `price` is the estimate for one image, None if it is free; `at_once` the number of calls in parallel. With
    `of="combination"` it measures all repeats of a combination together. `resources` are those that it takes of a Dask worker, such as
    `{"GPU": 1}`. `builtin` is the name by which a built-in one is made.
    """

    function: Callable[..., Any]
    name: str
    better: Better = ""
    range: tuple[float, float] | None = None
    version: str = ""
    packages: tuple[str, ...] = ()
    batch: int = 0
    price: Cost | None = None
    at_once: int = 1
    of: Unit = "picture"
    kind: Kind = "code"
    inputs: tuple[str, ...] = ()
    builtin: str = ""
    resources: Mapping[str, float] = FrozenDict()

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", frozen(self.resources))

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call the function, as if it were not decorated."""
        return self.function(*arguments, **keywords)

    @property
    def fingerprint(self) -> str:
        """The hash of its version, or of its code with the simple values that it uses, and of its packages' versions.

        Raises UnsupportedOption if the code cannot be read and there is no version.
        """
        return fingerprint.of(self.function, self.name, self.version, self.packages)

    @property
    def source(self) -> str:
        """The text of its code, empty if it cannot be read."""
        return fingerprint.source_of(self.function)


def scorer(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str = "",
    better: Better = "",
    range: tuple[float, float] | None = None,
    version: str = "",
    packages: Iterable[str] = (),
    batch: int = 0,
    price: Cost | None = None,
    at_once: int = 1,
    of: Unit = "picture",
    kind: Kind = "code",
    resources: Mapping[str, float] | None = None,
) -> Any:
    """Make a scorer of a function; a plain function is a scorer too, this only adds facts. See `Scorer` for them.

    The function takes an image (with `batch` or `of="combination"` a list of images), and of `prompt`, `combination` and `reference` those
    that its signature names. It returns a number, True or False, None if it does not apply, a Score, or a dict of these. Raises
    UnsupportedOption for a wrong fact, another parameter, or a function without a name.
    """
    facts: dict[str, Any] = {
        "name": name,
        "better": better,
        "range": range,
        "version": version,
        "packages": tuple(packages),
        "batch": batch,
    }
    facts |= {"price": price, "at_once": at_once, "of": of, "kind": kind, "resources": resources or {}}
    return (lambda decorated: make(decorated, **facts)) if function is None else make(function, **facts)


def make(function: Callable[..., Any], **facts: Any) -> Scorer:
    """Return the scorer of a function; as `scorer`."""
    name = facts.get("name") or getattr(function, "__name__", "")
    if name == "<lambda>" or not name:
        hint = "define it with def, or name it: scorer(name=...)(function)"
        raise UnsupportedOption("A scorer without a name cannot be stored", option="scorer", value=function, hint=hint)
    made = Scorer(function, **{**facts, "name": str(name), "inputs": _inputs(function, name)})
    _check(made)
    return made


def _inputs(function: Callable[..., Any], name: str) -> tuple[str, ...]:
    """Return which of `INPUTS` a function takes. Raises UnsupportedOption for another parameter without a default."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return ()  # a function of C
    first, rest = parameters[:1], parameters[1:]
    named = [each.name for each in rest if each.name in INPUTS]
    other = [each for each in rest if each.name not in INPUTS and each.default is each.empty and each.kind.name[:3] != "VAR"]
    if not first or other:
        what = f"The scorer {name} takes " + (f"the parameter {other[0].name}" if other else "no image")
        hint = f"its first parameter is the image; after it can come {', '.join(INPUTS[:2])} and {INPUTS[3]}"
        raise UnsupportedOption(what, option="scorer", value=other[0].name if other else name, allowed=INPUTS, hint=hint)
    return tuple(named)


def _check(made: Scorer) -> None:
    bad = [
        ("name", made.name, len(made.name) > _MAX_NAME or not made.name.isprintable() or made.name != made.name.strip(" -,")),
        ("better", made.better, made.better not in ("higher", "lower", "")),
        ("of", made.of, made.of not in ("picture", "combination")),
        ("kind", made.kind, made.kind not in ("code", "judge")),
        ("batch", made.batch, not 0 <= made.batch <= _MAX_BATCH or (made.batch and made.of == "combination")),
        ("at_once", made.at_once, made.at_once < 1),
        ("price", made.price, made.price is not None and not isinstance(made.price, Cost)),
        ("range", made.range, made.range is not None and not made.range[0] < made.range[1]),
    ]
    for option, value, wrong in bad:
        if wrong:
            hint = "see help(imagegen_magic.scorer)"
            raise UnsupportedOption(f"A scorer cannot have {option} = {value!r}", option=option, value=value, hint=hint)
    if made.name in STORED_SCORES:
        hint = "choose another name"
        what = f"The ledger has the score {made.name} already"
        raise UnsupportedOption(what, option="name", value=made.name, hint=hint)


def as_scorer(value: object, builtin: Callable[[str], Scorer | None]) -> Scorer:
    """Return a scorer for a scorer, a function, `package:function`, or the name of a built-in one, which `builtin` returns.

    Raises UnsupportedOption for anything else.
    """
    if isinstance(value, Scorer):
        return value
    if isinstance(value, str):
        if found := builtin(value):
            return replace(found, builtin=value)
        if named := importable(value):
            return as_scorer(named, builtin)
        hint = "give the name of a built-in scorer, package:function, or a function"
        raise UnsupportedOption(f"There is no scorer {value}", option="scorer", value=value, hint=hint)
    if callable(value):
        return make(value)
    what = f"A value of type {type(value).__name__} is no scorer"
    raise UnsupportedOption(what, option="scorer", value=value, hint="give a function, or the name of a built-in scorer")


def importable(name: str) -> Callable[..., Any] | Scorer | None:
    """Return the function or scorer `package:function`; None for another kind of name. Raises UnsupportedOption if it is not there."""
    if name.count(":") != 1 or not all(part.isidentifier() for part in name.replace(":", ".").split(".")):
        return None
    try:
        found: Any = resolve_name(name)
    except (ImportError, AttributeError) as error:
        hint = "install the package, or put its module on the path; workers have to find it too"
        raise UnsupportedOption(f"The scorer {name} cannot be imported ({error})", option="scorer", value=name, hint=hint) from None
    return found if callable(found) else None


def similar(name: str, known: Sequence[str]) -> list[str]:
    """Return the most similar known names, at most three."""
    return difflib.get_close_matches(name, known, n=3)
