"""What 0.1.0 left behind works with this version: every request is found again without paying, and nothing of its ledger is lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import released
from released import GATEWAYS, Released, request_of
from shells import Shell, a_shell
from webserver import Web, web

from imagegen_magic import run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.builder import fingerprint
from imagegen_magic.engine.ledger import annotations as marks
from imagegen_magic.engine.ledger.reuse import latest_row
from imagegen_magic.engine.ledger.votes import votes_between
from imagegen_magic.engine.settings import Settings
from imagegen_magic.engine.settings import load as load_settings
from imagegen_magic.studies import ranking
from imagegen_magic.studies.history import spending
from imagegen_magic.studies.sweeps.load import load as load_sweep
from imagegen_magic.studies.sweeps.plan import sweep

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]


@pytest.fixture(scope="module")
def network() -> Iterator[Web]:
    """The only way out, which counts who takes it."""
    with web(lambda request: (502, {}, b"")) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path, network: Web, monkeypatch: pytest.MonkeyPatch) -> Iterator[Released]:
    """A user's folders as 0.1.0 left them; whatever happens, no gateway is asked for anything."""
    unpacked = released.unpack("0.1.0", tmp_path / "released")
    monkeypatch.setenv("IMAGEGEN_HOME", str(unpacked.home))
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")
    for name in GATEWAYS:
        monkeypatch.setenv(f"{name.upper()}_API_KEY", "a-key-of-the-tests")
    for scheme in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(scheme, network.origin)
    monkeypatch.chdir(unpacked.work)
    network.seen.clear()
    accepted = unpacked.sandbox_tasks()
    assert accepted
    yield unpacked
    assert network.seen == []
    assert unpacked.sandbox_tasks() == accepted


@pytest.fixture
def shell(data: Released) -> Iterator[Shell]:
    """A shell of that user."""
    with a_shell() as opened:
        yield opened


def settings(spec: dict[str, Any], **given: Any) -> Settings:
    """Return the settings of a call."""
    return load_settings().replace("this call", sandbox=spec.get("sandbox", False), **given)


def wish_of(spec: dict[str, Any]) -> Any:
    """Return what would be sent for a stored request."""
    return api.prepare(request_of(spec), settings(spec), spec["provider"])


def test_fingerprints_do_not_move(data: Released) -> None:
    """What `--reuse` compares is for every stored request what it was, down to each call."""
    moved = []
    for each in data.made["requests"]:
        wish = wish_of(each["request"])
        if [fingerprint(wish, call) for call in wish.plan.calls] != each["fingerprints"]:
            moved.append({"request": each["request"], "was": each["calls"], "is": [dict(call.json or {}) for call in wish.plan.calls]})
    assert moved == []


def test_every_request_is_found_again(data: Released) -> None:
    """All of them as one job: each picture is given again, nothing is sent, and nothing is spent."""
    book = api.ledger()
    newest = run(latest_row(book))
    wishes = [wish_of(each["request"]) for each in data.made["requests"]]
    result = api.start_batch(wishes, settings({}, reuse=True)).wait()
    known = sorted(number for each in data.made["requests"] for number in each["pictures"])
    assert sorted(image.id for image in result) == known
    assert [image.id for image in result if not image.reused] == []
    assert all(image.path.is_relative_to(data.work) for image in result)
    assert (str(result.cost), result.errors) == ("nothing spent", ())
    assert run(latest_row(book)) == newest


def test_sweeps_are_found_again(data: Released) -> None:
    """Under the same number where the record is one run's alone; `load` shows each with its pictures."""
    for stored in data.made["sweeps"]:
        given = {name: value for name, value in stored.items() if name not in ("study", "pictures", "places")}
        again = run(sweep(given.pop("prompt"), given.pop("axes"), reuse=True, **given))
        assert sorted(image.id for image in again) == sorted(stored["pictures"])
        assert all(image.reused for image in again)
        assert [dict(place) for place in again.places] == stored["places"]
        assert sorted(image.id for image in load_sweep(again.study)) == sorted(stored["pictures"])
        assert (again.study == stored["study"]) == (stored["prompt"] != "A fox for both")


@pytest.mark.parametrize(("days", "found"), [(1, {"nobody knows [[fault: drop-after-accept]]"}), (30, set())])
def test_what_waits_is_collected(data: Released, days: int, found: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Submitted and not collected, made and not fetched: five pictures come home, and nothing is submitted.

    For three days the gateway's own list also has the task of a submission without an answer.
    """
    released.days_later(monkeypatch, days)
    assert api.ledger().count_resumable() == 5
    result = api.resume(settings({})).wait()
    assert (len(result), result.errors) == (5 + len(found), ())
    assert {image.request.prompt for image in result} == {"submitted and left", "submitted and left, two", "made and left", *found}
    assert all(image.path.parent == data.work / "imagegen" for image in result)
    assert api.ledger().count_resumable() == 0


def test_what_became_of_the_others_is_known(data: Released) -> None:
    """Every state is there as it was."""
    rows = {task.row: task.state for task in run(api.ledger().tasks()) if task.state != "saved"}
    assert rows == {row: state for state, rows in data.made["states"].items() for row in rows}


SPENT = [  # as 0.1.0 counted it
    ("gccai", "USD", False, "2.31311", "0", 0, 216, 243),
    ("apimart", "USD", False, "0.74320", "0", 0, 110, 119),
    ("evolink", "credits", False, "0", "505.59", 0, 105, 126),
    ("evolink", "", False, "0", "0", 2, 2, 0),
    ("xingchao", "", False, "0", "0", 105, 105, 105),
    ("gccai", "USD", True, "0.25956", "0", 0, 10, 11),
    ("apimart", "USD", True, "0.01986", "0", 0, 4, 5),
    ("evolink", "credits", True, "0", "16.22", 0, 6, 7),
    ("evolink", "", True, "0", "0", 2, 2, 0),
    ("gccai", "", True, "0", "0", 3, 3, 5),
    ("xingchao", "", True, "0", "0", 5, 5, 5),
]


def test_what_was_spent_is_what_it_was(data: Released) -> None:
    """Also if it is read from the sentence in which 0.1.0 stored an error."""
    rows = run(spending.spent(api.ledger(), by="provider"))
    stored = [(row.key, row.unit, row.sandbox, str(row.measured), str(row.reserved), row.unknown, row.tasks, row.pictures) for row in rows]
    assert sorted(stored) == sorted(SPENT)


def test_marks_votes_and_budgets_are_there(data: Released) -> None:
    """Stars, tags, notes, the ranking, and what may be spent."""
    from imagegen_magic.engine.ledger import budget

    book = api.ledger()
    found = run(marks.annotations_of(book, [1, 2, 3]))
    assert (found[1].stars, set(found[1].tags), found[2].stars, found[2].note) == (5, {"fox", "雪"}, 3, "the better one; größer")
    voted = next(stored for stored in data.made["sweeps"] if stored["prompt"] == "A fox to vote on")
    assert len(run(votes_between(book, voted["pictures"]))) == 3
    best = run(ranking.rank(load_sweep(voted["study"]))).pictures[0].picture
    assert best == voted["pictures"][2]
    assert {(str(one.budget.amount), one.budget.unit, one.budget.per) for one in run(budget.budget_statuses(book))} == {
        ("1000", "USD", "month"),
        ("500", "credits", "all"),
    }


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("history 星空", "星空下的古堡"),
        ("history --stars 5", "#fox"),
        ("show 1", ""),
        ("jobs", "nobody knows"),
        ("tree 1", ""),
        ("cost", "credits"),
        ("cost --by provider", "apimart"),
        ("budget", "1000"),
        ("compare 1 2", ""),
        ("export out 1 2", ""),
        ("doctor", "complete and writable"),
    ],
)
def test_commands_work_on_it(shell: Shell, capsys: pytest.CaptureFixture[str], line: str, words: str) -> None:
    """Looking back says what 0.1.0 wrote."""
    shell.run(f"%imagegen {line}")
    given = "\n".join([*shell.shown("text/plain"), *shell.shown("text/html"), capsys.readouterr().out])
    assert given.strip()
    assert words in given


@pytest.mark.parametrize("name", ["1", "exported/pictures/2-*.png", "imagegen/*.json"])
def test_recall_writes_the_cell_again(shell: Shell, data: Released, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """From a number of the ledger, from an exported copy, and from a sidecar; the latter two also where the ledger is another's."""
    from imagegen_magic.engine.ledger.ledger import Ledger
    from imagegen_magic.studies.history import provenance

    file = name if name.isdigit() else str(sorted(data.work.glob(name))[0])
    shell.run(f"%imagegen recall {file}")
    given = capsys.readouterr().out
    assert given.startswith("%%imagegen ")
    assert name.endswith("json") or "\nbare of apimart gpt-image-2-official" in given
    with closing(Ledger(data.home.parent / "empty")) as other:  # who has the files alone
        if not name.isdigit():
            stored = run(provenance.of_file(other, Path(file), data.work))
            assert (stored.provider in GATEWAYS, bool(stored.request.prompt)) == (True, True)


def test_the_notebook_opens(shell: Shell, data: Released) -> None:
    """Its outputs are pictures, and making them small again changes nothing else."""
    file = data.work / "notebook.ipynb"
    before = json.loads(file.read_text())
    shell.run("%imagegen slim notebook.ipynb")
    after = json.loads(file.read_text())
    assert [cell["source"] for cell in before["cells"]] == [cell["source"] for cell in after["cells"]]
    assert any("image/png" in output.get("data", {}) for cell in after["cells"] for output in cell["outputs"]) or any(
        "image/jpeg" in output.get("data", {}) for cell in after["cells"] for output in cell["outputs"]
    )


def test_the_ledger_is_still_one_that_0_1_0_reads(data: Released) -> None:
    """Opened by this version it keeps the mark that 0.1.0 compares, as long as there are additions alone."""
    run(api.ledger().check())
    loop.stop()
    with closing(sqlite3.connect(data.home / "ledger.sqlite")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 4
