"""Bytes that were paid for are kept: files that are no readable image go to a folder of their own, and are reported."""

import contextlib
import hashlib
import itertools
import json
import os
import re
import signal
import struct
from pathlib import Path

import pytest
from filehost import PAGE, PNG, STRANGE, chunk, file_host
from forks import in_a_fork
from ledgers import a_png
from shells import a_shell

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs import fetch
from imagegen_magic.engine.ledger import budget
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import parts
from imagegen_magic.engine.storage.unreadable import is_answer, suffix_of
from imagegen_magic.errors import DownloadError, ImageInvalid, SaveError, UnsupportedOption
from imagegen_magic.studies.history import spending

pytestmark = pytest.mark.slow

UNREADABLE = Path("imagegen/unreadable")


@pytest.fixture
def host(monkeypatch):
    """A gateway whose files are the test's."""
    with file_host(monkeypatch) as running:
        yield running


def make(prompt="a red fox", **options):
    """Ask for a picture and wait for it."""
    return run(generate(prompt, **{"provider": "apimart", "size": "1:1", **options}))


def refused(prompt="a red fox", **options):
    """Ask for a picture that cannot be read; returns the error."""
    with pytest.raises(ImageInvalid) as caught:
        make(prompt, **options)
    return caught.value


def tasks():
    """Return the ledger's tasks, oldest first."""
    return loop.run(api.ledger(load()).tasks())[::-1]


def waiting():
    """Return how many pictures wait to be collected."""
    return api.ledger(load()).count_resumable()


def kept(suffix="*"):
    """Return the files that are kept unread, by name."""
    return sorted(path for path in UNREADABLE.glob(f"*.{suffix}") if path.suffix != ".json")


def note(path):
    """Return the content of a file's sidecar."""
    return json.loads(path.with_suffix(".json").read_text())


# --- what certainly is the gateway's


def test_a_file_that_cannot_be_read_is_kept_reported_and_settled(host):
    """Its bytes are on the disk with the reason beside them, one line names the file, and nothing waits."""
    host.file = lambda number, path: STRANGE
    error = refused()
    (path,) = kept()
    assert path.read_bytes() == STRANGE
    assert (str(path.absolute()) in str(error), error.charge, "\n" in str(error)) == (True, "yes", False)
    assert (tasks()[0].state, waiting()) == ("saved", 0)
    assert str(path.absolute()) in tasks()[0].error
    assert api.resume(load()).expecting == 0
    assert (host.submissions, host.downloads) == (1, 2)  # twice the same bytes are the gateway's own


def test_its_sidecar_has_what_is_known_and_no_address(host):
    """Reason, task, number, gateway, content; the address may be signed, so it stays in the ledger."""
    host.file = lambda number, path: (200, {"Content-Type": "image/x-odd"}, STRANGE)
    refused()
    (path,) = kept("odd")
    notes = note(path)
    found = [notes[name] for name in ("task_id", "number", "gateway", "sha256", "size", "settled", "content_type")]
    assert found == ["task-1", 1, "apimart", hashlib.sha256(STRANGE).hexdigest(), len(STRANGE), True, "image/x-odd"]
    assert "is not a" in notes["reason"]
    assert host.server.origin not in path.with_suffix(".json").read_text()


@pytest.mark.parametrize("defect", [RuntimeError("no"), RecursionError(), MemoryError(), struct.error("x"), AssertionError()])
def test_whatever_a_decoder_raises_the_bytes_are_kept(defect, host, monkeypatch):
    """Decoders may raise anything for untrusted bytes."""

    def fail(data, **_):
        raise defect

    monkeypatch.setattr("imagegen_magic.imaging.verify.verify", fail)
    assert type(defect).__name__ in str(refused())
    assert [path.read_bytes() for path in kept()] == [PNG]
    assert waiting() == 0


def test_more_pixels_than_are_decoded_are_kept(host):
    """A PNG that claims too many: nothing of it is decoded."""
    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    bomb = PNG[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    host.file = lambda number, path: bomb
    assert "megapixels" in str(refused())
    assert [path.read_bytes() for path in kept("png")] == [bomb]


def test_more_bytes_than_are_read_are_kept_without_decoding_them(host, monkeypatch):
    """From the socket to the disk; the announced length, too, is no reason to let it lie."""
    _small_limits(monkeypatch)
    host.file = lambda number, path: STRANGE * 3
    error = refused()
    assert "more than the" in str(error)
    assert [path.read_bytes() for path in kept()] == [STRANGE * 3]
    assert (waiting(), host.downloads) == (0, 2)  # the second time with a place among the large ones


def test_without_a_length_more_bytes_than_are_read_are_kept(host, monkeypatch):
    """It grows too large while it comes."""
    _small_limits(monkeypatch)
    data = STRANGE * 3
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (data[at : at + 5000] for at in range(0, len(data), 5000)))
    host.file = lambda number, path: (200, {"Transfer-Encoding": "chunked"}, pieces + b"0\r\n\r\n")
    refused()
    assert [path.read_bytes() for path in kept()] == [data]


def _small_limits(monkeypatch):
    for module in ("imagegen_magic.engine.jobs.fetch", "imagegen_magic.engine.jobs.download"):
        monkeypatch.setattr(f"{module}.MAX_BYTES", len(STRANGE) * 2)
    monkeypatch.setattr(fetch, "LARGEST", len(STRANGE) * 4)
    monkeypatch.setattr(fetch, "_PIECE", 4096)


@pytest.mark.parametrize("declared", [True, False])
def test_above_the_largest_nothing_is_kept_and_the_task_stays(declared, host, monkeypatch):
    """One line; nothing half on the disk; forget gives it up."""
    _small_limits(monkeypatch)
    data = STRANGE * 5
    chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
    host.file = lambda number, path: data if declared else (200, {"Transfer-Encoding": "chunked"}, chunked)
    assert "forget" in str(refused())
    assert list(Path("imagegen").rglob("*")) == []
    assert waiting() == 1


def test_a_disk_with_too_little_room_is_reported_before_anything_is_written(host, monkeypatch):
    """What is too large to be a picture leaves some of the disk free; the task stays collectable, nothing half stays."""
    _small_limits(monkeypatch)
    real = parts.shutil.disk_usage

    def little(path):
        return real(path)._replace(free=len(STRANGE) * 3 + 100)

    monkeypatch.setattr(parts.shutil, "disk_usage", little)
    host.file = lambda number, path: STRANGE * 3
    with pytest.raises(SaveError, match="free") as caught:
        make()
    assert (caught.value.charge, list(Path("imagegen").rglob("*")), waiting()) == ("yes", [], 1)
    monkeypatch.setattr(fetch, "SPARE", 50)
    with pytest.raises(ImageInvalid):
        api.resume(load()).wait()
    assert [path.read_bytes() for path in kept()] == [STRANGE * 3]


def test_a_disk_that_fills_while_it_is_written_leaves_nothing_half(host, monkeypatch):
    """One line, collectable, no rubbish; with room it comes."""
    monkeypatch.setattr(fetch, "_PIECE", 4096)
    real, written = os.write, []

    def write(descriptor, data):
        written.append(len(data))
        if sum(written) > 9000:
            raise OSError(28, "No space left on device")
        return real(descriptor, data)

    host.file = lambda number, path: STRANGE
    with monkeypatch.context() as full:
        full.setattr(parts.os, "write", write)
        with pytest.raises(SaveError, match="No space left"):
            make()
    assert list(Path("imagegen").rglob("*")) == []
    assert waiting() == 1


# --- what may be damage, and what is no file at all


def test_a_damaged_transfer_is_fetched_again(host):
    """The second copy is the image: it is saved, and the damaged one is removed."""
    host.file = lambda number, path: PNG[:-40] + bytes(40) if number == 1 else PNG
    assert make()[0].data == PNG
    assert kept() == []
    assert list(UNREADABLE.glob("*")) == []


def test_two_different_copies_settle_nothing_and_a_repeated_one_does(host):
    """It is unknown which is the gateway's until one comes again; the others are removed then."""
    host.file = lambda number, path: STRANGE + bytes([number])
    assert "kept as" in str(refused())
    assert len(kept()) == 3
    assert (tasks()[0].state, waiting()) == ("made", 1)
    host.file = lambda number, path: STRANGE + bytes([3])
    with pytest.raises(ImageInvalid):
        api.resume(load()).wait()
    assert [path.read_bytes() for path in kept()] == [STRANGE + bytes([3])]
    assert waiting() == 0


def test_copies_that_always_differ_do_not_fill_the_disk(host):
    """The latest few stay."""
    host.file = lambda number, path: STRANGE + number.to_bytes(4, "big")
    refused()
    for _ in range(3):
        with pytest.raises(ImageInvalid):
            api.resume(load()).wait()
    assert len(kept()) <= 3
    assert waiting() == 1


def test_a_second_copy_that_does_not_come_loses_nothing_of_the_first(host):
    """The first is on the disk and named; the task stays collectable."""
    host.file = lambda number, path: STRANGE if number == 1 else (404, {}, b"")
    error = refused()
    assert [str(path.absolute()) in str(error) for path in kept()] == [True]
    assert waiting() == 1


@pytest.mark.parametrize("body", [PAGE, b'{"error": "expired"}', b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", b"no"])
def test_a_page_instead_of_an_image_is_kept_but_is_not_the_image(body, host):
    """The address was requested again first; the task stays resumable, and the next resume fetches the image."""
    host.renews = True
    host.file = lambda number, path: body
    error = refused()
    (path,) = kept("txt")
    assert (path.read_bytes(), str(path.absolute()) in str(error), error.charge) == (body, True, "yes")
    assert "%imagegen resume" in str(error)
    assert "%imagegen forget 1" in str(error)
    assert (tasks()[0].state, waiting()) == ("made", 1)
    host.file = lambda number, path: PNG
    (image,) = api.resume(load()).wait()
    assert image.data == PNG
    assert list(UNREADABLE.glob("*")) == []
    assert host.submissions == 1


def test_an_expired_address_that_answers_with_a_page_is_renewed(host):
    """HTTP 200 and a page means the same as a 403."""
    host.renews = True
    host.file = lambda number, path: PAGE if number == 1 else PNG if path.endswith("look=2") else (410, {}, b"")
    assert make()[0].data == PNG
    assert not UNREADABLE.exists()


def test_pages_that_always_differ_are_one_file(host):
    """The latest is kept."""
    host.file = lambda number, path: PAGE + b"<!-- request %d -->" % number
    refused()
    with pytest.raises(ImageInvalid):
        api.resume(load()).wait()
    assert len(kept()) == 1


def test_an_empty_answer_leaves_no_file(host):
    """Nothing came, so nothing is kept; it stays collectable."""
    host.file = lambda number, path: b""
    assert "empty" in str(refused())
    assert kept() == []
    assert waiting() == 1


@pytest.mark.parametrize(
    ("head", "content_type", "answer", "suffix"),
    [
        (b"", "", True, ".txt"),
        (b"  \n", "image/png", True, ".txt"),
        (PAGE, "image/png", True, ".txt"),
        (b'{"a": 1}', "application/json", True, ".txt"),
        ("一座城堡".encode(), "", True, ".txt"),
        (("一" * 1366).encode()[:4096], "", True, ".txt"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "", False, ".svg"),
        (b"<?xml version='1.0'?>\n<SVG >", "", False, ".svg"),
        (STRANGE, "application/x-sh", False, ".bin"),
        (STRANGE, "image/../../x", False, ".bin"),
        (STRANGE, "image/x-odd; a=b", False, ".odd"),
        (PNG[:4096], "text/html", False, ".png"),
        (b"\0\0\0\x20ftypheic\0\0\0\0", "", False, ".heic"),
        (b"\0\0\0\x20ftypisom\0\0\0\0", "", False, ".mp4"),
        (b"MZ\x90\0", "application/octet-stream", False, ".bin"),
        (b"RIFF\0\0\0\0WEBP", "", False, ".webp"),
    ],
)
def test_words_differ_from_files_and_suffixes_are_harmless(head, content_type, answer, suffix):
    """Words are never settled as a picture; a suffix is one that no desktop runs."""
    assert (is_answer(head), suffix_of(head, content_type)) == (answer, suffix)


# --- several of them, and beside pictures


def test_a_task_with_one_that_cannot_be_read_keeps_the_others(host):
    """Two pictures are shown, the third is named; it is all settled, and its cost is counted."""
    host.pictures = 3
    host.file = lambda number, path: STRANGE if path.endswith("/1.png") else PNG + bytes([int(path[-5])])
    with pytest.warns(UserWarning, match="2 of 3 pictures"):
        made = make(n=3)
    (error,) = made.errors
    assert [str(path.absolute()) in str(error) for path in kept()] == [True]
    assert (tasks()[0].state, waiting(), len(made)) == ("saved", 0, 2)


def test_a_resume_that_meets_several_names_each(host):
    """In the cell's output, one line each, though no picture came."""
    host.file = lambda number, path: (503, {}, b"")
    for prompt in ("fox", "owl", "cat"):
        with pytest.raises(DownloadError):
            make(prompt)
    host.file = lambda number, path: STRANGE + path.encode()
    with a_shell() as shell:
        with pytest.raises(ImageInvalid) as caught:
            shell.run("%imagegen resume")
        shown = "\n".join(shell.shown())
    assert len(kept()) == 3
    assert [path.name for path in kept() if str(path.absolute()) not in shown + str(caught.value)] == []
    assert waiting() == 0


def test_several_of_one_task_are_named_in_one_line(host):
    """Each with its file."""
    host.pictures = 2
    host.file = lambda number, path: STRANGE + path.encode()
    error = refused(n=2)
    assert [str(path.absolute()) in str(error) for path in kept()] == [True, True]
    assert all(str(path.absolute()) in tasks()[0].error for path in kept())


def test_a_task_that_an_earlier_version_could_not_finish_is_collected(host):
    """A row of 0.1.0, refused at every resume: one more resume keeps its file, and it is no longer pending."""
    host.file = lambda number, path: (503, {}, b"")
    with pytest.raises(DownloadError):
        make()
    book = api.ledger(load())
    stuck = "The PNG picture is corrupt or cut short (x). Service error; it was charged. %imagegen resume fetches it again."
    loop.run(book.run(lambda connection: connection.execute("UPDATE tasks SET note = ?, error = ?", (stuck, stuck)).rowcount))
    host.file = lambda number, path: STRANGE
    with pytest.raises(ImageInvalid):
        api.resume(load()).wait()
    assert (len(kept()), waiting(), api.resume(load()).expecting) == (1, 0, 0)


def test_it_is_paid_and_counted(host, monkeypatch):
    """By what was spent, and by a budget; it is in no history, for it is no picture."""
    monkeypatch.setattr("imagegen_magic.providers.gateways.apimart.APIMart.cost", lambda self, task: _dollars("0.25"))
    host.file = lambda number, path: STRANGE
    refused()
    book = api.ledger(load())
    loop.run(budget.set_budget(book, _dollars("1").amount))
    (row,) = loop.run(spending.spent(book))
    assert (str(row.amount), row.unknown, row.tasks) == ("0.25", 0, 1)
    loop.run(book.run(lambda connection: connection.execute("UPDATE budgets SET set_at = '2000-01-01T00:00:00+00:00'").rowcount))
    (standing,) = loop.run(budget.budget_statuses(book))
    assert str(standing.spent) == "0.25"
    assert loop.run(book.pictures()) == []


def _dollars(amount):
    from decimal import Decimal

    from imagegen_magic.result import Cost

    return Cost(Decimal(amount), "USD", "measured")


def test_reuse_does_not_pay_again_for_it(host):
    """The same request again: the message has the path, and the option to send it again."""
    host.file = lambda number, path: STRANGE
    refused()
    error = refused(reuse=True)
    assert "was not sent again" in str(error)
    assert "%imagegen forget 1" in str(error)
    with a_shell() as shell:
        shell.run("%imagegen forget 1")
    host.file = lambda number, path: PNG
    assert make(reuse=True)[0].data == PNG
    assert host.submissions == 2


def test_reuse_of_a_task_that_came_in_part_shows_its_pictures(host):
    """And names the file that is none."""
    host.pictures = 2
    host.file = lambda number, path: STRANGE if path.endswith("/0.png") else PNG
    with pytest.warns(UserWarning, match="1 of 2 pictures"):
        make(n=2)
    with pytest.warns(UserWarning, match="cannot be read"):
        again = make(n=2, reuse=True)
    assert [image.reused for image in again] == [True]
    assert host.submissions == 1


# --- giving up, and collecting all the same


def test_forget_gives_up_a_task_after_describing_it(host, capsys):
    """Id, gateway, prompt and price; then it is no longer pending, and its id and addresses stay."""
    host.file = lambda number, path: PAGE
    refused("a red fox in snow")
    with a_shell() as shell:
        shell.run("%imagegen forget 1")
        printed = capsys.readouterr().out
        assert all(word in printed for word in ("Task 1", "task-1", "apimart", "a red fox in snow", "%imagegen resume 1"))
        assert "unknown" in printed or "$" in printed
        assert waiting() == 0
        shell.run("%imagegen resume")
        assert "Nothing is waiting" in capsys.readouterr().out
    (task,) = tasks()
    assert (task.state, task.task_id, bool(task.pictures[0].url)) == ("failed", "task-1", True)


def test_a_forgotten_task_counts_in_the_costs(host, monkeypatch):
    """Its cost is counted."""
    monkeypatch.setattr("imagegen_magic.providers.gateways.apimart.APIMart.cost", lambda self, task: _dollars("0.25"))
    host.file = lambda number, path: PAGE
    refused()
    with a_shell() as shell:
        shell.run("%imagegen forget 1")
    (row,) = loop.run(spending.spent(api.ledger(load())))
    assert (str(row.amount), row.unknown) == ("0.25", 0)


def test_resume_with_an_id_collects_a_forgotten_task(host):
    """Without paying again."""
    host.file = lambda number, path: PAGE
    refused()
    host.file = lambda number, path: PNG
    with a_shell() as shell:
        shell.run("%imagegen forget 1")
        shell.run("%imagegen resume 1")
        assert shell.variables["_imagegen"][0].data == PNG
    assert (tasks()[0].state, host.submissions) == ("saved", 1)


def test_resume_with_an_id_fetches_an_unreadable_file_again(host):
    """The gateway may have corrected it; if not, nothing changes."""
    host.file = lambda number, path: STRANGE
    refused()
    with pytest.raises(ImageInvalid):
        api.resume_task(1, load()).wait()
    assert (tasks()[0].state, len(kept()), waiting()) == ("saved", 1, 0)
    host.file = lambda number, path: (404, {}, b"")
    with pytest.raises(DownloadError):
        api.resume_task(1, load()).wait()
    assert (tasks()[0].state, len(kept()), waiting()) == ("saved", 1, 0)
    host.file = lambda number, path: PNG
    assert api.resume_task(1, load()).wait()[0].data == PNG
    assert tasks()[0].error is None


def test_resume_with_an_id_into_a_folder(host, own_world):
    """An id and a folder may be combined."""
    host.file = lambda number, path: PAGE
    refused()
    host.file = lambda number, path: PNG
    with a_shell() as shell:
        shell.run("%imagegen resume 1 other")
        assert shell.variables["_imagegen"][0].path.parent == own_world / "other"


def test_a_folder_with_the_name_of_a_task_is_ambiguous(host, own_world):
    """The error shows how to write either."""
    host.file = lambda number, path: PAGE
    refused()
    (own_world / "1").mkdir()
    with a_shell() as shell:
        with pytest.raises(Exception, match=r"resume \./1 .*resume 1 imagegen"):
            shell.run("%imagegen resume 1")
        host.file = lambda number, path: PNG
        shell.run("%imagegen resume ./1")
        assert shell.variables["_imagegen"][0].path.parent == own_world / "1"


@pytest.mark.parametrize(("row", "why"), [(7, "There is no task 7"), (1, "All pictures of task 1 are saved")])
def test_resume_with_an_id_that_has_nothing_to_collect_is_refused(row, why, host):
    """In one line, and nothing is sent."""
    make()
    with pytest.raises(UnsupportedOption, match=why):
        api.resume_task(row, load())
    assert host.submissions == 1


def test_a_running_jobs_task_is_not_given_up(host):
    """One line; the job continues."""
    host.at_look = lambda: (200, {}, json.dumps({"code": 200, "data": [{"id": "task-1", "status": "processing"}]}).encode())
    job = api.start(ImageRequest("a fox", size="1:1"), provider="apimart")
    while not host.looks:
        pass
    with a_shell() as shell, pytest.raises(Exception, match="Task 1 is running"):
        shell.run("%imagegen forget 1")
    with pytest.raises(UnsupportedOption, match="is running"):
        api.resume_task(1, load())
    host.at_look = lambda: None
    assert len(job.wait()) == 1


@pytest.mark.parametrize(("argument", "why"), [("", "There is no task"), ("9", "There is no task 9"), ("fox", "There is no task fox")])
def test_forget_without_a_task_lists_them(argument, why, host):
    """The numbers that can be given up."""
    host.file = lambda number, path: PAGE
    refused()
    with a_shell() as shell, pytest.raises(Exception, match=rf"{why}.*there are: 1"):
        shell.run(f"%imagegen forget {argument}")


def test_forget_of_a_saved_task_is_refused(host):
    """There is nothing to give up."""
    make()
    with a_shell() as shell, pytest.raises(Exception, match="all its pictures are saved"):
        shell.run("%imagegen forget 1")


def test_doctor_shows_the_folder(host):
    """Number, size and path of the files."""
    host.file = lambda number, path: STRANGE * 200
    refused()
    with a_shell() as shell:
        shell.run("%imagegen doctor")
        shown = "\n".join(shell.shown())
    assert re.search(r"^unreadable +2\.0 MB in 1 file +", shown, re.MULTILINE)
    assert str(UNREADABLE.absolute()) in shown


def test_another_process_resumes_what_a_killed_resume_left(host):
    """The task has no owner, and its file still exists."""
    host.file = lambda number, path: STRANGE
    refused()
    with contextlib.closing(Ledger(load().home)) as another:
        assert len(loop.run(another.reclaim(1))) == 1
    assert waiting() == 0
    with pytest.raises(ImageInvalid):
        api.resume_task(1, load()).wait()
    assert (tasks()[0].state, len(kept())) == ("saved", 1)


@pytest.mark.parametrize("then", ["resume", "reuse"])
def test_a_gateway_that_forgot_the_task_of_a_killed_resume_changes_nothing(then, host, monkeypatch):
    """It is settled as before: not failed, not polled, and not paid for again."""
    monkeypatch.setattr("imagegen_magic.engine.jobs.runner._FORGOTTEN", 0.0)
    host.file = lambda number, path: STRANGE
    refused()
    with contextlib.closing(Ledger(load().home)) as another:
        assert len(loop.run(another.reclaim(1))) == 1
    host.at_look = lambda: (404, {}, b'{"error": {"code": 404, "message": "no such task"}}')
    looks = host.looks
    if then == "resume":
        assert api.resume(load()).expecting == 0
    else:
        assert "made before" in str(refused(reuse=True))
    assert ([task.state for task in tasks()], host.submissions, host.looks, waiting()) == (["saved"], 1, looks, 0)
    assert tasks()[0].error


def die(at, nth):
    """Ask for a picture, and be killed with SIGKILL before the nth call of a function."""
    place, calls = Ledger if at == "record_unreadable" else parts, itertools.count(1)
    real = getattr(place, at)

    def dying(*arguments, **options):
        if next(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(place, at, dying)
    run(generate("a red fox", provider="apimart", size="1:1"))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize(("at", "nth"), [("name_part", 1), ("name_part", 2), ("replace", 1), ("record_unreadable", 1)])
def test_killed_while_it_is_kept_it_is_one_file_and_settled_by_the_next_resume(at, nth, host):
    """Sidecar, file, the sidecar again, the ledger: whatever was the last."""
    host.file = lambda number, path: STRANGE
    assert in_a_fork(die, at, nth) == -signal.SIGKILL
    assert waiting() == 1
    with pytest.raises(ImageInvalid, match="kept as"):
        api.resume(load()).wait()
    assert ([task.state for task in tasks()], waiting(), host.submissions) == (["saved"], 0, 1)
    (path,) = kept()
    assert (path.read_bytes(), note(path)["settled"]) == (STRANGE, True)
    assert sorted(each.name for each in UNREADABLE.iterdir()) == sorted([path.name, path.with_suffix(".json").name])


def test_a_row_that_cannot_be_saved_delays_no_other(host, own_world):
    """An impossible path in the ledger: its task reports it in one line, and the others are saved."""
    host.file = lambda number, path: (503, {}, b"")
    for prompt in ("fox", "owl", "cat"):
        with pytest.raises(DownloadError):
            make(prompt)
    book = api.ledger(load())
    for row, folder in ((1, "nul\0in it"), (3, "/proc/nowhere/at/all")):
        loop.run(
            book.run(lambda connection, one=(folder, row): connection.execute("UPDATE jobs SET save_dir = ? WHERE id = ?", one).rowcount)
        )
    host.file = lambda number, path: PNG + path.encode()
    job = api.resume(load())
    made = job.wait()
    assert [image.request.prompt for image in made] == ["owl"]
    assert [type(error) for error in made.errors] == [SaveError, SaveError]
    assert (host.submissions, waiting()) == (3, 2)
    assert len(api.resume(load(), save_dir="elsewhere").wait()) == 2


@pytest.mark.parametrize(
    "expected",
    [
        {"pixels": 5, "mime_type": "image/png"},
        {"pixels": [5], "mime_type": ["image/png", "image/jxl"]},
        {"pixels": {"least": [1024, 1024]}, "alpha": "some"},
        {"pixels": [[1024, 1024, 16]], "pictures": "1"},
        {"pixels": [["many", "few"]], "pictures": [1]},
        {"pixels": [[]], "tasks": "several"},
        {"pixels": [[0, 0]], "pictures": 0, "tasks": 0},
        [],
    ],
)
def test_expectations_of_a_newer_version_lose_no_image(expected, host):
    """Known fields are compared, others are not."""
    host.file = lambda number, path: (503, {}, b"")
    for prompt in ("fox", "owl"):
        with pytest.raises(DownloadError):
            make(prompt)
    query, values = "UPDATE jobs SET expected = ? WHERE id = 1", (json.dumps(expected),)
    loop.run(api.ledger(load()).run(lambda connection: connection.execute(query, values).rowcount))
    host.file = lambda number, path: PNG
    made = api.resume(load()).wait()
    assert (sorted(image.request.prompt for image in made), made.errors, waiting()) == (["fox", "owl"], (), 0)


@pytest.mark.parametrize("sent", [{"method": "POST", "path": "/x", "form": {"prompt": "fox"}}, {"json": ["fox"]}, {}])
def test_a_request_of_a_newer_version_loses_no_image(sent, host):
    """Its form may be unknown here; it was sent long ago and is in the ledger."""
    host.file = lambda number, path: (503, {}, b"")
    with pytest.raises(DownloadError):
        make("fox")
    query = "UPDATE tasks SET sent = ?"
    loop.run(api.ledger(load()).run(lambda connection: connection.execute(query, (json.dumps(sent),)).rowcount))
    host.file = lambda number, path: PNG
    (image,) = api.resume(load()).wait()
    assert note(image.path)["sent"] == {}


def test_a_picture_with_an_odd_chunk_among_others_is_not_touched(host):
    """A picture is a picture: nothing in `unreadable`."""
    picture = a_png(size=(640, 480))
    host.file = lambda number, path: picture[:-12] + chunk(b"teXt", b"x") + picture[-12:]
    assert len(make()) == 1
    assert not UNREADABLE.exists()
