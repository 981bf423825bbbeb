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
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from imagegen_magic.records import PortableError
from imagegen_magic.secret_patterns import without_queries

if TYPE_CHECKING:
    from decimal import Decimal

Whose = Literal["you", "network", "gateway", "moderation"]
Charged = Literal["no", "yes", "unknown"]

_WHOSE: dict[str, str] = {
    "you": "Your move",
    "network": "A network problem",
    "gateway": "The gateway's doing",
    "moderation": "Moderation's decision",
}
_CHARGED: dict[Charged, str] = {
    "no": "nothing was charged",
    "yes": "it was charged",
    "unknown": "it may have been charged",
}


_SAID = re.compile(rf"\. (?:{'|'.join(map(re.escape, _WHOSE.values()))}), ({'|'.join(map(re.escape, _CHARGED.values()))}): ")


def charge_in(message: str) -> Charged:
    """Return what a message of ours says about the charge; unknown where it says nothing."""
    said = _SAID.findall(message)  # the last: what comes before it may be anybody's words, what follows is ours
    return next((charged for charged, words in _CHARGED.items() if said and said[-1] == words), "unknown")


class ImageGenError(PortableError):
    """Something went wrong; `str()` gives one line that a person can act on.

    `what` is the fact, without a full stop. `whose`, `charged` and `next_step` default to the class's own. The queries of addresses are
    left out of both texts: a gateway's words may hold signed ones.
    """

    whose: Whose = "gateway"
    charged: Charged = "unknown"
    next_step: str = ""

    _default_next_step: ClassVar[str] = "see %imagegen jobs"

    def __init__(self, what: str, *, whose: Whose | None = None, charged: Charged | None = None, next_step: str | None = None) -> None:
        what = without_queries(what)
        super().__init__(what)
        self.what = what.rstrip(". ")
        self.whose = whose or type(self).whose
        self.charged = charged or type(self).charged
        self.next_step = without_queries(next_step or type(self)._default_next_step).rstrip(". ")

    def __str__(self) -> str:
        return f"{self.what}. {_WHOSE[self.whose]}, {_CHARGED[self.charged]}: {self.next_step}."


class UnsupportedOption(ImageGenError, ValueError):
    """The chosen model cannot do what was asked; raised before anything is sent.

    Carries `option`, `value`, `allowed` (values that work here), `nearest` (the closest of them, or None) and
    `gateways` (others that can do exactly this, filled in by the registry).
    """

    whose: Whose = "you"
    charged: Charged = "no"

    def __init__(
        self,
        what: str,
        *,
        option: str,
        value: object,
        allowed: Sequence[str] = (),
        nearest: str | None = None,
        gateways: Sequence[str] = (),
        next_step: str | None = None,
    ) -> None:
        self.option = option
        self.value = value
        self.allowed = tuple(allowed)
        self.nearest = nearest
        self.gateways = tuple(gateways)
        self._advice = next_step
        super().__init__(what, next_step=self._compose())

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
            next_step=self._advice,
        )


class MissingKey(ImageGenError):
    """No key is set for the chosen gateway."""

    whose: Whose = "you"
    charged: Charged = "no"


class UnknownProvider(ImageGenError, LookupError):
    """No gateway, or no model of it, has that name."""

    whose: Whose = "you"
    charged: Charged = "no"


class LedgerError(ImageGenError):
    """The ledger cannot be read or written: before a submission nothing is sent, and after one it catches up as soon as it can."""

    whose: Whose = "you"
    charged: Charged = "no"


class BudgetExceeded(ImageGenError):
    """The request would pass a budget, or nobody can know whether it would, so nothing is sent.

    `limit`, `spent`, `reserved` and `asked` are amounts in the budget's `unit`; `asked` is None where its price is not known.
    """

    whose: Whose = "you"
    charged: Charged = "no"
    _default_next_step = "%imagegen budget shows what is left and how to change it"

    def __init__(
        self, what: str, *, unit: str, limit: Decimal, spent: Decimal, reserved: Decimal, asked: Decimal | None, next_step: str = ""
    ) -> None:
        super().__init__(what, next_step=next_step)
        self.unit, self.limit, self.spent, self.reserved, self.asked = unit, limit, spent, reserved, asked


class GatewayUnreachable(ImageGenError):
    """No connection to the gateway could be made, so nothing arrived there."""

    whose: Whose = "network"
    charged: Charged = "no"
    _default_next_step = "check the connection and the base URL (%imagegen doctor), then run the cell again"


class APIError(ImageGenError):
    """The gateway answered with an error.

    `status` is the HTTP status (0 where the answer came inside a 200 envelope without one), `code` the gateway's
    own code, `request_id` its id for support. `refused` is true where the gateway certainly did not accept the request.
    """

    charged: Charged = "no"
    _default_next_step = "read the gateway's words and change the request, or ask its support"

    def __init__(
        self,
        what: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        refused: bool = True,
        whose: Whose | None = None,
        charged: Charged | None = None,
        next_step: str | None = None,
    ) -> None:
        super().__init__(what, whose=whose, charged=charged, next_step=next_step)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.refused = refused


class AuthenticationError(APIError):
    """The gateway does not accept the key."""

    whose: Whose = "you"
    _default_next_step = "check the key (%imagegen login NAME)"


class InsufficientBalance(APIError):
    """The account has too little money or credits."""

    whose: Whose = "you"
    _default_next_step = "top up the account at the gateway, then run the cell again"


class RateLimited(APIError):
    """The gateway wants fewer requests; `retry_after` is its wish in seconds, if it told one."""

    retry_after: float | None = None
    _default_next_step = "wait a little, then run the cell again"


class NotFound(APIError):
    """The gateway does not know this task, model or address."""


class ReferenceUnreachable(APIError):
    """The gateway could not fetch a reference or a mask from its address."""

    whose: Whose = "you"
    _default_next_step = "give an address that anybody can open, or the picture itself (a file or a variable), which is then uploaded"


class UploadFailed(ImageGenError):
    """A picture of this machine could not be brought to the gateway, so nothing was submitted."""

    charged: Charged = "no"
    _default_next_step = "run the cell again"


class ContentRejected(ImageGenError):
    """Moderation refused the prompt, a reference or the result."""

    whose: Whose = "moderation"
    charged: Charged = "no"
    _default_next_step = "change the prompt or the references"


class TaskFailed(ImageGenError):
    """The gateway accepted the task and could not finish it."""

    _default_next_step = "run the cell again, or look at the gateway's own page for the charge"


class PictureMissing(TaskFailed):
    """The gateway says that the task is completed, and names no picture; the task stays collectable."""

    _default_next_step = "%imagegen resume looks again later, without paying again"


class WaitingStopped(ImageGenError):
    """The person stopped waiting; what the gateway has accepted, it goes on making."""

    whose: Whose = "you"
    charged: Charged = "yes"
    _default_next_step = "the gateway goes on; %imagegen resume collects what it makes, without paying again"


class TaskTimeout(ImageGenError, TimeoutError):
    """Our patience ended first; the task goes on at the gateway and stays in the ledger."""

    charged: Charged = "yes"
    _default_next_step = "%imagegen resume collects it later, without paying again"


class SubmissionUnknown(ImageGenError):
    """The request was sent and no readable answer came back, so nobody here knows whether it was accepted."""

    whose: Whose = "network"
    charged: Charged = "unknown"
    _default_next_step = "look at the gateway's own task list before running this again; it was not repeated"


class DownloadError(ImageGenError):
    """The picture was made but could not be fetched; the task stays collectable."""

    whose: Whose = "network"
    charged: Charged = "yes"
    _default_next_step = "%imagegen resume fetches it again, without paying again"


class SaveError(ImageGenError, OSError):
    """A picture cannot be written: nothing was sent where that shows before, else it was fetched and stays collectable."""

    whose: Whose = "you"
    charged: Charged = "yes"
    _default_next_step = "make room, then %imagegen resume, or %imagegen resume DIR for another folder; it fetches without paying again"


class ReadError(ImageGenError, OSError):
    """A picture's file cannot be read."""

    whose: Whose = "you"
    charged: Charged = "no"
    _default_next_step = "check the path and who may read it, or give another picture"

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

    _default_next_step = "give the path of a picture that is there; %imagegen history lists those that were made"


class ImageInvalid(DownloadError):
    """The bytes that came back are not a whole picture of a kind we read."""

    whose: Whose = "gateway"
