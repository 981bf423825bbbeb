"""The errors of this package, as a tree.

    ImageGenError
    ├── UnsupportedOption       the model cannot do what was requested; nothing was sent
    ├── MissingKey              no key for this service
    ├── UnknownProvider         no service or model of that name
    ├── BudgetExceeded          the request would exceed a budget; nothing was sent
    ├── LedgerError             the ledger cannot be read or written
    ├── GatewayUnreachable      no connection to the service
    ├── APIError                the service answered with an error (status, code, request_id)
    │   ├── AuthenticationError
    │   ├── InsufficientBalance
    │   ├── RateLimited
    │   ├── NotFound
    │   └── ReferenceUnreachable   the service could not fetch a reference or a mask
    ├── UploadFailed            a reference could not be uploaded; nothing was submitted
    ├── ContentRejected         moderation refused the request
    ├── TaskFailed              the service accepted the task and failed at it
    │   └── PictureMissing      the task is completed without a picture
    ├── WaitingStopped          the wait was interrupted; the task continues at the service
    ├── TaskTimeout             the wait timed out; the task may still finish
    ├── SubmissionUnknown       sent, and it is unknown whether the service accepted it
    ├── DownloadError           the picture exists but could not be downloaded
    ├── SaveError               a picture cannot be written to disk
    ├── ReadError               a picture's file cannot be read
    │   └── PictureGone         there is no such file
    └── ImageInvalid            the downloaded bytes are not a complete picture

Each error has four facts: what happened, who has to act (`blame`), whether it was charged (`charge`) and the next step (`hint`).
`message` is the one function that words them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from imagegen_magic.deprecated import RenamedAttribute, current_arguments, move_renamed, warn_renamed
from imagegen_magic.records import PortableError, fields_of_error, plain, restored_error
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from decimal import Decimal

Blame = Literal["you", "network", "gateway", "moderation"]
Charge = Literal["no", "yes", "unknown"]

_CAUSE: dict[Blame, str] = {"you": "", "network": "Network problem; ", "gateway": "Service error; ", "moderation": "Moderation refusal; "}
_CHARGE: dict[Charge, str] = {"no": "nothing was charged", "yes": "it was charged", "unknown": "it may have been charged"}


AGAIN = "run the cell again"


def message(error: ImageGenError, again: str = AGAIN) -> str:
    """Return an error in one line: what happened, whether it was charged, and the next step. `again` is how a request is repeated."""
    hint = ", then ".join(filter(None, [error.hint, again if error.retry else ""]))
    sentences = [error.what, sentence(_CAUSE[error.blame] + _CHARGE[error.charge]), sentence(hint), _forget(error.rows)]
    return ". ".join(filter(None, sentences)) + "."


def sentence(text: str) -> str:
    """Return text with a capital letter first, unless it begins with a name such as `max_in_flight`."""
    first = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if first.rstrip(",;:").isalpha() else text


def _forget(rows: Sequence[int]) -> str:
    likewise = f" (likewise {', '.join(map(str, rows[1:]))})" if rows[1:] else ""
    return f"%imagegen forget {rows[0]}{likewise} gives it up, so that it may be sent again" if rows else ""


_OLD_NAMES = {"whose": "blame", "charged": "charge", "next_step": "hint"}  # of 0.1.0; they work with a DeprecationWarning
_OLD_OPTION_NAMES = {"nearest": "fix", "gateways": "providers"}  # likewise, of UnsupportedOption


def _current_names(owner: str, old_names: dict[str, Any], known: Mapping[str, str] = _OLD_NAMES) -> dict[str, Any]:
    """Return arguments given by an old name under the current one, with a DeprecationWarning. Raises TypeError for any other name."""
    current = dict(current_arguments(owner, known, old_names))
    if old_names:
        raise TypeError(f"{owner} takes no argument {next(iter(old_names))!r}")
    return current


class ImageGenError(PortableError):
    """Base of all errors; `str()` gives one line, see `message`.

    `what` is the fact, without a full stop. `blame`, `charge`, `hint` and `retry` (whether the next step ends in repeating the request)
    default to those of the class; a `hint` without `retry` is complete. `rows` are tasks of the ledger that `%imagegen forget` gives up.
    The texts are stored without the queries of addresses, because a service's message may contain signed ones.
    """

    blame: Blame = "gateway"
    charge: Charge = "unknown"
    hint: str = ""
    retry: bool = False
    rows: tuple[int, ...] = ()

    _default_hint: ClassVar[str] = "%imagegen jobs shows the state"
    _default_retry: ClassVar[bool] = False
    _decoders: ClassVar[Mapping[str, Callable[[Any], Any]]] = {}  # field -> what turns its JSON value into its type

    def __init__(
        self,
        what: str,
        *,
        blame: Blame | None = None,
        charge: Charge | None = None,
        hint: str | None = None,
        retry: bool | None = None,
        rows: Sequence[int] = (),
        **old_names: Any,
    ) -> None:
        current = _current_names(type(self).__name__, old_names)
        hint = current.get("hint") if hint is None else hint
        what = without_queries(what)
        super().__init__(what)
        self.what = what.rstrip(". ")
        self.blame = blame or current.get("blame") or type(self).blame
        self.charge = charge or current.get("charge") or type(self).charge
        self.hint = without_queries(type(self)._default_hint if hint is None else hint).rstrip(". ")
        self.retry = retry if retry is not None else hint is None and type(self)._default_retry
        self.rows = tuple(rows)

    def to_record(self) -> dict[str, Any]:
        """Return the error as plain JSON values: its type, the bases of that, its own fields, and further ones in `fields`."""
        own = {name: plain(getattr(self, name)) for name in _OWN_FIELDS}
        further = {name: plain(value) for name, value in fields_of_error(self) if name not in own and not name.startswith("_")}
        kind, *bases = (_type_name(each) for each in type(self).__mro__ if issubclass(each, ImageGenError))
        return {"type": kind, "bases": bases, **own, "fields": further}

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> ImageGenError:
        """Return the error of a record. If its type is not known here, it is the nearest base that is; at last ImageGenError."""
        known = {_type_name(kind): kind for kind in _subclasses(ImageGenError)}
        kind = next((known[name] for name in (record.get("type"), *record.get("bases", ())) if name in known), ImageGenError)
        values = {**record.get("fields", {}), **{name: record[name] for name in _OWN_FIELDS if name in record}}
        for name, options in (("blame", _CAUSE), ("charge", _CHARGE)):
            if values.get(name) not in options:
                values[name] = getattr(kind, name)
        what = str(values.get("what", ""))
        state = {name: kind._decoded(name, value) for name, value in values.items() if name not in _OLD_NAMES | _OLD_OPTION_NAMES}
        return restored_error(kind, (what,), {**state, "what": what, "rows": tuple(values.get("rows", ()))})

    @classmethod
    def _decoded(cls, name: str, value: Any) -> Any:
        return cls._decoders[name](value) if name in cls._decoders and value is not None else value

    def __init_subclass__(cls, **options: Any) -> None:
        """Set the defaults of a subclass; one of a plug-in may give them by their old names, with a DeprecationWarning."""
        super().__init_subclass__(**options)
        if "_default_hint" in vars(cls) and "_default_retry" not in vars(cls):
            cls._default_retry = False  # a hint of its own is complete
        move_renamed(cls, _OLD_NAMES)

    whose = RenamedAttribute("ImageGenError", "whose", "blame")
    charged = RenamedAttribute("ImageGenError", "charged", "charge")
    next_step = RenamedAttribute("ImageGenError", "next_step", "hint")

    def __str__(self) -> str:
        return message(self)


_OWN_FIELDS = ("what", "blame", "charge", "hint", "retry", "rows")


def _type_name(kind: type[ImageGenError]) -> str:
    """Return the name of a type in a record: of this module the class's own, else with its module."""
    return kind.__name__ if kind.__module__ == __name__ else f"{kind.__module__}.{kind.__qualname__}"


def _subclasses(kind: type[ImageGenError]) -> Iterator[type[ImageGenError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _subclasses(each)


class UnsupportedOption(ImageGenError, ValueError):
    """The chosen model cannot do what was requested; raised before anything is sent.

    `option` and `value` are what was refused, `allowed` the values that work. `fix` maps options to values that work, the nearest ones;
    None as a value leaves the option out, and `fix` is None if there is none. `providers` can do exactly what was requested.
    `detail` is put after the fix in the message, such as its size in pixels.
    """

    blame: Blame = "you"
    charge: Charge = "no"
    fix: Mapping[str, Any] | None = None
    providers: tuple[str, ...] = ()
    _decoders = {"allowed": tuple, "providers": tuple}  # noqa: RUF012 - never changed
    _advice: str | None = None
    _detail = ""
    _newer = ""

    def __init__(
        self,
        what: str,
        *,
        option: str,
        value: object,
        allowed: Sequence[str] = (),
        fix: Mapping[str, Any] | None = None,
        providers: Sequence[str] = (),
        hint: str | None = None,
        detail: str = "",
        **old_names: Any,
    ) -> None:
        current = _current_names(type(self).__name__, old_names, _OLD_OPTION_NAMES)
        self.option = option
        self.value = value
        self.allowed = tuple(allowed)
        self.fix = dict(fix) if fix else {option: current["fix"]} if current.get("fix") else None
        self.providers = tuple(providers or current.get("providers", ()))
        self._detail = detail
        self._advice = hint
        super().__init__(what, hint=". ".join(self.advice()) or "leave this option out")

    def advice(self, *, allowed: bool = True) -> list[str]:
        """Return what can be done instead, one sentence each without a full stop."""
        sentences = [self._advice, self._fix_text()]
        sentences.append(f"Allowed: {', '.join(self.allowed)}" if allowed and self.allowed else "")
        sentences.append(f"This is available from {', '.join(self.providers)}" if self.providers else "")
        sentences.append(self._newer)
        return [sentence for sentence in sentences if sentence]

    def _fix_text(self) -> str:
        fix = self.fix or {}
        omitted = ", ".join(name for name, value in fix.items() if value in (None, ()))
        values = ", ".join(_shown(name, value) for name, value in fix.items() if value not in (None, ()))
        if values:
            return f"Try {values}{f' without {omitted}' if omitted else ''}{f' ({self._detail})' if self._detail else ''}"
        return f"Leave {omitted} out" if omitted and not self._advice else ""

    @property
    def nearest(self) -> str | None:
        """The fix as text: its name in version 0.1.0."""
        warn_renamed("UnsupportedOption", "nearest", "fix")
        fix = self.fix or {}
        return str(fix[self.option]) if list(fix) == [self.option] else self._fix_text().removeprefix("Try ") or None

    @nearest.setter
    def nearest(self, value: str | None) -> None:
        warn_renamed("UnsupportedOption", "nearest", "fix")
        self.fix = {self.option: value} if value else None

    gateways = RenamedAttribute("UnsupportedOption", "gateways", "providers")

    def available_from(self, providers: Sequence[str]) -> UnsupportedOption:
        """Return a copy that names the providers that can do exactly this."""
        return self._copy(providers=tuple(providers))

    def allowed_by(self, page: str) -> UnsupportedOption:
        """Return a copy that names a newer page that allows this, and the way to send it."""
        return self._copy(_newer=f"{page} allows it: --unchecked (unchecked=True in Python) sends it")

    def _copy(self, **changes: Any) -> UnsupportedOption:
        refusal = copy.copy(self)
        vars(refusal).update(changes)
        refusal.hint = without_queries(". ".join(refusal.advice())) or self.hint
        return refusal


def _shown(name: str, value: Any) -> str:
    """Return an option and its value as text."""
    if name == "references":
        return f"the first {len(value)} references"
    return f"{name} {', '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"


class MissingKey(ImageGenError):
    """No key is set for the chosen service."""

    blame: Blame = "you"
    charge: Charge = "no"


class UnknownProvider(ImageGenError, LookupError):
    """There is no service, or no model of it, with that name."""

    blame: Blame = "you"
    charge: Charge = "no"


class LedgerError(ImageGenError):
    """The ledger cannot be read or written. Before a submission nothing is sent; after one the writes are retried."""

    blame: Blame = "you"
    charge: Charge = "no"


def _amount(text: str) -> Decimal:
    from decimal import Decimal  # takes a millisecond, and the extension loads this module

    return Decimal(text)


class BudgetExceeded(ImageGenError):
    """The request would exceed a budget, or its price is unknown; nothing was sent.

    `limit`, `spent`, `reserved` and `asked` are amounts in the budget's `unit`; `asked` is None if the price is unknown.
    """

    blame: Blame = "you"
    charge: Charge = "no"
    _default_hint = "%imagegen budget shows what is left and how to change it"
    _decoders = dict.fromkeys(("limit", "spent", "reserved", "asked"), _amount)

    def __init__(
        self, what: str, *, unit: str, limit: Decimal, spent: Decimal, reserved: Decimal, asked: Decimal | None, hint: str | None = None
    ) -> None:
        super().__init__(what, hint=hint)
        self.unit, self.limit, self.spent, self.reserved, self.asked = unit, limit, spent, reserved, asked


class GatewayUnreachable(ImageGenError):
    """No connection to the service could be made, so it received nothing."""

    blame: Blame = "network"
    charge: Charge = "no"
    _default_hint = "check the connection and the base URL (%imagegen doctor)"
    _default_retry = True


class APIError(ImageGenError):
    """The service answered with an error.

    `status` is the HTTP status (0 for an error in a 200 envelope without one), `code` the service's own code, `request_id` its id
    for support. `refused` is true if the service certainly did not accept the request.
    """

    charge: Charge = "no"
    _default_hint = "change the request as the service's message says, or ask its support"

    def __init__(
        self,
        what: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        refused: bool = True,
        blame: Blame | None = None,
        charge: Charge | None = None,
        hint: str | None = None,
        **old_names: Any,
    ) -> None:
        super().__init__(what, **{"blame": blame, "charge": charge, "hint": hint, **_current_names(type(self).__name__, old_names)})
        self.status = status
        self.code = code
        self.request_id = request_id
        self.refused = refused


class AuthenticationError(APIError):
    """The service does not accept the key."""

    blame: Blame = "you"
    _default_hint = "check the key (%imagegen login NAME)"


class InsufficientBalance(APIError):
    """The account has too little money or credits."""

    blame: Blame = "you"
    _default_hint = "top up the account at the service"
    _default_retry = True


class RateLimited(APIError):
    """Too many requests. `retry_after`: seconds from the Retry-After header or the body, or None."""

    retry_after: float | None = None
    _default_hint = "wait a little"
    _default_retry = True


class NotFound(APIError):
    """The service does not know this task, model or address."""


class ReferenceUnreachable(APIError):
    """The service could not fetch a reference or a mask from its address."""

    blame: Blame = "you"
    _default_hint = "give a public address, or the picture itself (a file or a variable), which is then uploaded"


class UploadFailed(ImageGenError):
    """A reference could not be uploaded, so nothing was submitted."""

    charge: Charge = "no"
    _default_hint = ""
    _default_retry = True


class ContentRejected(ImageGenError):
    """Moderation refused the prompt, a reference or the result."""

    blame: Blame = "moderation"
    charge: Charge = "no"
    _default_hint = "change the prompt or the references"


class TaskFailed(ImageGenError):
    """The service accepted the task and could not finish it."""

    _default_hint = "check the charge on the service's own page"
    _default_retry = True


class PictureMissing(TaskFailed):
    """The service reports the task as completed without a picture; it can still be resumed."""

    _default_hint = "%imagegen resume asks again later, without paying again"


class WaitingStopped(ImageGenError):
    """The wait was interrupted; accepted tasks continue at the service."""

    blame: Blame = "you"
    charge: Charge = "yes"
    _default_hint = "the task continues at the service; %imagegen resume collects it without paying again"


class TaskTimeout(ImageGenError, TimeoutError):
    """The wait timed out; the task may still finish, and stays in the ledger."""

    charge: Charge = "yes"
    _default_hint = "%imagegen resume collects it without paying again"


class SubmissionUnknown(ImageGenError):
    """The request was sent without a readable answer: it is unknown whether the service accepted it.

    `final`: the service itself does not know, so it is not asked again.
    """

    blame: Blame = "network"
    charge: Charge = "unknown"
    final: bool = False
    _default_hint = "check the service's own task list or usage page before you run this again; %imagegen jobs shows what can be tried"


class DownloadError(ImageGenError):
    """The picture exists but could not be downloaded; the task can be resumed."""

    blame: Blame = "network"
    charge: Charge = "yes"
    _default_hint = "%imagegen resume fetches it again, without paying again"


class SaveError(ImageGenError, OSError):
    """A picture cannot be written to disk. Found before anything is sent, or after the download; then the task can be resumed."""

    blame: Blame = "you"
    charge: Charge = "yes"
    _default_hint = "make room, then %imagegen resume, or %imagegen resume DIR for another folder, without paying again"


class ReadError(ImageGenError, OSError):
    """A picture's file cannot be read."""

    blame: Blame = "you"
    charge: Charge = "no"
    _default_hint = "check the path and its permissions, or give another picture"

    @classmethod
    def of(cls, name: str, error: OSError | ValueError | RuntimeError) -> ReadError:
        """Return the error for a file that could not be read, with its errno; a PictureGone if there is no such file."""
        if isinstance(error, FileNotFoundError):
            found: ReadError = PictureGone(f"There is no file {name}")
        else:
            found = ReadError(f"{name or 'A file without a name'} cannot be read: {getattr(error, 'strerror', None) or error}")
        found.errno, found.strerror = getattr(error, "errno", None), getattr(error, "strerror", None)
        return found


class PictureGone(ReadError, FileNotFoundError):
    """There is no such file."""

    _default_hint = "give the path of an existing picture; %imagegen history lists the pictures made so far"


class ImageInvalid(DownloadError):
    """The downloaded bytes are not a complete picture in a known format."""

    blame: Blame = "gateway"
