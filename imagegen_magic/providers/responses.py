"""Tolerant readers of the gateways' answers: any JSON or text is accepted, and none raises."""

from __future__ import annotations

import html
import math
import re
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from imagegen_magic.deprecated import renamed_fields
from imagegen_magic.providers import urls
from imagegen_magic.records import Record

FINISHED = frozenset({"completed", "succeeded", "success"})
FAILED = frozenset({"failed", "cancelled", "canceled"})
ERRORS = frozenset({"error", "fail", "failure"})  # of a request rather than of a task
TASK_FAILED = FAILED | {"expired", "timeout", "timed_out"}  # of a task that was polled
IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"  # 409: the first request with this key is still being executed
IDEMPOTENCY_INDETERMINATE = frozenset({"idempotency_result_indeterminate", "paid_outcome_unknown"})  # 409: the gateway does not know
MAX_MESSAGE = 300  # characters of a gateway's own message

_MAX_READ = 8_000  # characters of a text that are looked at
_MAX_DEPTH = 8
_ACCEPTED_CODES = ("", "0", "200", "201", "202")
_MESSAGE_KEYS = ("message", "msg", "detail", "error_message", "fail_reason", "error", "reason", "description", "title", "errors")
_ADDRESS_KEYS = (
    *("url", "urls", "image_url", "result_url", "result_urls", "images", "results", "result", "result_data", "output", "data", "b64_json"),
)
_INNER_KEYS = (*_ADDRESS_KEYS, "image")  # at the level of the task, "image" may be the picture that was sent
_SUGGESTION_KEYS = ("suggestion", "fallback_suggestion")
_ERROR_CODE_KEYS = ("code", "error_code", "errorCode")
_DATA_URI = r"data:image/[a-z0-9.+-]{1,40};base64"
_ID_KEYS = ("task_id", "id", "taskId")

# `re` compiles a pattern when the first error is read: all of them take longer than a small request
_MARKUP = r"(?is)<(script|style|head)\b.*?</\1\s*>|<!--.*?-->|</?[a-z!][^<>]*>"
_TITLE = r"(?i)<title[^<>]*>([^<]*)"
_SECRET = r"(?i)\bsk-[\w*.-]{6,}|(?<=Bearer )[\w*.~+/-]{6,}=*|\b(r8_|AIza|AQ\.)[\w*-]{12,}"
_REQUEST_ID = r"(?i)request[ _]?id[:= ]+([\w-]{6,80})"

_MODERATION = (
    r"(?i)content[ _-]?(polic|filter|moderation|violation|rejected|safety)|moderation[ _]?(blocked|fail|reject|refus|violation|error|flag)"
    r"|(blocked|rejected|refused|flagged|stopped|failed|violat\w*)\b.{0,40}\b(moderation|(usage|our|openai) polic(y|ies)|guidelines)"
    r"|safety|(?<!case[ -])\bsensitive[ _](word|content|info|material|image|text)|policy[ _]violation|prompt_blocked|image_unsafe|nsfw"
    r"|(prohibited|inappropriate|unsafe|harmful|disallowed)[ _](content|prompt|image)"
    r"|敏感|违规|违禁|违法|不合规|涉黄|涉政|色情|内容安全|内容策略|内容政策|违反.{0,12}政策|安全(审核|检查|策略|系统)"
    r"|审核(未|不)?能?(通过|失败|拒绝)|(未|没有?)能?通过.{0,8}审核"
)
_BALANCE = (
    r"(?i)insufficient[ _](user[ _]|account[ _])?(balance|credit|fund|quota|amount)|payment[ _]required|out of credits?|arrears"
    r"|(balance|credits?|quota|funds?)[ _](is |are )?(insufficient|not[ _]enough|too low|exhausted)"
    r"|not[ _]enough[ _](balance|credit|quota|fund|money)|exceeded your current quota|exhausted balance|top up your balance"
    r"|余额不足|额度不足|积分不足|额度已用尽|额度失败|欠费|充值"
)
_KEY = (
    r"(?i)(invalid|incorrect|missing|expired|wrong)[ _](api[ _-]?key|token)|unauthori[sz]ed|unauthenticated|authentication[ _](fail|error)"
    r"|无效的?(令牌|密钥)"
)
_TOO_MANY = r"(?i)rate[ _]?limit|too many requests|请求过于频繁|频率"
_UNREACHABLE = (
    r"(?i)(?<!un)(fail(ed|ure|s)?|error|cannot|can't|can not|could not|couldn't|unable|not|impossible)\b.{0,20}"
    r"\b(fetch|download|load|access|retriev|reach|read)(ing|ed|e|able|ible)?\b.{0,60}"
    r"\b(image|picture|reference|mask|file|url)s?"
    r"|\b(image|picture|reference|mask|file)s?([ _]?(url|address)s?)?\b.{0,60}\b(not|un|in)[ -]?(be )?"
    r"(fetch|download|load|access|retriev|reach)(ed|able|ible)\b"
    r"|\binvalid_image_url\b|\b(image|mask|reference)_(download|fetch)_(failed|error)\b"
    r"|(无法|不能|未能).{0,6}(下载|获取|访问|读取|加载).{0,12}(图|遮罩|蒙版|文件)"
    r"|(图片|图像|参考图|遮罩|蒙版|文件).{0,12}(无法|不能|未能).{0,6}(下载|获取|访问|读取|加载)"
    r"|(下载|获取|访问|读取|加载).{0,12}(图片|图像|参考图|遮罩|蒙版|文件).{0,6}(失败|超时|错误|出错)"
    r"|(图片|图像|参考图|遮罩|蒙版|文件).{0,12}(下载|获取|访问|读取|加载).{0,6}(失败|超时|错误|出错)"
)


@renamed_fields(words="message", kind="type")
@dataclass(frozen=True, slots=True, repr=False)
class ErrorDetails(Record):
    """An error in an answer: its message in one line, code, type, request id for support and suggestion, each "" if missing."""

    message: str = ""
    code: str = ""
    type: str = ""
    request_id: str = ""
    suggestion: str = ""

    @property
    def reason(self) -> str:
        """The message, else the code."""
        return self.message or self.code

    def _matches(self, pattern: str) -> bool:
        return bool(re.search(pattern, f"{self.code} {self.type} {self.message}"))

    def is_moderation(self) -> bool:
        """Return whether moderation refused."""
        return self._matches(_MODERATION)

    def is_balance(self) -> bool:
        """Return whether the account has too little."""
        return self._matches(_BALANCE)

    def is_key(self) -> bool:
        """Return whether the key was not accepted."""
        return self._matches(_KEY)

    def is_rate(self) -> bool:
        """Return whether there were too many requests."""
        return self._matches(_TOO_MANY)

    def is_unreachable(self) -> bool:
        """Return whether the gateway could not fetch a reference or a mask."""
        return self._matches(_UNREACHABLE)


def error_details(answer: Any) -> ErrorDetails:
    """Return the error in an answer: an object, a string, `detail`, `message`, HTML or broken JSON."""
    outer = answer if isinstance(answer, Mapping) else {}
    inner = task_object(answer)
    error = outer.get("error") or inner.get("error")
    levels = (error, inner, outer)
    message = next(filter(None, map(message_of, levels)), "") if outer else message_of(answer)
    error_type = code_of(error.get("type")) if isinstance(error, Mapping) else ""
    request_id = _first_code(levels, "request_id", "requestId", "trace_id")
    if not request_id and (found := re.search(_REQUEST_ID, message)):
        request_id = found[1]
    code = _first_code((*levels, inner.get("result")), *_ERROR_CODE_KEYS) or error_type or _first_code(_details(outer), "type")
    given = (level.get(key) for level in levels if isinstance(level, Mapping) for key in _SUGGESTION_KEYS)
    suggestions = dict.fromkeys(one_line(value) for value in given if isinstance(value, str))
    return ErrorDetails(message, code, error_type, request_id, "; ".join(filter(None, suggestions)))


def _first_code(levels: Iterable[Any], *keys: str) -> str:
    codes = (code_of(level.get(key)) for level in levels if isinstance(level, Mapping) for key in keys)
    return next((code for code in codes if code not in _ACCEPTED_CODES), "")


def _details(answer: Mapping[str, Any]) -> list[Any]:
    """Return the items of a list `detail`, in which FastAPI and services built on it describe what was wrong."""
    found = answer.get("detail")
    return found if isinstance(found, list) else []


def message_of(value: Any, depth: int = 0) -> str:
    """Return the first message found in an error of any shape, in one line."""
    if isinstance(value, str):
        return one_line(value)
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, Mapping):
        return next(filter(None, (message_of(value[key], depth + 1) for key in _MESSAGE_KEYS if key in value)), "")
    if isinstance(value, list):
        return one_line("; ".join(filter(None, (message_of(each, depth + 1) for each in value[:20]))))
    return ""


def is_error(answer: Any, given: object = None) -> bool:
    """Return whether an answer of HTTP 200 is really an error: by its status, its `success` or its code.

    The content of `error` or `detail` is none if the answer has what was requested: `given`, a task's id if None.
    """
    if not isinstance(answer, Mapping):
        return False
    inner = task_object(answer)
    status, given = status_of(inner.get("status")), given or task_id(inner)
    if status in FAILED or (status in ERRORS and not given) or answer.get("success") is False or http_code(answer):
        return True
    if given:
        return False
    has_error = any(_is_error(level.get(key)) for level in (answer, inner) for key in ("error", "errors", "detail"))
    return (has_error and not status) or code_of(answer.get("code")).lower() not in (*_ACCEPTED_CODES, "success", "ok")


def _is_error(value: Any) -> bool:
    """Return whether an error has content: some successful answers carry an empty one."""
    return bool(message_of(value) or _first_code((value,), "code", "type") if isinstance(value, Mapping | list) else value)


def value_at(answer: Any, *path: str | int) -> Any:
    """Return the value at a path of names and numbers within an answer, None if there is none."""
    for step in path:
        if isinstance(answer, Mapping):
            answer = answer.get(step)
        elif isinstance(answer, list) and isinstance(step, int) and -len(answer) <= step < len(answer):
            answer = answer[step]
        else:
            return None
    return answer


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list; empty for anything else."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """Return the texts of a list; empty for anything else."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def code_of(value: Any) -> str:
    """Return an error's code as text; "" if it has another type."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    return one_line(value)[:80] if isinstance(value, str) else str(value) if abs(value) < 10**20 else ""


def http_code(answer: Any) -> int:
    """Return the HTTP error that an envelope names in its `code` or `status`, 0 if it names none."""
    error = answer.get("error") if isinstance(answer, Mapping) else None
    codes = (code_of(level.get(key)) for level in (answer, error) if isinstance(level, Mapping) for key in ("code", "status"))
    return next((int(code) for code in codes if re.fullmatch(r"[45][0-9]{2}", code)), 0)


def one_line(value: str) -> str:
    """Return a text in one line without markup, control characters and keys, of at most `MAX_MESSAGE` characters."""
    raw = value[:_MAX_READ]
    bare = html.unescape(re.sub(_MARKUP, " ", raw)) if "<" in raw else raw
    if not bare.strip() and (title := re.search(_TITLE, raw)):
        bare = html.unescape(title[1])
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in bare).split())
    line = re.sub(_SECRET, "[key]", line)
    return line if len(line) <= MAX_MESSAGE else f"{line[: MAX_MESSAGE - 1]}…"


_SHORT = reprlib.Repr()  # bounded in depth and width, because a message needs only the beginning of an answer
_SHORT.maxlevel, _SHORT.maxdict, _SHORT.maxlist, _SHORT.maxstring, _SHORT.maxother = 6, 16, 8, 400, 400


def excerpt(answer: Any) -> str:
    """Return the beginning of any answer in one line, for a message."""
    try:
        return one_line(answer if isinstance(answer, str) else _SHORT.repr(answer))
    except (ValueError, RecursionError):  # a number of thousands of digits, a nesting of thousands of levels
        return f"<{type(answer).__name__}>"


def task_object(answer: Any) -> Mapping[str, Any]:
    """Return the task inside an answer: `data`, or the first object in it, else the answer itself; empty if there is none.

    If the answer itself is a task, its `data` is what the task made.
    """
    if not isinstance(answer, Mapping):
        return {}
    inner = answer.get("data")
    if isinstance(inner, list):
        inner = next((each for each in inner if isinstance(each, Mapping)), None)
    if not isinstance(inner, Mapping) or not inner:
        return answer
    is_task = task_id(answer) and status_of(answer.get("status")) and not (task_id(inner) or status_of(inner.get("status")))
    return answer if is_task else inner


def task_objects(answer: Any) -> list[Mapping[str, Any]] | None:
    """Return the tasks of a batch answer; None if it holds no list of them."""
    inner = answer.get("data") if isinstance(answer, Mapping) else answer
    if isinstance(inner, Mapping):
        inner = inner.get("tasks", inner.get("data"))
    return [each for each in inner if isinstance(each, Mapping)] if isinstance(inner, list) else None


def task_id(task: Mapping[str, Any]) -> str:
    """Return a task's id that can stand in an address, "" if there is none."""
    for key in _ID_KEYS:
        found = task.get(key)
        number = isinstance(found, int) and not isinstance(found, bool)
        name = code_of(found) if number else found.strip() if isinstance(found, str) else ""
        if re.fullmatch(r"[\x21-\x7e]{1,256}", name) and name.strip("."):
            return name
    return ""


def status_of(status: Any) -> str:
    """Return a status word in lower case, "" if there is none."""
    return re.sub(r"[ -]+", "_", one_line(status).lower())[:40] if isinstance(status, str) else code_of(status)


def status_in(answer: Any) -> str:
    """Return the status that an answer itself has, in lower case, "" if it has none."""
    return status_of(value_at(answer, "status"))


def image_urls(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield every http(s) address and `data:` image in a result, whether a string, a list, or objects around them."""
    if isinstance(value, str):
        text = value.strip()
        if re.match(_DATA_URI + ",.", text[:80]) or ((parts := urls.split(text)) and parts.scheme in ("http", "https")):
            yield text
    elif isinstance(value, list) and depth <= _MAX_DEPTH:
        for each in _joined(value):
            yield from image_urls(each, depth + 1)
    elif isinstance(value, Mapping) and depth <= _MAX_DEPTH:
        for key in _INNER_KEYS if depth else _ADDRESS_KEYS:
            yield from image_urls(value.get(key), depth + 1)


def _joined(values: list[Any]) -> Iterator[Any]:
    """Yield the items of a list; a `data:` image that was split at its comma into two items is one again."""
    items = iter(values)
    for item in items:
        if isinstance(item, str) and re.fullmatch(_DATA_URI, item[:80].strip()):
            yield f"{item.strip()},{next(items, '')}"
        else:
            yield item


def number(value: Any) -> float | None:
    """Return a finite number, also one written as text (`45%`), else None."""
    if isinstance(value, str):
        value = value.strip().rstrip("%")
        value = float(value) if re.fullmatch(r"-?\d{1,20}(\.\d{1,20})?", value, re.ASCII) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e20 else None  # NaN compares as False too


def fraction(value: Any) -> float | None:
    """Return a progress of 0 to 100 as 0..1, None if there is none."""
    percent = number(value)
    return None if percent is None else min(max(percent / 100, 0.0), 1.0)


def amount(value: Any) -> Decimal | None:
    """Return an amount of money or credits exactly as written, else None."""
    if number(value) is None or (isinstance(value, str) and "%" in value):
        return None
    exact = Decimal(value.strip() if isinstance(value, str) else repr(value))
    return exact if exact >= 0 else None


def count(value: Any) -> int | None:
    """Return a whole number of 0 and more, else None."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def seconds(value: Any) -> float | None:
    """Return a duration in seconds, else None."""
    found = number(value)
    return found if found is not None and 0 <= found < math.inf else None


def epoch_seconds(value: Any) -> float | None:
    """Return a time as epoch seconds (milliseconds are turned into them), else None."""
    found = number(value)
    if found is not None and 1e12 <= found < 1e13:
        found /= 1000
    return found if found is not None and 1e9 <= found < 1e10 else None


def iso_seconds(text: Any) -> float | None:
    """Return a time like 2026-11-30T12:00:00.123Z as epoch seconds, else None."""
    try:
        return epoch_seconds(datetime.fromisoformat(text).timestamp()) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None


def earliest(value: Any, key: str, depth: int = 0) -> float | None:
    """Return the earliest plausible time under `key` anywhere in a result, None if there is none."""
    if depth > _MAX_DEPTH or not isinstance(value, Mapping | list):
        return None
    inner = list(value.values()) if isinstance(value, Mapping) else value
    here = epoch_seconds(value.get(key)) if isinstance(value, Mapping) else None
    return min((each for each in (here, *(earliest(each, key, depth + 1) for each in inner)) if each is not None), default=None)
