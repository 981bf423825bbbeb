"""A ledger of another version: an older one is brought up to date, a newer one is used as far as it is known, and nothing in it is lost."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import textwrap
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import released
from shells import a_shell

from imagegen_magic import export, generate
from imagegen_magic.engine import api
from imagegen_magic.engine import loop as engine_loop
from imagegen_magic.engine.jobs.reuse import generated
from imagegen_magic.engine.ledger import schema
from imagegen_magic.engine.ledger.ledger import Ledger, NewJob, NewTask
from imagegen_magic.engine.ledger.reuse import tasks_by_fingerprint
from imagegen_magic.errors import LedgerError, TaskTimeout
from imagegen_magic.imaging.metadata import embed
from imagegen_magic.result import Cost, GeneratedImage
from imagegen_magic.sandbox.tasks import Task, TaskStore
from imagegen_magic.studies.history import provenance
from imagegen_magic.studies.sweeps.load import load as load_sweep

pytestmark = pytest.mark.slow

JOB = NewJob(
    provider="evolink",
    dialect="evolink",
    base_url="https://api.evolink.ai",
    sandbox=False,
    model="gpt-image-2",
    quality="high",
    tier="2k",
    asked={"prompt": "A red fox"},
    resolved={"prompt": "A red fox", "size": "1:1"},
    expected={"pixels": [[1024, 1024]], "mime_type": "image/png", "alpha": None, "pictures": 1},
    price=Cost(Decimal("0.040"), "USD", "estimated", "price list", "2025-01-01"),
    save_dir="imagegen",
    name=None,
    tasks=[NewTask({"method": "POST", "path": "/", "json": {}}, 1, "key-1", "alike")],
)
FILE: dict[str, Any] = {"path": "/x/fox.png", "sha256": "ab", "size": 9, "width": 4, "height": 3, "mime_type": "image/png"}
LATER = ("CREATE TABLE later (picture INTEGER PRIMARY KEY REFERENCES pictures (id), depth REAL NOT NULL DEFAULT 0)",)
OURS = ("jobs", "tasks", "pictures")  # of which 0.1.0 takes every column for its own
KEPT = "TEXT NOT NULL DEFAULT 'kept'"
COLUMNS = tuple(f"ALTER TABLE {table} ADD COLUMN mood {KEPT}" for table in OURS)


def every_column_everywhere() -> tuple[str, ...]:
    """Return statements that give each table a column of every name that another has, so that no name alone identifies one."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for name, function in schema.FUNCTIONS.items():
            connection.create_function(name, 1, function, deterministic=True)
        for statement in (statement for migration in schema.MIGRATIONS for statement in migration):
            connection.execute(statement)
        query = "SELECT name FROM pragma_table_list WHERE type = 'table' AND schema = 'main' AND name NOT LIKE 'sqlite_%'"
        tables = [name for (name,) in connection.execute(query) if name != "prompts"]
        columns = {table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")] for table in tables}
    names = {name for each in columns.values() for name in each}
    return (
        *(f"ALTER TABLE {table} ADD COLUMN mood {KEPT}" for table in tables),
        "PRAGMA writable_schema = ON",  # two thousand ALTER TABLE would take minutes
        *(_add_columns(table, sorted(names - {"mood", *columns[table]})) for table in tables),
        "PRAGMA writable_schema = RESET",
    )


def _add_columns(table: str, names: list[str]) -> str:
    """Return a statement that adds columns beside `mood` to the definition of a table."""
    mood, added = (", ".join(f"{name} {KEPT}" for name in found).replace("'", "''") for found in (["mood"], ["mood", *names]))
    return f"UPDATE sqlite_schema SET sql = replace(sql, '{mood}', '{added}') WHERE type = 'table' AND name = '{table}'"


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine on a loop of its own."""
    return asyncio.run(coroutine)


async def made(ledger: Ledger, job: NewJob = JOB) -> int:
    """Bring a job of one task to `made` and return its picture's id."""
    [(_, [row])] = await ledger.add([job])
    await ledger.set_state(row, "submitted", task_id=f"task_{row}")
    [picture] = await ledger.record_result(row, [f"https://cdn/{row}"], expires_at=None, cost=Cost(), seconds=4.0, answer={})
    return picture


def becomes_newer(monkeypatch: pytest.MonkeyPatch, *statements: str, min_reader: int = schema.MIN_READER) -> None:
    """Make this process a newer version, whose format has one step more."""
    monkeypatch.setattr("imagegen_magic.engine.ledger.migration.MIGRATIONS", (*schema.MIGRATIONS, statements))
    monkeypatch.setattr("imagegen_magic.engine.ledger.migration.MIN_READER", min_reader)


def marks(home: Path) -> tuple[int, dict[str, str]]:
    """Return the format of a file: the `user_version`, which 0.1.0 reads, and the rows that later versions read."""
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        rows = dict(connection.execute("SELECT key, value FROM about WHERE key IN ('format', 'min_reader')").fetchall())
        return connection.execute("PRAGMA user_version").fetchone()[0], rows


def test_a_format_of_additions_records_who_can_use_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`min_reader` stays where it was, in a row and in the mark that version 0.1.0 compares with its own."""
    newer = len(schema.MIGRATIONS) + 1
    becomes_newer(monkeypatch, *LATER)
    with closing(Ledger(tmp_path)) as ledger:
        run(ledger.check())
    assert marks(tmp_path) == (schema.MIN_READER, {"format": str(newer), "min_reader": str(schema.MIN_READER)})


@pytest.mark.parametrize("statements", [LATER, COLUMNS, every_column_everywhere()], ids=["tables", "columns", "same names"])
def test_a_newer_format_of_additions_is_used_by_this_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statements: tuple[str, ...]
) -> None:
    """Nothing paid for becomes uncollectable: what waits is claimed and saved, new requests are recorded, all is found again."""
    becomes_newer(monkeypatch, *statements)
    with closing(Ledger(tmp_path)) as newer:
        waiting = run(made(newer))
    before = marks(tmp_path)
    monkeypatch.undo()
    with closing(Ledger(tmp_path)) as older:
        run(older.check())
        [task] = run(older.claim())
        assert (task.state, task.count, task.cost, task.job, task.task_id) == ("made", 1, Cost(), 1, "task_1")
        run(older.record_saved(waiting, **FILE))
        run(older.record_drift(waiting, 0.1, 0.2))
        run(older.record_saved(run(made(older)), **FILE))
        assert [(row.id, row.job, row.cost) for row in run(older.pictures())] == [(2, 2, Cost()), (1, 1, Cost())]
        assert [task.row for task in run(tasks_by_fingerprint(older, ["alike"]))["alike"]] == [2, 1]
    assert marks(tmp_path) == before


def test_what_a_newer_version_wrote_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that this version writes again keeps the columns that it does not know."""
    becomes_newer(monkeypatch, *every_column_everywhere())
    with closing(Ledger(tmp_path)) as newer:
        picture = run(made(newer))
        run(newer.record_drift(picture, 0.5, 0.5))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        for table in ("jobs", "tasks", "pictures", "drifts"):
            connection.execute(f"UPDATE {table} SET mood = 'blue'")
    monkeypatch.undo()
    with closing(Ledger(tmp_path)) as older:
        run(older.claim())
        run(older.record_saved(picture, **FILE))
        run(older.record_drift(picture, 0.1, 0.2))
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection:
        for table in ("jobs", "tasks", "pictures", "drifts"):
            assert connection.execute(f"SELECT mood FROM {table}").fetchall() == [("blue",)]
        assert connection.execute("SELECT share FROM drifts").fetchall() == [(0.1,)]


def test_several_programs_bring_a_ledger_up_to_date_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for the one that does it, and none does it twice."""
    home = released.unpack("0.1.0", tmp_path / "released").home
    becomes_newer(monkeypatch, *LATER, "INSERT INTO later (picture) SELECT id FROM pictures")
    start = threading.Barrier(6)

    def opened(number: int) -> int:
        with closing(Ledger(home)) as ledger:
            start.wait()
            run(ledger.check())
            return len(run(ledger.pictures(limit=None)))

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(opened, range(6)))) == 1
    assert marks(home) == (4, {"format": str(len(schema.MIGRATIONS) + 1), "min_reader": "4"})


def test_a_format_that_is_not_for_us_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its `min_reader` is above ours, nothing is touched, and the refusal has the command that updates this program."""
    needs = len(schema.MIGRATIONS) + 1
    becomes_newer(monkeypatch, "ALTER TABLE studies RENAME COLUMN fixed TO rest", min_reader=needs)
    with closing(Ledger(tmp_path)) as newer:
        run(newer.check())
    before = marks(tmp_path)
    assert before == (needs, {"format": str(needs), "min_reader": str(needs)})
    monkeypatch.undo()
    with closing(Ledger(tmp_path)) as older, pytest.raises(LedgerError, match=rf"newer imagegen_magic \(format {needs}") as caught:
        run(older.check())
    assert "pip install -U imagegen-magic" in caught.value.hint
    assert caught.value.charge == "no"
    assert marks(tmp_path) == before


def test_the_row_alone_is_enough_to_be_refused(tmp_path: Path) -> None:
    """`min_reader` counts also where the mark that 0.1.0 reads is lower."""
    with closing(Ledger(tmp_path)) as ledger:
        run(ledger.check())
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO about (key, value) VALUES ('format', '99'), ('min_reader', '98')")
    with closing(Ledger(tmp_path)) as ledger, pytest.raises(LedgerError, match=r"\(format 99"):
        run(ledger.check())


# what a newer version stored, within the columns that this one knows


MOOD = (
    "json_set(asked, '$.mood', 'blue', '$.strength', 0.5)",
    "json_set(resolved, '$.mood', 'blue', '$.size', json('{\"ratio\": \"1:1\"}'))",
)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> released.Released:
    """A user's folders, in whose ledger a newer version has stored options that this one does not know."""
    unpacked = released.unpack("0.1.0", tmp_path / "released")
    with closing(Ledger(unpacked.home)) as ledger:
        run(ledger.check())  # and with it of the newest format
    with closing(sqlite3.connect(unpacked.home / "ledger.sqlite")) as connection, connection:
        for statement in every_column_everywhere():
            connection.execute(statement)
        connection.execute(f"UPDATE jobs SET asked = {MOOD[0]}, resolved = {MOOD[1]}")
        connection.execute("UPDATE jobs SET price = json_set(price, '$.kind', 'counted', '$.currency_of', 'x')")
        connection.execute("UPDATE tasks SET cost = json_set(cost, '$.kind', 'counted', '$.more', 1) WHERE state = 'saved'")
        connection.execute("UPDATE members SET place = json_set(place, '$.mood', 'blue')")
        connection.execute("INSERT INTO budgets (per, unit, amount, set_at) VALUES ('week', 'USD', '900', '2026-01-01T00:00:00.000+00:00')")
    monkeypatch.setenv("IMAGEGEN_HOME", str(unpacked.home))
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    monkeypatch.chdir(unpacked.work)
    return unpacked


def asked(data: released.Released) -> set[str]:
    """Return what the ledger holds of every request's mood."""
    with closing(sqlite3.connect(data.home / "ledger.sqlite")) as connection:
        return {mood for (mood,) in connection.execute("SELECT json_extract(asked, '$.mood') FROM jobs")}


def test_options_of_a_newer_version_do_not_keep_a_picture_away(data: released.Released, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is collected, its sidecar has what was stored, and one line names what this version does not know."""
    released.days_later(monkeypatch, 30)
    job = api.resume()
    result = job.wait()
    assert (len(result), result.errors) == (5, ())
    assert job.note == (
        "A newer imagegen_magic stored mood, strength, which this version keeps and does not use. pip install -U imagegen-magic"
    )
    assert json.loads(result[0].path.with_suffix(".json").read_text())["asked"]["mood"] == "blue"
    assert asked(data) == {"blue"}


SHOWN = {  # subcommand -> what its output has
    "history": "fox",
    "show 1": "",
    "jobs": "nobody knows",
    "cost": "credits",
    "budget": "a week",
    "tree 1": "",
    "doctor": "complete and writable",
}


def test_history_and_recall_work_on_it(data: released.Released, capsys: pytest.CaptureFixture[str]) -> None:
    """Costs that are known in a way of a newer version count as estimated; its periods count since they were set."""
    with a_shell() as shell:
        for line, text in SHOWN.items():
            shell.run(f"%imagegen {line}")
            shown = "\n".join([*shell.shown("text/plain"), *shell.shown("text/html"), capsys.readouterr().out])
            assert text in shown, line
            assert shown.strip(), line


def test_recall_names_what_it_leaves_out(data: released.Released) -> None:
    """From the ledger and from the sidecar of another machine."""
    note = "Left out, because this version does not know it in this form: mood, strength (pip install -U imagegen-magic)."
    recalled = engine_loop.run(provenance.of_picture(api.ledger(), 1, data.work))
    assert (recalled.request.prompt, note in recalled.notes) == ("bare of apimart gpt-image-2-official", True)
    sidecar = next(data.work.glob("imagegen/*.json"))
    other = json.loads(sidecar.read_text())
    other["asked"] |= {"mood": "blue", "strength": 0.5}
    data.work.joinpath("other.json").write_text(json.dumps({**other, "sha256": "00"}))
    recalled = engine_loop.run(provenance.of_file(api.ledger(), data.work / "other.json", data.work))
    assert note in recalled.notes


def test_an_exported_copy_keeps_what_this_version_does_not_know(data: released.Released) -> None:
    """The copy has all that the sidecar has, and recalling it names what is left out."""
    [row] = engine_loop.run(api.ledger().pictures(ids=[2]))
    image = generated(row)
    sidecar = image.path.with_suffix(".json")
    notes = json.loads(sidecar.read_text())
    notes["asked"]["mood"] = "blue"
    sidecar.unlink()  # which is the same file in other tests
    sidecar.write_text(json.dumps(notes))
    folder = export([image], data.work / "copies")
    [copy] = folder.glob("pictures/*.png")
    origin = embed.read(copy.read_bytes())
    assert origin is not None
    assert origin.asked["mood"] == "blue"
    with closing(Ledger(data.home.parent / "another")) as another:
        recalled = engine_loop.run(provenance.of_file(another, copy, data.work))
    assert "Left out, because this version does not know it in this form: mood (pip install -U imagegen-magic)." in recalled.notes


def test_a_sweep_of_a_newer_version_is_shown(data: released.Released) -> None:
    """With its pictures, in the order of the axes that are known."""
    first = data.made["sweeps"][0]
    assert [image.id for image in load_sweep(first["study"])] == first["pictures"]


def test_a_sandbox_of_a_newer_version_is_read(tmp_path: Path) -> None:
    """Tasks that it kept with a further field are known to this one."""
    task = Task("t1", "evolink", "m", "p", "low", (64, 64), 1, "image/png", False, None, None, 1.0, 1.0)
    line = json.dumps({**json.loads(task.lines()), "mood": "blue"})
    tmp_path.joinpath(time.strftime("tasks-%Y-%m-%d.jsonl", time.gmtime())).write_text(line + "\n")
    store = TaskStore(tmp_path)
    store.refresh()
    assert store.get("t1") == task


def test_doctor_reports_a_newer_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One line, with the command that updates."""
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path))
    becomes_newer(monkeypatch, *LATER)
    run(api.ledger().check())
    engine_loop.stop()
    monkeypatch.undo()
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path))
    with a_shell() as shell:
        shell.run("%imagegen doctor")
        shown = "\n".join(shell.shown("text/plain"))
    assert "it has additions of a newer imagegen_magic, which this version keeps and does not show" in shown
    assert "pip install -U imagegen-magic" in shown


# 0.1.0 itself, in a process of its own, on the same ledger at the same time


OLD = """
    import asyncio, json, sys, warnings
    import imagegen_magic
    from imagegen_magic import generate, run
    from imagegen_magic.engine import generation
    warnings.simplefilter("ignore")

    async def many(prompt, number):
        made = await asyncio.gather(*(generate(f"{prompt} {each}", size="1:1", quality="low", sandbox=True) for each in range(number)))
        return sum(len(one) for one in made)

    def answer(command, *rest):
        if command == "draw":
            return run(many(rest[0], int(rest[1])))
        if command == "resume":
            return len(generation.resume().wait())
        if command == "reuse":
            return run(generate(rest[0], size="1:1", quality="low", sandbox=True, reuse=True))[0].reused
        return [row.asked["prompt"] for row in run(generation.ledger().pictures(limit=None))]

    assert "site-packages" not in imagegen_magic.__file__, imagegen_magic.__file__
    for line in sys.stdin:
        try:
            reply = answer(*json.loads(line))
        except Exception as error:
            reply = f"{type(error).__name__}: {error}"
        print(json.dumps(reply), flush=True)
"""


class Old:
    """A process of 0.1.0 that does what it is asked, with its ledger open all the time."""

    def __init__(self, package: Path, home: Path, folder: Path) -> None:
        folder.mkdir()
        self.process = released.python_of(package, f"import os\nos.chdir({str(folder)!r})\n" + textwrap.dedent(OLD), home=home)

    def begin(self, *command: object) -> None:
        """Give a command and go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def end(self) -> Any:
        """Return what came of the command."""
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def does(self, *command: object) -> Any:
        """Return what comes of a command."""
        self.begin(*command)
        return self.end()

    def close(self) -> None:
        """End the process in good order."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of 0.1.0."""
    return released.unpack_package("0.1.0", tmp_path_factory.mktemp("package"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of a ledger that two versions use."""
    monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path / "both"))
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    return tmp_path / "both"


@pytest.fixture
def old(package: Path, home: Path, tmp_path: Path) -> Iterator[Old]:
    """0.1.0 in a process of its own."""
    with closing(Old(package, home, tmp_path / "old")) as started:
        yield started


def draw(prompt: str, **more: Any) -> GeneratedImage:
    """Make a picture with this version, in the sandbox."""
    return engine_loop.run(generate(prompt, size="1:1", quality="low", sandbox=True, **more))[0]


def states(home: Path) -> dict[str, int]:
    """Return how many tasks are in each state."""
    with closing(sqlite3.connect(home / "ledger.sqlite")) as connection:
        return dict(connection.execute("SELECT state, count(*) FROM tasks GROUP BY state").fetchall())


def test_0_1_0_goes_on_while_a_newer_version_adds_tables(old: Old, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was there first and is writing when the newer one comes: each does all that it can, and sees what the other made."""
    becomes_newer(monkeypatch, *LATER)
    assert old.does("draw", "before", 1) == 1
    old.begin("draw", "meanwhile", 8)
    assert draw("ours").path.exists()
    assert old.end() == 8
    assert marks(home) == (4, {"format": str(len(schema.MIGRATIONS) + 1), "min_reader": "4"})
    assert old.does("draw", "after", 1) == 1
    assert old.does("reuse", "ours") is True
    assert draw("after 0", reuse=True).reused
    assert len(old.does("history")) == len(engine_loop.run(api.ledger().pictures(limit=None))) == 11
    assert old.does("resume") == 0
    assert states(home) == {"saved": 11}


def test_0_1_0_comes_to_a_newer_ledger(old: Old, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer one was there first: 0.1.0 uses the same file beside it, as there are additions alone."""
    becomes_newer(monkeypatch, *LATER)
    assert draw("ours").path.exists()
    old.begin("draw", "theirs", 4)
    assert draw("ours, too").path.exists()
    assert old.end() == 4
    assert old.does("reuse", "ours") is True
    assert draw("theirs 3", reuse=True).reused
    assert marks(home)[0] == 4
    assert states(home) == {"saved": 6}


def test_each_collects_what_the_other_left(old: Old, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task that one submitted and left comes home with the other, once."""
    becomes_newer(monkeypatch, *LATER)
    with pytest.raises(TaskTimeout):
        draw("left by us [[fault: expired]]", timeout=0.01)
    assert old.does("resume") == 1
    assert api.ledger().count_resumable() == 0
    assert states(home) == {"saved": 1}


def test_0_1_0_loses_nothing_where_a_newer_version_adds_columns(
    old: Old, package: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot read such a file: what it was working on is saved, and when it opens the file again it names the update."""
    assert old.does("draw", "before", 1) == 1
    becomes_newer(monkeypatch, *COLUMNS, min_reader=5)
    old.begin("draw", "meanwhile", 8)
    assert draw("ours").path.exists()
    assert old.end() == 8
    assert old.does("draw", "after", 1) == 1
    assert states(home) == {"saved": 11}
    assert len(engine_loop.run(api.ledger().pictures(limit=None))) == 11
    with closing(Old(package, home, tmp_path / "another")) as another:
        reply = another.does("history")
    assert reply.startswith("LedgerError: ")
    assert "was written by a newer imagegen_magic (format 5; this one knows 4)" in reply  # 0.1.0 reads the oldest format that can read it
    assert "pip install -U imagegen_magic" in reply
