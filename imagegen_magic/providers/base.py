"""The contract of a gateway: what it can do, what would be sent, what its answers mean.

Everything here and in the gateways' own files is pure: no network, no clock, no disk.

The least a gateway needs is its name, its address and its models; whatever differs from the usual wire is a method more:

    class Hello(Provider):
        name, title = "hello", "Hello"
        base_url, key_variable = "https://api.hello.example", "HELLO_API_KEY"
        models = (Model(name="hello-1", sizes={"1:1": {"1k": (1024, 1024)}}, checked="2026-11-20", document="https://hello.example/docs"),)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.deprecated import RenamedAttribute, move_renamed, renamed_fields, renamed_functions
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
    Charge,
    ContentRejected,
    ImageGenError,
    InsufficientBalance,
    NotFound,
    PictureMissing,
    RateLimited,
    ReferenceUnreachable,
    SubmissionUnknown,
    TaskFailed,
    UnknownProvider,
    UnsupportedOption,
)
from imagegen_magic.formats import MIME_TYPES
from imagegen_magic.providers import responses, validation
from imagegen_magic.providers import uploads as uploading
from imagegen_magic.providers.describe import shown
from imagegen_magic.providers.model import Model, PixelRule, Pixels, tier_by_area
from imagegen_magic.providers.uploads import UploadCall, Uploaded, UploadRule
from imagegen_magic.records import Record, frozen
from imagegen_magic.request import ImageRequest, LocalPicture, Size
from imagegen_magic.result import Cost
from imagegen_magic.secret_patterns import Address

__all__ = [
    "Call",
    "Failed",
    "Model",
    "Pending",
    "PixelRule",
    "Pixels",
    "Plan",
    "PollingPolicy",
    "Provider",
    "Submission",
    "Succeeded",
    "TaskState",
    "UploadCall",
    "UploadRule",
    "Uploaded",
    "standard_field_names",
]

# names of 0.1.0
__getattr__ = renamed_functions(__name__, Cadence="PollingPolicy", Waiting="Pending", Done="Succeeded", wire_fields="standard_field_names")
_RENAMED = {"cadence": "polling", "wire": "field_names", "wire_also": "reserved_fields", "refusals": "refusal_phrases"}

_ALPHA = {"transparent": True, "opaque": False}
_WIRE = {
    "model": "model",
    "prompt": "prompt",
    "size": "size",
    "resolution": "resolution",
    "quality": "quality",
    "n": "n",
    "background": "background",
    "moderation": "moderation",
    "output_format": "output_format",
    "output_compression": "output_compression",
    "references": "image_urls",
    "mask": "mask_url",
    "callback_url": "callback_url",
}


def standard_field_names(*names: str) -> dict[str, str]:
    """Return the usual names on the wire of these fields of ImageRequest, for a gateway that knows no others."""
    return {name: _WIRE[name] for name in names}


@dataclass(frozen=True, slots=True, repr=False)
class Call(Record):
    """One HTTP request to make: `path` is joined to the base URL, `json` is its body."""

    method: str
    path: str
    json: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.json is not None:
            object.__setattr__(self, "json", frozen(self.json))


@renamed_fields(pictures="images_per_call")
@dataclass(frozen=True, slots=True, repr=False)
class Plan(Record):
    """What will happen, before a cent is spent.

    `request` is what was asked with every default filled in; `calls` are the submissions and `pictures` how many
    pictures each makes; `pixels` lists the (width, height) that count as what was asked, first the nominal, empty where
    nobody can know; `mime_type` and `alpha` what the bytes should be (None: nobody can know); `tier` is the class
    whose durations are alike: (quality, pixels tier). `uploads` are the pictures of this machine that the gateway must be brought
    first; until then their placeholders stand in the calls.
    """

    provider: str
    model: Model
    request: ImageRequest
    calls: tuple[Call, ...]
    images_per_call: tuple[int, ...]
    pixels: tuple[Pixels, ...]
    mime_type: str | None
    alpha: bool | None
    tier: tuple[str, str]
    price: Cost
    warnings: tuple[str, ...] = ()
    uploads: tuple[LocalPicture, ...] = ()

    @property
    def count(self) -> int:
        """How many pictures in all."""
        return sum(self.images_per_call)


@renamed_fields(others="extra_task_ids")
@dataclass(frozen=True, slots=True)
class Submission(Record):
    """An accepted task: its id, what the gateway says of the cost, and its estimate of the duration in seconds.

    `extra_task_ids` are the ids of further tasks that the gateway made of the same submission; nobody looks after them.
    """

    task_id: str
    cost: Cost = Cost()
    estimated_seconds: float | None = None
    extra_task_ids: tuple[str, ...] = ()


@renamed_fields(word="status")
@dataclass(frozen=True, slots=True, repr=False)
class Pending(Record):
    """Not finished: the gateway's own word, and how far it is (0..1) where it tells."""

    status: str
    fraction: float | None = None


@renamed_fields(pictures="image_urls")
@dataclass(frozen=True, slots=True, repr=False)
class Succeeded(Record):
    """Finished: the pictures' addresses, when they expire (epoch seconds), the cost, and the gateway's own duration in seconds."""

    image_urls: tuple[str, ...]
    expires_at: float | None = None
    cost: Cost = Cost()
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Failed(Record):
    """Finished without a picture, and why."""

    error: ImageGenError


TaskState = Pending | Succeeded | Failed


@renamed_fields(least="min_interval", first="initial_delay", batch="batch_size")
@dataclass(frozen=True, slots=True)
class PollingPolicy(Record):
    """How often this gateway's page allows to look: seconds between looks, seconds before the first, tasks per batch (0: none)."""

    min_interval: float = 3.0
    initial_delay: float = 3.0
    batch_size: int = 0


class Provider:
    """A gateway: class attributes say what it is, methods what it would send and what its answers mean.

    `answer` in all readers is what came: decoded JSON, or the text where it was no JSON. A gateway's own file overrides
    what differs: the paths, `wire` (field of ImageRequest -> field on the wire), `payload`, `price`, `warnings`, `cost`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str]
    key_variable: ClassVar[str]
    docs_url: ClassVar[str] = ""
    models: ClassVar[tuple[Model, ...]]
    polling: ClassVar[PollingPolicy] = PollingPolicy()
    dialect: ClassVar[str] = ""  # whose wire format the sandbox shall speak for it; its own name where empty

    submit_path: ClassVar[str] = "/v1/images/generations"
    task_path: ClassVar[str] = "/v1/tasks/{}"
    batch_path: ClassVar[str] = "/v1/tasks/batch"
    field_names: ClassVar[Mapping[str, str]] = _WIRE
    reserved_fields: ClassVar[Mapping[str, str]] = {}  # further fields that the payload writes, and the option each stands for
    refusal_phrases: ClassVar[tuple[str, ...]] = ()  # words by which an HTTP 5xx is known to be a refusal, not an outage
    upload: ClassVar[UploadRule | None] = None  # what it takes as a file, None where it reads addresses alone
    key_hosts: ClassVar[tuple[str, ...]] = ()  # hosts beside its own that the gateway names as its own: its key may go there

    def __init_subclass__(cls, **options: Any) -> None:
        """Accept the attributes of a gateway written for 0.1.0, with a DeprecationWarning."""
        super().__init_subclass__(**options)
        move_renamed(cls, _RENAMED)

    def model(self, name: str | None = None) -> Model:
        """Return the model of that name in any case, the first where None; raises UnknownProvider."""
        if name is None:
            return self.models[0]
        wanted = str(name).strip().lower()
        for model in self.models:
            if model.name.lower() == wanted:
                return model
        names = [model.name for model in self.models]
        close = difflib.get_close_matches(wanted, names, 1)
        hint = f"did you mean {close[0]}; " if close and len(names) > 1 else ""
        raise UnknownProvider(f"{self.name} has no model {shown(name)}", hint=f"{hint}it has {', '.join(names)}")

    def plan(self, request: ImageRequest) -> Plan:
        """Return all that will happen; raises UnsupportedOption where the model cannot do it."""
        model = self.model(request.model)
        who = f"{self.name} {model.name}"
        resolved = validation.resolve(who, model, request, self.upload)
        pictures = _split(resolved.n or 1, model.max_n)
        bodies = [self.payload(resolved, n) for n in pictures]
        validation.check_extra(who, request.extra.items(), self._taken(bodies[0]))
        pixels = _pixels(model, resolved)
        price = self.price(resolved, pixels[0] if pixels else None)
        return Plan(
            provider=self.name,
            model=model,
            request=resolved,
            calls=tuple(Call("POST", self.submit_path, {**body, **request.extra}) for body in bodies),
            images_per_call=pictures,
            pixels=pixels,
            mime_type=MIME_TYPES.get(resolved.output_format or ""),
            alpha=_ALPHA.get(resolved.background or ""),
            tier=(resolved.quality or "", _tier(resolved)),
            price=price if price.amount is None else replace(price, amount=price.amount * sum(pictures)),
            warnings=(*_common_warnings(model, resolved), *self.warnings(model, resolved)),
            uploads=uploading.unique((*request.references, request.mask)),
        )

    def picture_limits(self, model: Model) -> tuple[tuple[str, ...], int | None]:
        """Return the MIME types that a picture of this machine may have here, and its most bytes (None: nobody says)."""
        return uploading.limits(model, self.upload)

    def upload_call(self, picture: LocalPicture) -> UploadCall:
        """Return the upload of a picture; raises UnsupportedOption where this gateway takes no files."""
        if self.upload is None:
            step = "give addresses that it can fetch"
            raise UnsupportedOption(f"{self.name} takes no files", option="references", value=picture.name, hint=step)
        return UploadCall("POST", self.upload.address, "file", uploading.file_name(picture), picture.mime_type)

    def read_upload(self, answer: Any) -> Uploaded:
        """Read the answer to an upload; raises the gateway's refusal, or APIError where it names no address."""
        found = uploading.read(answer)
        if responses.is_error(answer, found):
            raise self.read_error(0, answer)
        if found:
            return found
        said = responses.excerpt(answer)
        raise APIError(f"{self.title} took the picture and named no address for it: {said}", refused=False, blame="gateway")

    def _taken(self, body: Mapping[str, Any]) -> dict[str, str]:
        """Return the wire's fields that no `extra` may write, with the option that each stands for."""
        return {**{name: name for name in body}, **{name: field for field, name in self.field_names.items()}, **self.reserved_fields}

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one submission for `n` pictures; `request` has every default filled in, None is what does not apply."""
        said = {name: getattr(request, field) for field, name in self.field_names.items() if field != "n"}
        body = {name: list(value) if isinstance(value, tuple) else value for name, value in said.items() if value not in (None, ())}
        return {**body, self.field_names["n"]: n} if "n" in self.field_names else body

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return what one picture is expected to cost, with source and date; unknown where the gateway publishes nothing."""
        return Cost()

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return what a payer should know beside what the model's data tells anyway."""
        return ()

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return what the gateway says a task costs; unknown where it says nothing."""
        return Cost()

    def estimated_seconds(self, task: Mapping[str, Any]) -> float | None:
        """Return the gateway's own estimate of a new task's duration in seconds, None where it gives none."""
        return None

    def read_submission(self, answer: Any) -> Submission:
        """Read the answer to a submission; raises the gateway's refusal, or SubmissionUnknown where no id can be found."""
        task = responses.task_object(answer)
        if responses.is_error(answer):
            raise self.read_error(0, answer)
        task_id = responses.task_id(task)
        if not task_id:
            raise self._without_id(answer)
        named = map(responses.task_id, responses.task_objects(answer) or ())
        extra = tuple(dict.fromkeys(name for name in named if name not in ("", task_id)))
        return Submission(task_id, self.cost(task), self.estimated_seconds(task), extra)

    def _without_id(self, answer: Any) -> ImageGenError:
        """Return the refusal that an answer's words alone make certain, else SubmissionUnknown."""
        if isinstance(answer, Mapping) and (refusal := self._refusal(responses.error_details(answer), 0)):
            return refusal
        return SubmissionUnknown(f"{self.title} answered without a task id: {responses.excerpt(answer)}", blame="gateway")

    def task_call(self, task_id: str) -> Call:
        """Return the look at one task."""
        return Call("GET", self.task_path.format(quote(task_id, safe="", errors="replace")))

    def read_task(self, answer: Any) -> TaskState:
        """Read a look's answer; raises APIError where it says nothing of the task."""
        task = responses.task_object(answer)
        word = responses.status_of(task.get("status"))
        if word in responses.FINISHED:
            return self._finished(answer, task)
        if word in responses.FAILED:
            return Failed(self._failure(answer, word))
        if not word or (responses.is_error(answer) and not responses.task_id(task)):
            raise self._unreadable(answer)
        return Pending(word, responses.fraction(task.get("progress")))

    def _finished(self, answer: Any, task: Mapping[str, Any]) -> TaskState:
        found = tuple(dict.fromkeys(map(Address, responses.image_urls(task))))
        if not found:
            said = responses.excerpt(answer)
            return Failed(PictureMissing(f"{self.title} says completed and names no picture: {said}"))
        expires_at = responses.earliest(task, "expires_at")
        return Succeeded(found, expires_at, self.cost(task), responses.seconds(task.get("actual_time")))

    def _failure(self, answer: Any, word: str) -> ImageGenError:
        complaint = responses.error_details(answer)
        if complaint.is_moderation():
            return ContentRejected(f"{self.title} refused the content: {complaint.words or complaint.code}")
        if complaint.is_balance():
            return InsufficientBalance(f"{self.title} says: {complaint.words or complaint.code}", code=complaint.code)
        return TaskFailed(f"{self.title} could not make it ({word}): {complaint.words or complaint.code or responses.excerpt(answer)}")

    def _unreadable(self, answer: Any) -> ImageGenError:
        if responses.is_error(answer):
            error = self.read_error(0, answer)
            if isinstance(error, APIError):
                return error
        said = responses.excerpt(answer)
        return APIError(f"{self.title}'s answer says nothing of the task: {said}", refused=False, charge="unknown", blame="gateway")

    def batch_call(self, task_ids: Sequence[str]) -> Call | None:
        """Return one look at many tasks, at most `polling.batch_size`, or None where the gateway has none."""
        if not self.polling.batch_size or not task_ids:
            return None
        if len(task_ids) > self.polling.batch_size:
            raise ValueError(f"{self.name} looks at {self.polling.batch_size} tasks at once, not at {len(task_ids)}")
        return Call("POST", self.batch_path, {"task_ids": list(task_ids)})

    def read_batch(self, answer: Any) -> dict[str, TaskState]:
        """Read a batch look; ids that the gateway left out are missing. Raises APIError where it is unreadable."""
        tasks = responses.task_objects(answer)
        if tasks is None or (not tasks and responses.is_error(answer)):
            raise self._unreadable(answer)
        return dict(self._states(tasks))

    def _states(self, tasks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, TaskState]]:
        for task in tasks:
            name = responses.task_id(task)
            if name and responses.status_of(task.get("status")):
                yield name, self.read_task(task)

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error an HTTP answer of 400 and above means (0: an error inside a 200).

        Its `refused` (APIError) says whether the request certainly was not accepted.
        """
        complaint = responses.error_details(answer)
        status = status if status >= 400 else responses.http_code(answer)
        told = status < 500 or isinstance(answer, Mapping)  # a page of HTML in between knows nothing of the request
        if told and (refusal := self._refusal(complaint, status)):
            return refusal
        refused = self._is_refused(status, complaint)
        kind = {401: AuthenticationError, 404: NotFound}.get(status, APIError)
        if refused and status != 401 and complaint.is_unreachable():
            kind = ReferenceUnreachable
        charge: Charge = "no" if refused else "unknown"
        return kind(
            self._what(status, complaint),
            status=status,
            code=complaint.code,
            request_id=complaint.request_id,
            refused=refused,
            charge=charge,
        )

    def _refusal(self, complaint: responses.ErrorDetails, status: int) -> ImageGenError | None:
        """Return the error where the gateway's words or the status make it a certain refusal of a known kind, else None."""
        kind: type[APIError] | None = None
        if status != 401 and (status == 402 or complaint.is_balance()):
            kind = InsufficientBalance
        elif status == 429 or (not status and complaint.is_rate()):
            kind = RateLimited
        elif status not in (401, 404) and complaint.is_moderation():
            return ContentRejected(f"{self.title} refused the content: {complaint.words or complaint.code}")
        elif status in (0, 403) and complaint.is_key():
            kind = AuthenticationError
        if kind is None:
            return None
        return kind(self._what(status, complaint), status=status, code=complaint.code, request_id=complaint.request_id)

    def _is_refused(self, status: int, complaint: responses.ErrorDetails) -> bool:
        known = any(word in f"{complaint.code} {complaint.words}".lower() for word in self.refusal_phrases)
        return status < 500 or status == 503 or known

    def _what(self, status: int, complaint: responses.ErrorDetails) -> str:
        answered = f"{self.title} answered {status}" if status else f"{self.title} refused"
        return f"{answered}: {complaint.words or complaint.code or 'no reason given'}"


for _old, _new in _RENAMED.items():
    setattr(Provider, _old, RenamedAttribute("Provider", _old, _new))


def _split(n: int, most: int) -> tuple[int, ...]:
    whole, rest = divmod(n, most)
    return (most,) * whole + ((rest,) if rest else ())


def _pixels(model: Model, request: ImageRequest) -> tuple[Pixels, ...]:
    size = Size.parse(request.size or "")
    if size.kind == "pixels":
        return ((size.width, size.height),)
    if size.kind == "auto" or not model.pixels_documented:
        return ()
    tier = request.resolution or next(iter(model.sizes[str(size)]))
    return (model.sizes[str(size)][tier], *model.alternate_pixels.get((str(size), tier), ()))


def _tier(request: ImageRequest) -> str:
    size = Size.parse(request.size or "")
    if request.resolution:
        return request.resolution
    return {"pixels": tier_by_area((size.width or 1, size.height or 1)), "auto": "auto"}.get(size.kind, "1k")


def _common_warnings(model: Model, request: ImageRequest) -> Iterator[str]:
    size, tier = str(request.size), request.resolution or ""
    if model.retired:
        yield f"{model.name} was retired upstream on {model.retired}: the gateway may refuse it or answer with another model"
    if size == "auto":
        yield "size auto: the gateway chooses, so the pixels are not known before"
    if size in model.sizes and not model.pixels_documented:
        yield f"the page does not say how many pixels {size} at {tier} has: give pixels to have them exactly"
    if size in model.sizes and model.pixels_documented:
        yield from _size_warnings(model, size, tier)


def _size_warnings(model: Model, size: str, tier: str) -> Iterator[str]:
    tiers = model.sizes[size]
    for smaller in model.resolutions[: model.resolutions.index(tier)] if tier in model.resolutions else ():
        if smaller in tiers and _area(tiers[smaller]) >= _area(tiers[tier]):
            verdict = "no larger than" if _area(tiers[smaller]) == _area(tiers[tier]) else "smaller than"
            yield f"{tier} at {size} is {verdict} {smaller} here: {_words(tiers[tier])} against {_words(tiers[smaller])}"
    for width, height in model.alternate_pixels.get((size, tier), ()):
        yield f"{size} at {tier} may come as {width}x{height} instead of {_words(tiers[tier])}"


def _area(pixels: Pixels) -> int:
    return pixels[0] * pixels[1]


def _words(pixels: Pixels) -> str:
    return f"{pixels[0]}x{pixels[1]}"
