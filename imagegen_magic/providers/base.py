"""The contract of a gateway: what it can do, what would be sent, what its answers mean.

Everything here and in the gateways' own files is pure: no network, no clock, no disk.

A gateway needs at least its name, its address and its models. It overrides a method for each difference from the usual API:

    class Hello(Provider):
        name, title = "hello", "Hello"
        base_url, key_variable = "https://api.hello.example", "HELLO_API_KEY"
        models = (Model(name="hello-1", sizes={"1:1": {"1k": (1024, 1024)}}, checked="2026-11-20", document="https://hello.example/docs"),)
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, ClassVar
from urllib.parse import quote

from imagegen_magic.deprecated import RenamedAttribute, move_renamed, renamed_functions
from imagegen_magic.errors import (
    APIError,
    AuthenticationError,
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
from imagegen_magic.providers import parameters, responses, sizes, uploads, validation
from imagegen_magic.providers.calls import (
    Balance,
    Call,
    Elsewhere,
    Failed,
    ListedTask,
    Partial,
    Pending,
    Plan,
    PollingPolicy,
    Submission,
    Succeeded,
    TaskState,
    in_answer,
)
from imagegen_magic.providers.describe import shown
from imagegen_magic.providers.model import Model, PixelRule, Pixels, Rates
from imagegen_magic.providers.parameters import Parameter
from imagegen_magic.providers.unchecked import option_text, resolve_unchecked
from imagegen_magic.providers.uploads import UploadCall, Uploaded, UploadRule
from imagegen_magic.request import ImageRequest, LocalImage
from imagegen_magic.result import Cost
from imagegen_magic.secret_patterns import Address

__all__ = [
    "Balance",
    "Call",
    "Elsewhere",
    "Failed",
    "ListedTask",
    "Model",
    "Parameter",
    "Partial",
    "Pending",
    "PixelRule",
    "Pixels",
    "Plan",
    "PollingPolicy",
    "Provider",
    "Rates",
    "Submission",
    "Succeeded",
    "TaskState",
    "UploadCall",
    "UploadRule",
    "Uploaded",
    "in_answer",
    "standard_field_names",
]

# names of 0.1.0
__getattr__ = renamed_functions(__name__, Cadence="PollingPolicy", Waiting="Pending", Done="Succeeded", wire_fields="standard_field_names")
_RENAMED = {"cadence": "polling", "wire": "field_names", "wire_also": "reserved_fields", "refusals": "refusal_phrases"}

_LATER = dict.fromkeys(("get_channel_failed", "bad_response_status_code"), "try again later")
_ALPHA = {"transparent": True, "opaque": False}
_NO_FIELDS = ("unchecked", "parameters", "extra")  # of ImageRequest, that have no JSON name of their own
_FIELD_NAMES = {"model": "model", **{field.name: field.name for field in fields(ImageRequest) if field.name not in _NO_FIELDS}}
_FREE = responses.FAILED | responses.ERRORS  # statuses that `failures_free` covers; a task that expired is not among them
_FIELD_NAMES |= {"references": "image_urls", "mask": "mask_url"}


def standard_field_names(*names: str) -> dict[str, str]:
    """Return the usual JSON names of these fields of ImageRequest, for a gateway that knows no others."""
    return {name: _FIELD_NAMES[name] for name in names}


class Provider:
    """A gateway: class attributes for what it is, methods for what it would send and what its answers mean.

    `answer` in all readers is the decoded JSON, or the text if it is no JSON. A gateway's own file overrides
    what differs: the paths, `field_names` (field of ImageRequest -> field of the JSON), `payload`, `price`, `warnings`, `cost`.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    base_url: ClassVar[str]
    key_variable: ClassVar[str]
    docs_url: ClassVar[str] = ""
    models: ClassVar[tuple[Model, ...]]
    polling: ClassVar[PollingPolicy] = PollingPolicy()
    dialect: ClassVar[str] = ""  # the gateway whose API the sandbox uses for it; "": its own
    template: ClassVar[bool] = False  # only for `like` in [tool.imagegen.providers.NAME], which gives it an address
    extra_headers: ClassVar[Mapping[str, str]] = {}  # header of every request -> the environment variable with its value

    submit_path: ClassVar[str] = "/v1/images/generations"
    task_path: ClassVar[str] = "/v1/tasks/{}"
    batch_path: ClassVar[str] = "/v1/tasks/batch"
    cancel_path: ClassVar[str] = ""  # of one task; "": it cancels none
    cancel_method: ClassVar[str] = "POST"
    cancel_outcomes: ClassVar[Mapping[str, str]] = {}  # status of the answer to a cancellation -> what `read_cancel` returns
    task_id_marks: ClassVar[str] = ""  # characters of a task's id that its paths have as they are
    field_names: ClassVar[Mapping[str, str]] = _FIELD_NAMES
    key_header: ClassVar[tuple[str, str]] = ("Authorization", "Bearer {}")  # name and value of the header with the key
    needs_key: ClassVar[bool] = True
    chosen_by_key: ClassVar[bool] = True  # whether a key alone makes it the choice of a request that names no provider
    base_variable: ClassVar[str] = ""  # the environment variable of its address; "": <NAME>_BASE_URL
    other_key_variables: ClassVar[tuple[str, ...]] = ()  # read only for a request that names this provider
    table_keys: ClassVar[tuple[str, ...]] = ()  # further keys of a table that is `like` this one, which `from_table` reads
    variables: ClassVar[tuple[str, ...]] = ()  # further environment variables, which `configured` is given
    version_segment: ClassVar[str] = ""  # the end of a base URL, which is added where it is missing; paths have none
    synchronous: ClassVar[bool] = False  # whether the response to a submission carries the pictures, so that a lost one is lost
    cost_headers: ClassVar[tuple[str, ...]] = ()  # response headers, in lower case, that `cost_of_headers` reads
    input_field: ClassVar[str] = ""  # the field of a submission's JSON that holds all others; "": they stand at the top
    reserved_fields: ClassVar[Mapping[str, str]] = {}  # other fields that the payload writes -> the option of each
    refusal_phrases: ClassVar[tuple[str, ...]] = ()  # texts with which an HTTP 5xx is a refusal, not an outage
    upload: ClassVar[UploadRule | None] = None  # what it takes as a file, None if it takes only addresses
    key_hosts: ClassVar[tuple[str, ...]] = ()  # other hosts that the gateway's page names as its own: its key may go there
    idempotency: ClassVar[bool] = False  # whether a repeated Idempotency-Key is answered with the first task, by its page
    idempotency_seconds: ClassVar[float | None] = None  # how long it remembers a key; None: its page does not say
    failures_free: ClassVar[str] = ""  # the page that says that failed and cancelled tasks are not charged; "": none does
    error_hints: ClassVar[Mapping[str, str]] = _LATER  # error code in lower case -> who can do what about it
    balance_path: ClassVar[str] = ""  # of what the account has; "": it does not say
    list_path: ClassVar[str] = ""  # of the account's latest tasks; "": it lists none
    list_seconds: ClassVar[float] = 3 * 86_400.0  # for which the list names a task's prompt
    keeps_seconds: ClassVar[float] = 86_400.0  # for which it keeps the pictures of a finished task
    submits_per_minute: ClassVar[int | None] = None  # of one key, as its page states; None: it states none
    open_tasks: ClassVar[int | None] = None  # of one key at the same time, as its page states; None: it states none

    def __init_subclass__(cls, **options: Any) -> None:
        """Accept the attributes of a gateway written for 0.1.0, with a DeprecationWarning."""
        super().__init_subclass__(**options)
        move_renamed(cls, _RENAMED)

    @classmethod
    def from_table(cls, table: Mapping[str, str]) -> Mapping[str, Any]:
        """Return further class attributes of a provider that a table makes of this one. Raises UnsupportedOption for a wrong value."""
        return {}

    def template_at(self, base_url: str) -> str:
        """Return which other provider or template speaks at an address that is given for this one; "" if this one does."""
        return ""

    def configured(self, values: Mapping[str, str]) -> Provider:
        """Return this provider for the values of its `variables` by their names, those that are set."""
        return self

    def model(self, name: str | None = None) -> Model:
        """Return the model of that name ignoring case, the first if None; raises UnknownProvider."""
        if name is None:
            return self.models[0]
        wanted = str(name).strip().lower()
        for model in self.models:
            if model.name.lower() == wanted:
                return model
        if (unlisted := self.unlisted_model(str(name).strip())) is not None:
            return unlisted
        names = [model.name for model in self.models]
        close = difflib.get_close_matches(wanted, names, 1)
        hint = f"did you mean {close[0]}; " if close and len(names) > 1 else ""
        raise UnknownProvider(f"{self.name} has no model {shown(name)}", hint=f"{hint}it has {', '.join(names)}")

    def unlisted_model(self, name: str) -> Model | None:
        """Return a model of a name that `models` does not list, not `strict`; None if this provider has no others."""
        return None

    def plan(self, request: ImageRequest) -> Plan:
        """Return what will be sent and what is expected; raises UnsupportedOption if the model cannot do it."""
        model = self.model(request.model)
        request = with_declared(model, request)
        resolved, model, unchecked = self._resolved(model, request)
        per_call = self.pictures_per_call(model, resolved)
        full_calls, rest = divmod(resolved.n or 1, per_call)
        images_per_call = (per_call,) * full_calls + ((rest,) if rest else ())
        calls = [self.submission(each, n) for each, n in zip(_counted(model, resolved, images_per_call), images_per_call, strict=True)]
        validation.check_extra(f"{self.name} {model.name}", request.extra.items(), self._reserved(calls[0]))
        if unchecked or not model.strict:
            self._refuse_unsent(request, resolved, calls[0], images_per_call[0])
        pixels = sizes.expected_pixels(model, resolved)
        priced = replace(resolved, references=request.references, mask=request.mask)  # the images themselves, not their placeholders
        price = _own_price(model, resolved) or self.price(priced, pixels[0] if pixels else _likely_pixels(model, resolved))
        return Plan(
            provider=self.name,
            model=model,
            request=resolved,
            calls=tuple(self._with_extra(call, request.extra) for call in calls),
            images_per_call=images_per_call,
            pixels=pixels,
            mime_type=MIME_TYPES.get(resolved.output_format or ""),
            alpha=_ALPHA.get(resolved.background or ""),
            tier=(resolved.quality or "", sizes.tier_of(resolved)),
            price=price if price.amount is None else replace(price, amount=price.amount * sum(images_per_call)),
            warnings=(*unchecked, *sizes.warnings(model, resolved), *self.warnings(model, resolved)),
            uploads=uploads.unique((*request.references, request.mask)),
            unchecked=unchecked,
        )

    def _resolved(self, model: Model, request: ImageRequest) -> tuple[ImageRequest, Model, tuple[str, ...]]:
        """Return the request with every option checked and every default filled in, the model that takes it, and what was not checked."""
        who = f"{self.name} {model.name}"
        if request.unchecked is not None and not isinstance(request.unchecked, bool):
            what = f"{who} takes unchecked as True or False, not {shown(request.unchecked)}"
            raise UnsupportedOption(what, option="unchecked", value=request.unchecked, hint="give True or False")
        unchecked: tuple[str, ...] = ()
        if request.unchecked or not model.strict:
            resolved, model, unchecked = resolve_unchecked(who, model, request, self.upload)
            resolved = replace(resolved, unchecked=resolved.unchecked and request.unchecked)
        else:
            resolved = self._checked(who, model, request)
        strict = model.strict and not request.unchecked
        undeclared = {name: value for name, value in request.parameters.items() if name not in model.parameters}
        unchecked += tuple(f"not checked: {option_text(name, value)} ({model.source})" for name, value in undeclared.items())
        values = parameters.check(who, model.parameters, request.parameters, strict=strict)
        return replace(resolved, parameters=values), model, unchecked

    def _refuse_unsent(self, request: ImageRequest, resolved: ImageRequest, call: Call, n: int) -> None:
        """Raise UnsupportedOption for an option that was requested, is not checked, and changes nothing in what would be sent."""
        carried = resolved.size if ":" in str(resolved.size) else None  # the pixels of a ratio carry its resolution
        for option in validation.SENT_OPTIONS:
            if getattr(request, option) is None or (option == "resolution" and carried):
                continue
            without: dict[str, Any] = {option: None}
            if self.submission(replace(resolved, **without), n) == call:
                raise validation.no_option(f"{self.name} {resolved.model}", option, getattr(request, option))

    def _reserved(self, call: Call) -> dict[str, str]:
        """Return the fields that belong to options, each with its option."""
        by_option = {name: field for field, name in self.field_names.items()}
        return {name: name for name in self._fields(call)} | by_option | {**self.reserved_fields}

    def _fields(self, call: Call) -> Mapping[str, Any]:
        """Return the fields of a submission."""
        fields: Mapping[str, Any] = call.form or call.json or {}
        return fields[self.input_field] if self.input_field else fields

    def _with_extra(self, call: Call, extra: Mapping[str, Any]) -> Call:
        """Return a submission with further fields."""
        fields = {**self._fields(call), **extra}
        if call.form is not None:
            return replace(call, form=fields)
        return replace(call, json={**(call.json or {}), self.input_field: fields} if self.input_field else fields)

    def submission(self, request: ImageRequest, n: int) -> Call:
        """Return the submission for `n` pictures, without the request's `extra`; `request` has every default filled in."""
        values = parameters.placed(self.model(request.model).parameters, request.parameters)
        body = parameters.merged(self.payload(request, n), values)
        return Call("POST", self.submit_path, {**body, **self._further_fields(request)})

    def _checked(self, who: str, model: Model, request: ImageRequest) -> ImageRequest:
        """Return the resolved request. Raises UnsupportedOption, which names a newer page that allows what is refused."""
        try:
            return validation.RequestValidator(who, model, request, self.upload).resolved()
        except UnsupportedOption as refusal:
            value = getattr(request, refusal.option, None)
            allowed = isinstance(value, str) and value.strip().lower() in model.newer.get(refusal.option, ())
            raise (refusal.allowed_by(model.newer_document) if allowed else refusal) from None

    def _further_fields(self, request: ImageRequest) -> dict[str, Any]:
        """Return the fields of an unchecked request that the gateway's page does not have, by their usual names."""
        further = set(_FIELD_NAMES) - set(self.field_names) - {"n"} if request.unchecked else set()
        return {_FIELD_NAMES[name]: value for name in sorted(further) if (value := getattr(request, name)) not in (None, ())}

    def pictures_per_call(self, model: Model, request: ImageRequest) -> int:
        """Return how many pictures one submission may be for."""
        return model.max_n

    def picture_limits(self, model: Model) -> tuple[tuple[str, ...], int | None]:
        """Return the MIME types that a picture of this machine may have here, and its maximum in bytes (None: not documented)."""
        return uploads.limits(model, self.upload)

    def upload_call(self, picture: LocalImage) -> UploadCall:
        """Return the upload of a picture; raises UnsupportedOption if this gateway takes no files."""
        if self.upload is None:
            step = "give addresses that it can fetch"
            raise UnsupportedOption(f"{self.name} takes no files", option="references", value=picture.name, hint=step)
        return UploadCall("POST", self.upload.address, "file", uploads.file_name(picture), picture.mime_type)

    def read_upload(self, answer: Any) -> Uploaded:
        """Read the answer to an upload; raises the gateway's refusal, or APIError if it has no address."""
        found = uploads.read(answer)
        if responses.is_error(answer, found):
            raise self.read_error(0, answer)
        if found:
            return found
        excerpt = responses.excerpt(answer)
        raise APIError(f"{self.title} took the picture and named no address for it: {excerpt}", refused=False, blame="gateway")

    def payload(self, request: ImageRequest, n: int) -> dict[str, Any]:
        """Return the JSON of one submission for `n` pictures; `request` has every default filled in, None if one does not apply."""
        values = {name: getattr(request, field) for field, name in self.field_names.items() if field != "n"}
        body = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value not in (None, ())}
        return {**body, self.field_names["n"]: n} if "n" in self.field_names else body

    def price(self, request: ImageRequest, pixels: Pixels | None) -> Cost:
        """Return what one picture is expected to cost, with source and date; unknown if the gateway publishes none."""
        return Cost()

    def warnings(self, model: Model, request: ImageRequest) -> Sequence[str]:
        """Return warnings of this gateway beyond those that follow from the model's data."""
        return ()

    def cost(self, task: Mapping[str, Any]) -> Cost:
        """Return the cost that the gateway reports for a task, else unknown."""
        return Cost()

    def cost_of_headers(self, headers: Mapping[str, str]) -> Cost:
        """Return the cost that the response headers named in `cost_headers` report, else unknown."""
        return Cost()

    def estimated_seconds(self, task: Mapping[str, Any]) -> float | None:
        """Return the gateway's own estimate of a new task's duration in seconds, else None."""
        return None

    def read_submission(self, answer: Any) -> Submission:
        """Read the answer to a submission; raises the gateway's refusal, or SubmissionUnknown if it has no id."""
        task = responses.task_object(answer)
        if responses.is_error(answer):
            raise self.read_error(0, answer)
        task_id, finished = responses.task_id(task), self._finished_at_once(answer)
        if not task_id and finished is None:
            refusal = self._refusal(responses.error_details(answer), 0) if isinstance(answer, Mapping) else None
            unknown = SubmissionUnknown(f"{self.title} answered without a task id: {responses.excerpt(answer)}", blame="gateway")
            raise refusal or unknown
        ids = map(responses.task_id, responses.task_objects(answer) or ())
        extra = tuple(dict.fromkeys(each for each in ids if each not in ("", task_id)))
        return Submission(task_id, self.cost(task), self.estimated_seconds(task), extra, finished)

    def _finished_at_once(self, answer: Any) -> Succeeded | None:
        """Return the result if the answer to a submission has it already, else None."""
        task = responses.task_object(answer)
        status = responses.status_of(task.get("status"))
        if status not in responses.FINISHED and (status or responses.task_id(task)):
            return None  # an address beside a task's id may be that of the task
        found = self._image_urls(task if status else answer)
        return self._succeeded(task, found) if found else None

    def balance_call(self) -> Call | None:
        """Return the request for what the account has; None if the gateway does not say."""
        return Call("GET", self.balance_path) if self.balance_path else None

    def read_balance(self, answer: Any) -> Balance:
        """Read the answer to `balance_call`. Raises APIError if it has no balance, or the gateway's refusal."""
        raise self._unreadable(answer)

    def list_call(self) -> Call | None:
        """Return the request for the account's latest tasks, which costs nothing; None if the gateway lists none."""
        return Call("GET", self.list_path) if self.list_path else None

    def read_list(self, answer: Any) -> list[ListedTask]:
        """Read the answer to `list_call`; tasks without an id or a time are left out. Raises APIError if it is unreadable."""
        tasks = responses.task_objects(answer)
        if tasks is None or (not tasks and responses.is_error(answer)):
            raise self._unreadable(answer)
        return [listed for task in tasks if (listed := _listed(task))]

    def read_event(self, name: str, data: Any) -> Partial | Succeeded | Failed | None:
        """Read one server-sent event of a submission; None for what is not about a picture."""
        return None

    def read_result(self, answer: Any) -> TaskState:
        """Read the answer to the call of an `Elsewhere`."""
        return self.read_task(answer)

    def cancel_call(self, task_id: str) -> Call | None:
        """Return the request that cancels a task at the service; None if it has none."""
        return Call(self.cancel_method, self._task_path(self.cancel_path, task_id)) if self.cancel_path else None

    def read_cancel(self, answer: Any) -> str:
        """Read the answer to `cancel_call`: "cancelled", "running" (it may be charged), "finished", or "unknown"."""
        return self.cancel_outcomes.get(responses.status_in(answer), "unknown")

    def models_call(self) -> Call | None:
        """Return the request for the models that the server has; None if only `models` count."""
        return None

    def read_models(self, answer: Any) -> tuple[Model, ...]:
        """Read the answer to `models_call`."""
        return ()

    def schema_call(self, name: str) -> Call | None:
        """Return the request for the parameters of an unlisted model; None if the service does not describe them."""
        return None

    def read_schema(self, name: str, answer: Any) -> Model | None:
        """Read the answer to `schema_call`; None if it describes no model."""
        return None

    def task_call(self, task_id: str) -> Call:
        """Return the poll of one task."""
        return Call("GET", self._task_path(self.task_path, task_id))

    def _task_path(self, path: str, task_id: str) -> str:
        return path.format(quote(task_id, safe=self.task_id_marks, errors="replace"))

    def read_task(self, answer: Any) -> TaskState:
        """Read the answer to a poll; raises APIError if it has no task."""
        task = responses.task_object(answer)
        status = responses.status_of(task.get("status"))
        if status in responses.FINISHED:
            return self._finished(answer, task)
        if status in responses.TASK_FAILED or (status in responses.ERRORS and responses.task_id(task)):
            return Failed(self._failure(answer, status))
        if not status or (responses.is_error(answer) and not responses.task_id(task)):
            raise self._unreadable(answer)
        return Pending(status, responses.fraction(task.get("progress")))

    def _finished(self, answer: Any, task: Mapping[str, Any]) -> TaskState:
        found = self._image_urls(task)
        if not found:
            return Failed(PictureMissing(f"{self.title} says completed and names no picture: {responses.excerpt(answer)}"))
        return self._succeeded(task, found)

    def _image_urls(self, result: Any) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(Address, responses.image_urls(result))))

    def _succeeded(self, task: Mapping[str, Any], found: tuple[str, ...]) -> Succeeded:
        # some report whole seconds: 0 is less than one, and then the poller measures it
        seconds = next((value for key in ("actual_time", "duration") if (value := responses.seconds(task.get(key)))), None)
        return Succeeded(found, responses.earliest(task, "expires_at"), self.cost(task), seconds)

    def _failure(self, answer: Any, status: str) -> ImageGenError:
        details = responses.error_details(answer)
        if details.is_moderation():
            return self._rejected(details)
        if details.is_balance():
            return InsufficientBalance(f"{self.title} says: {details.reason}", code=details.code, hint=self._hint(details))
        reason = details.reason or responses.excerpt(answer)
        coded = f" [{details.code}]" if details.code and details.code not in reason else ""
        what, hint = f"{self.title} could not make it ({status}): {reason}{coded}", self._hint(details)
        if self.failures_free and status in _FREE:
            return TaskFailed(what, charge="no", hint=hint or "", retry=hint is None)
        return TaskFailed(what, hint=hint)

    def _rejected(self, details: responses.ErrorDetails) -> ContentRejected:
        return ContentRejected(f"{self.title} refused the content: {details.reason}")

    def _hint(self, details: responses.ErrorDetails) -> str | None:
        """Return who can do what about an error: by its code, and what the gateway itself suggests; None if neither is known."""
        known = self.error_hints.get(details.code.lower(), "")
        suggested = f"{self.title} suggests: {details.suggestion}" if details.suggestion else ""
        return "; ".join(filter(None, (known, suggested))) or None

    def _unreadable(self, answer: Any) -> ImageGenError:
        error = self.read_error(0, answer) if responses.is_error(answer) else None
        if isinstance(error, APIError):
            return error
        what = f"{self.title}'s answer says nothing of the task: {responses.excerpt(answer)}"
        return APIError(what, refused=False, charge="unknown", blame="gateway")

    def batch_call(self, task_ids: Sequence[str]) -> Call | None:
        """Return one poll of many tasks, at most `polling.batch_size`; None if the gateway has no batches."""
        if not self.polling.batch_size or not task_ids:
            return None
        if len(task_ids) > self.polling.batch_size:
            raise ValueError(f"{self.name} polls {self.polling.batch_size} tasks at once, not {len(task_ids)}")
        return Call("POST", self.batch_path, {"task_ids": list(task_ids)})

    def read_batch(self, answer: Any) -> dict[str, TaskState]:
        """Read the answer to a batch poll; ids that the gateway left out are missing. Raises APIError if it is unreadable."""
        tasks = responses.task_objects(answer)
        if tasks is None or (not tasks and responses.is_error(answer)):
            raise self._unreadable(answer)
        named = ((responses.task_id(task), task) for task in tasks if responses.status_of(task.get("status")))
        return {task_id: self.read_task(task) for task_id, task in named if task_id}

    def read_error(self, status: int, answer: Any) -> ImageGenError:
        """Return the error of an HTTP answer of 400 and above (0: an error in a 200).

        `refused` of an APIError: the request certainly was not accepted.
        """
        details = responses.error_details(answer)
        status = status if status >= 400 else responses.http_code(answer)
        from_gateway = status < 500 or isinstance(answer, Mapping)  # HTML may come from a proxy, which does not know the request
        if from_gateway and (refusal := self._refusal(details, status)):
            return refusal
        phrases = f"{details.code} {details.message}".lower()
        refused = status < 500 or status == 503 or any(phrase in phrases for phrase in self.refusal_phrases)
        kind = {401: AuthenticationError, 404: NotFound}.get(status, APIError)
        if details.code == "invalid_task_id":
            kind = NotFound
        if refused and status != 401 and details.is_unreachable():
            kind = ReferenceUnreachable
        return self._error(kind, status, details, refused=refused, charge="no" if refused else "unknown")

    def _refusal(self, details: responses.ErrorDetails, status: int) -> ImageGenError | None:
        """Return the error if its text or status make it a certain refusal of a known type, else None."""
        if status != 401 and (status == 402 or details.is_balance()):
            return self._error(InsufficientBalance, status, details)
        if status == 429 or (not status and details.is_rate()):
            return self._error(RateLimited, status, details)
        if status not in (401, 404) and details.is_moderation():
            return self._rejected(details)
        if status in (0, 403) and details.is_key():
            return self._error(AuthenticationError, status, details)
        return None

    def _error(self, kind: type[APIError], status: int, details: responses.ErrorDetails, **outcome: Any) -> APIError:
        what = f"{self.title} {f'answered {status}' if status else 'refused'}: {details.reason or 'no reason given'}"
        return kind(what, status=status, code=details.code, request_id=details.request_id, hint=self._hint(details), **outcome)


for _old, _new in _RENAMED.items():
    setattr(Provider, _old, RenamedAttribute("Provider", _old, _new))


def with_declared(model: Model, request: ImageRequest) -> ImageRequest:
    """Return the request with those further fields as parameters that the model declares."""
    declared = {name: value for name, value in request.extra.items() if name in model.parameters}
    if not declared:
        return request
    extra = {name: value for name, value in request.extra.items() if name not in declared}
    return replace(request, extra=extra, parameters={**declared, **request.parameters})


def _counted(model: Model, request: ImageRequest, images_per_call: Sequence[int]) -> list[ImageRequest]:
    """Return the request of each call: what counts up, such as a seed, counts from call to call."""
    if not any(parameters.counts_up(model.parameters, name) for name in request.parameters):
        return [request] * len(images_per_call)
    before = [sum(images_per_call[:number]) for number in range(len(images_per_call))]
    return [replace(request, parameters=parameters.counted(model.parameters, request.parameters, done)) for done in before]


def _own_price(model: Model, request: ImageRequest) -> Cost | None:
    amount = model.prices.get(request.quality or "")
    return None if amount is None else Cost(amount, "USD", "estimated", model.document, model.checked)


def _likely_pixels(model: Model, request: ImageRequest) -> Pixels | None:
    """Return the pixels that a ratio probably has if the page does not say; None for size auto."""
    tiers = model.sizes.get(request.size or "", {})
    return tiers.get(request.resolution or next(iter(tiers), ""))


def _listed(task: Mapping[str, Any]) -> ListedTask | None:
    name, time = responses.task_id(task), task.get("created", task.get("created_at"))
    created = responses.iso_seconds(time) or responses.epoch_seconds(time)
    if not name or created is None:
        return None
    sent: Any = task.get("input") if isinstance(task.get("input"), Mapping) else task
    texts = {key: value for key in ("prompt", "size") if isinstance(value := sent.get(key), str)}
    return ListedTask(name, str(task.get("model", "")), texts.get("prompt"), texts.get("size"), created)
