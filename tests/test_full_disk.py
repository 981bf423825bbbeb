"""A disk that is full in earnest, with the ledger on it: nothing paid for is lost, nothing is paid twice, and no message leads to it."""

import json
import sqlite3
from contextlib import closing

import pytest
from full_disks import full_disk
from ledgers import a_png
from waiting import until
from webserver import evolink_gateway

from imagegen_magic import generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger import database
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import images
from imagegen_magic.errors import APIError, LedgerError, SaveError, SubmissionUnknown

pytestmark = pytest.mark.slow

ONE = {"provider": "evolink", "size": "1024x1024"}
PNG = a_png(size=(1024, 1024))


@pytest.fixture(params=["limited", "small"])
def disk(request, tmp_path, monkeypatch):
    """A disk that holds the ledger and the pictures, and can be filled."""
    with full_disk(request.param, tmp_path / "disk") as made:
        monkeypatch.setenv("IMAGEGEN_HOME", str(made.folder / "home"))
        monkeypatch.setenv("IMAGEGEN_SAVE_DIR", str(made.folder / "pictures"))
        monkeypatch.setattr(database, "_RETRY_AFTER", 0.3)
        loop.run(api.ledger(load()).check())
        yield made
        made.make_room()
        loop.stop()


class Endpoint:
    """EvoLink's dialect; `at` is the step (submit, poll, download) before which something happens."""

    def __init__(self):
        self.at, self.refusal, self.origin = {}, None, ""
        self.submissions = self.downloads = 0

    def __call__(self, seen):
        """Answer a request."""
        step = "submit" if seen.path.startswith("/v1/images") else "download" if seen.path.endswith(".png") else "poll"
        self.submissions += step == "submit"
        self.downloads += step == "download"
        self.at.get(step, lambda: None)()
        if step == "submit":
            return self.refusal or (200, {}, b'{"id": "task-1", "status": "pending"}')
        if step == "download":
            return 200, {}, PNG
        return 200, {}, json.dumps({"data": [{"id": "task-1", "status": "completed", "results": [f"{self.origin}/p.png"]}]}).encode()


@pytest.fixture
def gateway(monkeypatch):
    """The far end of the wire."""
    with evolink_gateway(Endpoint(), monkeypatch) as answers:
        yield answers


def _row():
    (task,) = loop.run(api.ledger(load()).tasks())
    return task


def _until(state):
    """Wait until the ledger's file has the state, or (state, owned)."""
    with closing(sqlite3.connect(load().home / "ledger.sqlite")) as connection:

        def reached():
            found = connection.execute("SELECT state, owner IS NOT NULL FROM tasks").fetchone()
            return state in (found, found[0])

        until(reached)


def _collected(gateway):
    """Resume in this process: the complete picture is on the disk, and was paid for once."""
    assert api.ledger(load()).count_resumable() == 1
    (image,) = api.resume().wait()
    assert image.data == PNG
    assert (_row().state, gateway.submissions) == ("saved", 1)
    assert api.ledger(load()).count_resumable() == 0


def _leads_to_no_second_payment(error):
    message = str(error)
    assert "run the cell again" not in message.lower()
    assert isinstance(error, SaveError) or "Make room" in message
    assert "%imagegen resume" in message
    assert error.charge == "yes"


def test_a_picture_that_does_not_fit_is_collected_by_the_same_process(disk, gateway):
    """Not even that we stopped waiting could be written."""
    gateway.at["download"] = disk.fill
    with pytest.raises(SaveError) as error:
        run(generate("fox", **ONE))
    _leads_to_no_second_payment(error.value)
    gateway.at.clear()
    disk.make_room()
    _collected(gateway)


def test_the_ledger_retries_deferred_writes_by_itself(disk, gateway):
    """As soon as there is room it writes by itself that another process may collect the picture."""
    gateway.at["download"] = disk.fill
    with pytest.raises(SaveError):
        run(generate("fox", **ONE))
    assert (_row().state, _row().owner is None) == ("made", False)
    gateway.at.clear()
    disk.make_room()
    _until(("made", 0))
    with closing(Ledger(load().home)) as another:
        assert [task.task_id for task in loop.run(another.claim())] == ["task-1"]


def test_an_acceptance_that_cannot_be_written_is_not_forgotten(disk, gateway):
    """The id is in the error, and in the ledger once there is room; then the picture is collected."""
    gateway.at["submit"] = disk.fill
    with pytest.raises(LedgerError, match="id of this task is task-1") as error:
        run(generate("fox", **ONE))
    _leads_to_no_second_payment(error.value)
    assert _row().state == "submitting"
    disk.make_room()
    _until(("submitted", 0))
    assert _row().task_id == "task-1"
    gateway.at.clear()
    _collected(gateway)


def test_resume_itself_writes_what_could_not_be_written(disk, gateway):
    """Asked for right after making room, before the ledger has tried again by itself."""
    gateway.at["submit"] = disk.fill
    with pytest.raises(LedgerError):
        run(generate("fox", **ONE))
    gateway.at.clear()
    disk.make_room()
    (image,) = api.resume().wait()
    assert (image.data, gateway.submissions) == (PNG, 1)


def test_resume_on_a_disk_that_is_still_full_is_refused_and_loses_nothing(disk, gateway):
    """It submits nothing, so nothing is charged by it; and again later it works."""
    gateway.at["submit"] = disk.fill
    with pytest.raises(LedgerError):
        run(generate("fox", **ONE))
    with pytest.raises(LedgerError, match="Make room") as error:
        api.resume()
    assert error.value.charge == "no"
    gateway.at.clear()
    disk.make_room()
    assert len(api.resume().wait()) == 1


def test_an_answer_that_leaves_it_open_stays_an_open_question(disk, gateway):
    """The error is that it is unknown whether it was accepted, not that the ledger could not be written."""
    gateway.at["submit"], gateway.refusal = disk.fill, (500, {}, b"oops")
    with pytest.raises(SubmissionUnknown, match="may have been charged"):
        run(generate("fox", **ONE))
    disk.make_room()
    _until("unknown")
    assert gateway.submissions == 1


def test_a_refusal_stays_a_refusal(disk, gateway):
    """Nothing was accepted and nothing charged, whatever the ledger could write; afterwards the ledger has it too."""
    gateway.at["submit"], gateway.refusal = disk.fill, (400, {}, b'{"error": {"message": "not today"}}')
    with pytest.raises(APIError, match="not today") as error:
        run(generate("fox", **ONE))
    assert error.value.charge == "no"
    disk.make_room()
    _until("failed")


def test_what_was_certainly_not_accepted_is_neither_in_doubt_nor_under_way(disk, gateway):
    """A gateway that asks to wait, and no room to write that we do: given up, reported as not charged, and free to be sent again."""
    gateway.at["submit"], gateway.refusal = disk.fill, (429, {"Retry-After": "0"}, b"{}")
    with pytest.raises(LedgerError, match="Nothing was charged"):
        run(generate("fox", **ONE))
    gateway.at.clear()
    gateway.refusal = None
    disk.make_room()
    _until("dropped")
    assert len(run(generate("fox", **ONE, reuse=True))) == 1


def test_a_picture_that_only_the_ledger_does_not_know_of_is_shown(disk, gateway, monkeypatch):
    """It is on the disk, so it is returned, with what is wrong beside it; the ledger learns of it, and nothing is fetched again."""
    save = images.save

    def save_the_last(*given, **more):
        saved = save(*given, **more)
        disk.fill()
        return saved

    monkeypatch.setattr(images, "save", save_the_last)
    with pytest.warns(UserWarning, match="Make room"):
        made = run(generate("fox", **ONE))
    assert made[0].data == PNG
    (error,) = made.errors
    assert isinstance(error, LedgerError)
    _leads_to_no_second_payment(error)
    disk.make_room()
    _until("saved")
    assert api.ledger(load()).count_resumable() == 0
    assert (gateway.submissions, gateway.downloads) == (1, 1)
