"""What can go wrong, in words a person can act on.

    ImageGenError
    ├── UnsupportedOption       this model cannot do that; nothing was sent
    ├── MissingKey              no key for this gateway
    ├── UnknownProvider         no gateway, or no model, of that name
    ├── BudgetExceeded          it would pass an amount that the person set; nothing was sent
    ├── LedgerError             the ledger cannot be read or written; nothing was sent
    ├── GatewayUnreachable      no connection to the gateway
    ├── APIError                the gateway answered with an error (status, code, request_id)
    │   ├── AuthenticationError
    │   ├── InsufficientBalance
    │   ├── RateLimited
    │   ├── NotFound
    │   └── ReferenceUnreachable   it could not fetch the address of a reference or mask
    ├── UploadFailed            a picture could not be brought to the gateway; nothing was submitted
    ├── ContentRejected         moderation said no
    ├── TaskFailed              the gateway accepted the task and failed at it
    │   └── PictureMissing      it says that the task is completed, and names no picture
    ├── WaitingStopped          the person stopped waiting; the gateway goes on
    ├── TaskTimeout             our patience ended; the task goes on at the gateway
    ├── SubmissionUnknown       sent, and nobody knows whether it was accepted
    ├── DownloadError           made, but the picture could not be fetched
    ├── SaveError               it cannot be written to disk; found before anything is sent, or after it was fetched
    ├── ReadError               a picture's file cannot be read
    │   └── PictureGone         there is no such file, or no longer
    └── ImageInvalid            what came back is not the picture it claims to be

Every message says what happened, whose move it is, whether it was charged, and the next step.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from imagegen_magic.records import PortableError
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from decimal import Decimal

Blame = Literal["you", "network", "gateway", "moderation"]
Charge = Literal["no", "yes", "unknown"]

_BLAME: dict[str, str] = {
    "you": "Your move",
    "network": "A network problem",
    "gateway": "The gateway's doing",
    "moderation": "Moderation's decision",
}
_CHARGE: dict[Charge, str] = {
    "no": "nothing was charged",
    "yes": "it was charged",
    "unknown": "it may have been charged",
}


_SAID = re.compile(rf"\. (?:{'|'.join(map(re.escape, _BLAME.values()))}), ({'|'.join(map(re.escape, _CHARGE.values()))}): ")


def charge_in(message: str) -> Charge:
    """Return what a message of ours says about the charge; unknown where it says nothing."""
    said = _SAID.findall(message)  # the last: what comes before it may be anybody's words, what follows is ours
    return next((charged for charged, words in _CHARGE.items() if said and said[-1] == words), "unknown")


_OLD_NAMES = {"whose": "blame", "charged": "charge", "next_step": "hint"}  # of 0.1.0; they work until the next minor version


def _renamed(owner: str, old_names: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what was given by an old name under its new one. Emits a DeprecationWarning; raises TypeError for any other name."""
    for old, value in old_names.items():
        if old not in _OLD_NAMES:
            raise TypeError(f"{owner} takes no argument {old!r}")
        warnings.warn(f"{owner}: {old} is now {_OLD_NAMES[old]}", DeprecationWarning, stacklevel=3)
        yield _OLD_NAMES[old], value


def _old_name(old: str) -> Any:
    """Return a property that reads and sets an attribute by its old name, with a DeprecationWarning."""
    new = _OLD_NAMES[old]

    def warn(error: ImageGenError) -> None:
        warnings.warn(f"{type(error).__name__}.{old} is now .{new}", DeprecationWarning, stacklevel=3)

    def read(error: ImageGenError) -> Any:
        warn(error)
        return getattr(error, new)

    def write(error: ImageGenError, value: Any) -> None:
        warn(error)
        setattr(error, new, value)

    return property(read, write, doc=f"The name of `{new}` in version 0.1.0.")


class ImageGenError(PortableError):
    """Something went wrong; `str()` gives one line that a person can act on.

    `what` is the fact, without a full stop. `blame`, `charge` and `hint` default to the class's own. The queries of addresses are
    left out of both texts: a gateway's words may hold signed ones.
    """

    blame: Blame = "gateway"
    charge: Charge = "unknown"
    hint: str = ""

    _default_hint: ClassVar[str] = "see %imagegen jobs"

    def __init__(
        self, what: str, *, blame: Blame | None = None, charge: Charge | None = None, hint: str | None = None, **old_names: Any
    ) -> None:
        current = dict(_renamed(type(self).__name__, old_names))
        blame, charge, hint = blame or current.get("blame"), charge or current.get("charge"), hint or current.get("hint")
        what = without_queries(what)
        super().__init__(what)
        self.what = what.rstrip(". ")
        self.blame = blame or type(self).blame
        self.charge = charge or type(self).charge
        self.hint = without_queries(hint or type(self)._default_hint).rstrip(". ")

    def __init_subclass__(cls, **options: Any) -> None:
        """Let a subclass of a plug-in set the defaults by their old names, with a DeprecationWarning."""
        super().__init_subclass__(**options)
        for new, value in _renamed(cls.__name__, {old: vars(cls)[old] for old in _OLD_NAMES if old in vars(cls)}):
            setattr(cls, new, value)
        for old in _OLD_NAMES:
            if old in vars(cls):
                delattr(cls, old)

    whose = _old_name("whose")
    charged = _old_name("charged")
    next_step = _old_name("next_step")

    def __str__(self) -> str:
        return f"{self.what}. {_BLAME[self.blame]}, {_CHARGE[self.charge]}: {self.hint}."


class UnsupportedOption(ImageGenError, ValueError):
    """The chosen model cannot do what was asked; raised before anything is sent.

    Carries `option`, `value`, `allowed` (values that work here), `nearest` (the closest of them, or None) and
    `gateways` (others that can do exactly this, filled in by the registry).
    """

    blame: Blame = "you"
    charge: Charge = "no"

    def __init__(
        self,
        what: str,
        *,
        option: str,
        value: object,
        allowed: Sequence[str] = (),
        nearest: str | None = None,
        gateways: Sequence[str] = (),
        hint: str | None = None,
        **old_names: Any,
    ) -> None:
        hint = dict(_renamed(type(self).__name__, old_names)).get("hint", hint)
        self.option = option
        self.value = value
        self.allowed = tuple(allowed)
        self.nearest = nearest
        self.gateways = tuple(gateways)
        self._advice = hint
        super().__init__(what, hint=self._compose())

    def _compose(self) -> str:
        parts = [self._advice] if self._advice else []
        if self.nearest:
            parts.append(f"the nearest here is {self.nearest}")
        if self.allowed:
            parts.append(f"allowed here: {', '.join(self.allowed)}")
        if self.gateways:
            parts.append(f"exactly this can be done by {', '.join(self.gateways)}")
        return "; ".join(parts) or "leave this option out"

    def at(self, gateways: Sequence[str]) -> UnsupportedOption:
        """Return the same refusal, naming the gateways that can do exactly this."""
        return UnsupportedOption(
            self.what,
            option=self.option,
            value=self.value,
            allowed=self.allowed,
            nearest=self.nearest,
            gateways=gateways,
            hint=self._advice,
        )


class MissingKey(ImageGenError):
    """No key is set for the chosen gateway."""

    blame: Blame = "you"
    charge: Charge = "no"


class UnknownProvider(ImageGenError, LookupError):
    """No gateway, or no model of it, has that name."""

    blame: Blame = "you"
    charge: Charge = "no"


class LedgerError(ImageGenError):
    """The ledger cannot be read or written: before a submission nothing is sent, and after one it catches up as soon as it can."""

    blame: Blame = "you"
    charge: Charge = "no"


class BudgetExceeded(ImageGenError):
    """The request would pass a budget, or nobody can know whether it would, so nothing is sent.

    `limit`, `spent`, `reserved` and `asked` are amounts in the budget's `unit`; `asked` is None where its price is not known.
    """

    blame: Blame = "you"
    charge: Charge = "no"
    _default_hint = "%imagegen budget shows what is left and how to change it"

    def __init__(
        self, what: str, *, unit: str, limit: Decimal, spent: Decimal, reserved: Decimal, asked: Decimal | None, hint: str = ""
    ) -> None:
        super().__init__(what, hint=hint)
        self.unit, self.limit, self.spent, self.reserved, self.asked = unit, limit, spent, reserved, asked


class GatewayUnreachable(ImageGenError):
    """No connection to the gateway could be made, so nothing arrived there."""

    blame: Blame = "network"
    charge: Charge = "no"
    _default_hint = "check the connection and the base URL (%imagegen doctor), then run the cell again"


class APIError(ImageGenError):
    """The gateway answered with an error.

    `status` is the HTTP status (0 where the answer came inside a 200 envelope without one), `code` the gateway's
    own code, `request_id` its id for support. `refused` is true where the gateway certainly did not accept the request.
    """

    charge: Charge = "no"
    _default_hint = "read the gateway's words and change the request, or ask its support"

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
        super().__init__(what, **{"blame": blame, "charge": charge, "hint": hint, **dict(_renamed(type(self).__name__, old_names))})
        self.status = status
        self.code = code
        self.request_id = request_id
        self.refused = refused


class AuthenticationError(APIError):
    """The gateway does not accept the key."""

    blame: Blame = "you"
    _default_hint = "check the key (%imagegen login NAME)"


class InsufficientBalance(APIError):
    """The account has too little money or credits."""

    blame: Blame = "you"
    _default_hint = "top up the account at the gateway, then run the cell again"


class RateLimited(APIError):
    """The gateway wants fewer requests; `retry_after` is its wish in seconds, if it told one."""

    retry_after: float | None = None
    _default_hint = "wait a little, then run the cell again"


class NotFound(APIError):
    """The gateway does not know this task, model or address."""


class ReferenceUnreachable(APIError):
    """The gateway could not fetch a reference or a mask from its address."""

    blame: Blame = "you"
    _default_hint = "give an address that anybody can open, or the picture itself (a file or a variable), which is then uploaded"


class UploadFailed(ImageGenError):
    """A picture of this machine could not be brought to the gateway, so nothing was submitted."""

    charge: Charge = "no"
    _default_hint = "run the cell again"


class ContentRejected(ImageGenError):
    """Moderation refused the prompt, a reference or the result."""

    blame: Blame = "moderation"
    charge: Charge = "no"
    _default_hint = "change the prompt or the references"


class TaskFailed(ImageGenError):
    """The gateway accepted the task and could not finish it."""

    _default_hint = "run the cell again, or look at the gateway's own page for the charge"


class PictureMissing(TaskFailed):
    """The gateway says that the task is completed, and names no picture; the task stays collectable."""

    _default_hint = "%imagegen resume looks again later, without paying again"


class WaitingStopped(ImageGenError):
    """The person stopped waiting; what the gateway has accepted, it goes on making."""

    blame: Blame = "you"
    charge: Charge = "yes"
    _default_hint = "the gateway goes on; %imagegen resume collects what it makes, without paying again"


class TaskTimeout(ImageGenError, TimeoutError):
    """Our patience ended first; the task goes on at the gateway and stays in the ledger."""

    charge: Charge = "yes"
    _default_hint = "%imagegen resume collects it later, without paying again"


class SubmissionUnknown(ImageGenError):
    """The request was sent and no readable answer came back, so nobody here knows whether it was accepted."""

    blame: Blame = "network"
    charge: Charge = "unknown"
    _default_hint = "look at the gateway's own task list before running this again; it was not repeated"


class DownloadError(ImageGenError):
    """The picture was made but could not be fetched; the task stays collectable."""

    blame: Blame = "network"
    charge: Charge = "yes"
    _default_hint = "%imagegen resume fetches it again, without paying again"


class SaveError(ImageGenError, OSError):
    """A picture cannot be written: nothing was sent where that shows before, else it was fetched and stays collectable."""

    blame: Blame = "you"
    charge: Charge = "yes"
    _default_hint = "make room, then %imagegen resume, or %imagegen resume DIR for another folder; it fetches without paying again"


class ReadError(ImageGenError, OSError):
    """A picture's file cannot be read."""

    blame: Blame = "you"
    charge: Charge = "no"
    _default_hint = "check the path and who may read it, or give another picture"

    @classmethod
    def of(cls, name: str, error: OSError | ValueError | RuntimeError) -> ReadError:
        """Return what to say of a file that could not be read, with the system's own number; a PictureGone where there is none."""
        if isinstance(error, FileNotFoundError):
            found: ReadError = PictureGone(f"There is no file {name}")
        else:
            found = ReadError(f"{name or 'A file without a name'} cannot be read: {getattr(error, 'strerror', None) or error}")
        found.errno, found.strerror = getattr(error, "errno", None), getattr(error, "strerror", None)
        return found


class PictureGone(ReadError, FileNotFoundError):
    """There is no such file, or no longer."""

    _default_hint = "give the path of a picture that is there; %imagegen history lists those that were made"


class ImageInvalid(DownloadError):
    """The bytes that came back are not a whole picture of a kind we read."""

    blame: Blame = "gateway"
