"""Errors: one sentence each, and a record that another process, a ledger or a later version reads."""

import ast
import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest
from released import unpack

from imagegen_magic import errors
from imagegen_magic.engine.jobs.submission import after_acceptance, forgotten
from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
from imagegen_magic.errors import (
    APIError,
    BudgetExceeded,
    ContentRejected,
    GatewayUnreachable,
    ImageGenError,
    PictureMissing,
    RateLimited,
    SaveError,
    SubmissionUnknown,
    TaskFailed,
    UnsupportedOption,
    UploadFailed,
    message,
)
from imagegen_magic.result import Cost


def kinds(kind: type[ImageGenError] = ImageGenError) -> Iterator[type[ImageGenError]]:
    """Yield every error class of the tree."""
    yield kind
    for each in kind.__subclasses__():
        if each.__module__ == errors.__name__:
            yield from kinds(each)


def example(kind: type[ImageGenError]) -> ImageGenError:
    """Return an error of a class, with all that it carries."""
    if kind is UnsupportedOption:
        fix = {"size": "16:9", "resolution": None}
        return UnsupportedOption("no", option="size", value=(1, 2), allowed=("1:1",), fix=fix, providers=("gccai",), hint="choose")
    if kind is BudgetExceeded:
        return BudgetExceeded("no", unit="USD", limit=Decimal("1.50"), spent=Decimal(1), reserved=Decimal(0), asked=None)
    if issubclass(kind, APIError):
        return kind("no", status=429, code="busy", request_id="r-1", refused=False, charge="yes")
    return kind("it went wrong", charge="unknown", rows=(3, 4))


class TestWords:
    """What happened, whether it was charged, the next step."""

    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (
                UnsupportedOption("It has no size 7:7", option="size", value="7:7", fix={"size": "1:1"}, allowed=("1:1", "16:9")),
                "It has no size 7:7. Nothing was charged. Try size 1:1. Allowed: 1:1, 16:9.",
            ),
            (
                GatewayUnreachable("EvoLink cannot be reached"),
                "EvoLink cannot be reached. Network problem; nothing was charged. "
                "Check the connection and the base URL (%imagegen doctor), then run the cell again.",
            ),
            (
                UploadFailed("photo.png is not uploaded"),
                "photo.png is not uploaded. Service error; nothing was charged. Run the cell again.",
            ),
            (
                ContentRejected("EvoLink refused the prompt"),
                "EvoLink refused the prompt. Moderation refusal; nothing was charged. Change the prompt or the references.",
            ),
            (ImageGenError("No", blame="you", charge="yes", hint="max_in_flight takes 1"), "No. It was charged. max_in_flight takes 1."),
            (
                SubmissionUnknown("No answer", hint="check the task list", rows=(3,)),
                "No answer. Network problem; it may have been charged. Check the task list. "
                "%imagegen forget 3 gives it up, so that it may be sent again.",
            ),
        ],
    )
    def test_one_line(self, error: ImageGenError, text: str) -> None:
        """The cause is named if it is not the user."""
        assert str(error) == text

    @pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
    def test_every_class_ends_in_a_next_step(self, kind: type[ImageGenError]) -> None:
        """In sentences that begin with a capital letter."""
        error = example(kind)
        assert error.hint or error.retry
        assert str(error).endswith(".")
        assert "\n" not in str(error)

    def test_a_panel_has_a_button_instead_of_a_cell(self) -> None:
        """The way to repeat a request is the caller's."""
        assert message(RateLimited("Busy"), "press Generate again").endswith("Wait a little, then press Generate again.")

    @pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
    def test_no_error_advises_to_pay_twice(self, kind: type[ImageGenError]) -> None:
        """What can be collected is not to be requested again: by default, and of each error after the task was accepted."""
        if kind.charge == "yes" or issubclass(kind, PictureMissing):
            assert not example(kind).retry
        for later in (after_acceptance(example(kind)), forgotten(example(kind))):
            assert errors.AGAIN not in str(later).lower()

    def test_a_subclass_with_a_hint_of_its_own(self) -> None:
        """It is complete."""

        class Closed(GatewayUnreachable):
            """A plug-in's."""

            _default_hint = "come back tomorrow"

        assert str(Closed("It is closed")).endswith("Come back tomorrow.")

    def test_several_tasks_of_one_reason(self) -> None:
        """Each can be given up by its number."""
        assert "%imagegen forget 3 (likewise 4, 5) gives it up" in str(TaskFailed("no", rows=(3, 4, 5)))


class TestRecords:
    """Plain JSON values, read back as what they were."""

    @pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
    def test_every_class_comes_back(self, kind: type[ImageGenError]) -> None:
        """With its type, its fields and its text."""
        error = example(kind)
        record = error.to_record()
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        back = ImageGenError.from_record(json.loads(json.dumps(record)))
        assert (type(back), str(back), back.to_record()) == (kind, str(error), record)
        if isinstance(error, BudgetExceeded) and isinstance(back, BudgetExceeded):
            assert (back.limit, back.asked) == (Decimal("1.50"), None)
        if isinstance(error, UnsupportedOption) and isinstance(back, UnsupportedOption):
            assert (back.allowed, back.fix, back.providers) == (error.allowed, error.fix, error.providers)

    def test_of_the_system(self) -> None:
        """A SaveError is an OSError, whose number and file stay."""
        error = SaveError("no room")
        error.errno, error.filename = 28, "/x"
        back = ImageGenError.from_record(error.to_record())
        assert isinstance(back, SaveError)
        assert (back.errno, back.filename) == (28, "/x")

    def test_of_a_plug_in(self) -> None:
        """Its own class if it is loaded, else the nearest class of ours."""

        class OutOfCredits(APIError):
            """A gateway's own."""

        error = OutOfCredits("no", status=402)
        error.left = Decimal("0.1")  # type: ignore[attr-defined]
        record = error.to_record()
        back = ImageGenError.from_record(record)
        assert (type(back), vars(back)["status"], vars(back)["left"]) == (OutOfCredits, 402, "0.1")
        elsewhere = ImageGenError.from_record({**record, "type": "elsewhere.OutOfCredits"})
        assert (type(elsewhere), elsewhere.charge, str(elsewhere)) == (APIError, "no", str(error))

    def test_of_a_later_version(self) -> None:
        """An unknown type is an ImageGenError, an unknown cause or charge that of its class, an unknown field stays."""
        record = {"type": "Novel", "what": "it went wrong", "blame": "weather", "charge": "half", "hint": "wait", "fields": {"mood": "bad"}}
        back = ImageGenError.from_record(record)
        assert (type(back), back.what, back.blame, back.charge, vars(back)["mood"]) == (
            ImageGenError,
            "it went wrong",
            "gateway",
            "unknown",
            "bad",
        )
        assert str(back) == "it went wrong. Service error; it may have been charged. Wait."
        assert str(ImageGenError.from_record({})) == "Service error; it may have been charged."

    def test_what_json_cannot_hold(self) -> None:
        """An object goes by the name of its type, an address without its query."""
        value = [float("nan"), {1: object()}, "https://x.example/a.png?sig=1"]
        record = UnsupportedOption("no", option="references", value=value).to_record()
        assert record["fields"]["value"] == ["nan", {"1": "<object>"}, "https://x.example/a.png?…"]


class TestOldNames:
    """Of version 0.1.0, each with a warning."""

    def test_of_a_refusal(self) -> None:
        """As arguments and as attributes."""
        with pytest.warns(DeprecationWarning, match="is now"):
            error = UnsupportedOption("no", option="quality", value="x", nearest="high", gateways=["gccai"])
        assert (error.fix, error.providers) == ({"quality": "high"}, ("gccai",))
        with pytest.warns(DeprecationWarning, match="nearest is now fix"):
            assert error.nearest == "high"
        with pytest.warns(DeprecationWarning, match="gateways is now providers"):
            assert error.gateways == ("gccai",)


def another(home: Path) -> closing[Ledger]:
    """Return a ledger of its own, closed at the end."""
    return closing(Ledger(home))


def job() -> NewJob:
    """Return a request with one task."""
    asked = {"prompt": "a fox"}
    task = NewTask({"method": "POST", "path": "/", "json": {}}, 1, "key-0")
    return NewJob("evolink", "evolink", "https://example.org", False, "m", "low", "1k", asked, asked, {}, Cost(), "imagegen", None, [task])


class TestLedger:
    """The ledger keeps each error as a record with its message."""

    @pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
    def test_every_class(self, kind: type[ImageGenError], own_world: Path) -> None:
        """As columns for a query, and as the error itself."""
        error = example(kind)
        with another(own_world / "home") as ledger:
            ((_, (row,)),) = asyncio.run(ledger.add([job()]))
            asyncio.run(ledger.set_state(row, "failed", error=error))
            (task,) = asyncio.run(ledger.tasks())
            query = "SELECT error_type, charge, blame, hint FROM errors WHERE task = ?"
            stored = asyncio.run(ledger.run(lambda connection: tuple(connection.execute(query, (row,)).fetchone())))
        assert stored == (kind.__name__, error.charge, error.blame, error.hint)
        assert (task.error, type(task.failure), str(task.failure)) == (str(error), kind, str(error))

    def test_a_newer_error_replaces_the_record(self, own_world: Path) -> None:
        """And without an error there is no record."""
        with another(own_world / "home") as ledger:
            ((_, (row,)),) = asyncio.run(ledger.add([job()]))
            asyncio.run(ledger.set_state(row, "unknown", error=SubmissionUnknown("no answer")))
            asyncio.run(ledger.set_state(row, "failed", error=ContentRejected("no")))
            (task,) = asyncio.run(ledger.tasks())
            assert isinstance(task.failure, ContentRejected)
            asyncio.run(ledger.run(lambda connection: connection.execute("UPDATE tasks SET error = NULL")))
            assert asyncio.run(ledger.tasks())[0].failure is None

    @pytest.mark.parametrize(
        ("text", "blame", "charge", "what", "hint"),
        [
            ("It has none. Your move, nothing was charged: choose another.", "you", "no", "It has none", "choose another"),
            ("It broke. A network problem, it may have been charged: look.", "network", "unknown", "It broke", "look"),
            ("It broke. The gateway's doing, it was charged: resume.", "gateway", "yes", "It broke", "resume"),
            ("It said no. Moderation's decision, nothing was charged: change it.", "moderation", "no", "It said no", "change it"),
            (
                "It said: oops. Your move, nothing was charged: believe me. The gateway's doing, it may have been charged: run it again.",
                "gateway",
                "unknown",
                "It said: oops. Your move, nothing was charged: believe me",
                "run it again",
            ),
            ("the process ended", "gateway", "unknown", "the process ended", ImageGenError._default_hint),
        ],
    )
    def test_sentences_of_the_first_version(self, text: str, blame: str, charge: str, what: str, hint: str, own_world: Path) -> None:
        """They are read when the file is opened; of several sentences only the last is ours."""
        home = own_world / "home"
        with another(home) as ledger:
            ((_, (row,)),) = asyncio.run(ledger.add([job()]))
        with closing(sqlite3.connect(home / "ledger.sqlite")) as older, older:  # as an older program that runs at the same time writes it
            older.execute("UPDATE tasks SET state = 'failed', error = ? WHERE row = ?", (text, row))
        with another(home) as ledger:
            (task,) = asyncio.run(ledger.tasks())
        assert task.failure is not None
        assert (task.failure.blame, task.failure.charge, task.failure.what, task.failure.hint) == (blame, charge, what, hint)

    def test_a_sentence_that_an_older_program_wrote_meanwhile(self, own_world: Path) -> None:
        """It has no record until the ledger is opened again: its charge is unknown, and an older record is not used for it."""
        home = own_world / "home"
        with another(home) as ledger:
            ((_, (row,)),) = asyncio.run(ledger.add([job()]))
            asyncio.run(ledger.set_state(row, "failed", error=ContentRejected("no")))
            with closing(sqlite3.connect(home / "ledger.sqlite")) as older, older:
                older.execute("UPDATE tasks SET error = 'It broke. The gateway''s doing, it was charged: look.'")
            (task,) = asyncio.run(ledger.tasks())
            assert (task.error_record, task.failure and task.failure.charge) == (None, "unknown")
        with another(home) as ledger:
            (task,) = asyncio.run(ledger.tasks())
            assert task.failure is not None
            assert task.failure.charge == "yes"

    def test_a_ledger_of_the_first_version(self, tmp_path: Path) -> None:
        """Every error of its tasks has a record, and version 0.1.0 can still use the file."""
        released = unpack("0.1.0", tmp_path / "released")
        with closing(sqlite3.connect(released.home / "ledger.sqlite")) as before:
            texts = dict(before.execute("SELECT row, error FROM tasks WHERE error IS NOT NULL"))
        with another(released.home) as ledger:
            tasks = {task.row: task for task in asyncio.run(ledger.tasks()) if task.error}
        assert {row: task.error for row, task in tasks.items()} == texts
        assert all(task.error_record for task in tasks.values())
        with closing(sqlite3.connect(released.home / "ledger.sqlite")) as after:
            assert after.execute("PRAGMA user_version").fetchone() == (4,)


PACKAGE = Path(errors.__file__).parent
READERS = {"engine/ledger/old_errors.py"}  # the one migration
FOREIGN = {  # the text of a library's error, or no error at all
    ("engine/ledger/database.py", "str(error).startswith('no such ')"),
    ("imaging/decode.py", "str(error).split('\\n')"),
    ("engine/storage/fsspec_store.py", "(getattr(error, 'strerror', None) or str(error)).strip().splitlines()"),
    ("imaging/reference.py", "part.what == EXIF"),
}
TEXT_METHODS = {
    *("startswith", "endswith", "removeprefix", "removesuffix", "replace", "find", "rfind", "index", "rindex", "count"),
    *("split", "rsplit", "partition", "rpartition", "splitlines", "translate"),
}
PATTERN_METHODS = {"match", "fullmatch", "search", "findall", "finditer", "sub", "subn", "split"}
COMPARISONS = (ast.In, ast.NotIn, ast.Eq, ast.NotEq)
OURS = ("was charged", "have been charged", errors.AGAIN, "%imagegen forget", "Allowed: ", "available from")


_ERROR = re.compile(r"Error\b|Exception\b|Unsupported|Failed\b")


def words_of(annotation: ast.AST) -> Iterator[str]:
    """Yield the names and texts in an annotation."""
    for each in ast.walk(annotation):
        if isinstance(each, ast.Name):
            yield each.id
        elif isinstance(each, ast.Attribute):
            yield each.attr
        elif isinstance(each, ast.Constant):
            yield str(each.value)


def errors_in(tree: ast.AST) -> set[str]:
    """Return the names that hold an error, as an `except` or an annotation says."""
    nodes = list(ast.walk(tree))
    caught = {each.name for each in nodes if isinstance(each, ast.ExceptHandler) and each.name}
    arguments = [each for each in nodes if isinstance(each, ast.arg)]
    annotated = {each.arg for each in arguments if each.annotation and any(map(_ERROR.search, words_of(each.annotation)))}
    return caught | annotated | {"error", "refusal", "failure", "trouble"}


def is_message(node: ast.AST, names: set[str]) -> bool:
    """Whether a node is the text of an error: `.what`, `.hint`, or `str()` or `message()` of one."""
    if isinstance(node, ast.Attribute):
        return node.attr in ("what", "hint", "args")
    if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("str", "repr", "message") and node.args):
        return False
    return isinstance(node.args[0], ast.Name) and node.args[0].id in names


def readings(source: str) -> Iterator[str]:
    """Yield the expressions that search, split or compare the text of an error, or search a text for our own phrases."""
    tree = ast.parse(source)
    names = errors_in(tree)

    def has_message(*nodes: ast.AST) -> bool:
        return any(is_message(each, names) for node in nodes for each in ast.walk(node))

    def is_ours(*nodes: ast.AST) -> bool:
        texts = [each.value for node in nodes for each in ast.walk(node) if isinstance(each, ast.Constant)]
        return any(phrase in text for text in texts if isinstance(text, str) for phrase in OURS)

    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            of_text = node.func.attr in TEXT_METHODS and (has_message(node.func.value) or is_ours(*node.args))
            of_pattern = node.func.attr in PATTERN_METHODS | {"compile"} and (has_message(*node.args) or is_ours(*node.args))
            if of_text or of_pattern:
                yield ast.unparse(node)
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], COMPARISONS):
            sides = node.comparators if isinstance(node.ops[0], (ast.In, ast.NotIn)) else [node.left, *node.comparators]
            if any(is_message(each, names) for each in sides) or is_ours(node.left):
                yield ast.unparse(node)


class TestNoCodeReadsMessages:
    """What a program needs to know of an error is a field: so each message can be reworded."""

    def test_in_the_package(self) -> None:
        """Nowhere but in the migration of old ledgers."""
        sources = {path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")}
        found = {(name, each) for name, source in sources.items() if name not in READERS for each in readings(source)}
        assert found - FOREIGN == set()

    @pytest.mark.parametrize(
        "code",
        [
            "str(error).replace('a', 'b')",
            "'gone' in str(error)",
            "error.hint.removesuffix(', later')",
            "error.what.lower().startswith('no')",
            "re.search('a', error.what)",
            "re.compile('it was charged')",
            "text.replace('run the cell again', 'press Generate again')",
            "'nothing was charged' in text",
            "error.what == 'No prompt'",
            "def f(problem: ImageGenError):\n    return str(problem).partition('. ')",
        ],
    )
    def test_what_is_found(self, code: str) -> None:
        """Each way that was used once."""
        assert len(list(readings(code))) == 1

    @pytest.mark.parametrize("code", ["text.replace('a', 'b')", "f'{error.what}; it is kept'", "str(error)", "error.code == 'x'"])
    def test_what_is_not(self, code: str) -> None:
        """Building a message of another, and reading fields."""
        assert list(readings(code)) == []
