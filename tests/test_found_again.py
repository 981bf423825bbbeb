"""A picture whose file is there, though a kill came before the ledger knew, is taken as it is: not fetched again under another name."""

import itertools
import json
import os
import signal
from pathlib import Path

import pytest
from filehost import PNG, file_host
from forks import in_a_fork

from imagegen_magic import generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import images, parts
from imagegen_magic.errors import LedgerError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process:DeprecationWarning"),  # of a fork beside threads
]


def dying(real, nth, when):
    """Return `real` so that its nth call kills the process with SIGKILL, before or after its work."""
    calls = itertools.count(1)

    def die(*arguments, **options):
        call = next(calls)
        result = real(*arguments, **options) if call != nth or when == "after" else None
        if call == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return die


def die(at, nth, folder):
    """Ask for three pictures, or collect them into a folder, and be killed at the nth picture or name."""
    if at == "doubts":
        images.remove_unsettled = dying(images.remove_unsettled, nth, "before")
    elif at == "ledger":
        Ledger.record_saved = dying(Ledger.record_saved, nth, "before")
    else:
        parts.name_part = dying(parts.name_part, nth, at)
    if folder:
        api.resume(load(), save_dir=folder).wait()
    else:
        run(generate("three foxes", provider="apimart", size="1:1", n=3))


@pytest.fixture
def host(monkeypatch):
    """A gateway that encodes each download separately: no two have the same bytes."""
    with file_host(monkeypatch) as running:
        running.pictures = 3
        running.file = lambda number, path: PNG + number.to_bytes(4, "big")
        yield running


def killed(at, nth, folder=""):
    """Ask for three pictures, or collect them into a folder, in a process that is killed."""
    assert in_a_fork(die, at, nth, folder) == -signal.SIGKILL


def pictures(folder="imagegen"):
    """Return the pictures in a folder, by name."""
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.png"))}


def states():
    """Return the states of the ledger's tasks."""
    return [task.state for task in loop.run(api.ledger(load()).tasks())]


def check_sidecars(folder="imagegen"):
    """Each picture has one sidecar, and no sidecar is alone."""
    paths = list(Path(folder).glob("*.*"))
    assert sorted(path.stem for path in paths if path.suffix == ".json") == sorted(path.stem for path in paths if path.suffix == ".png")


@pytest.mark.parametrize("nth", [1, 3])
def test_an_image_saved_before_it_was_recorded_is_not_fetched_again(nth, host):
    """The process was killed between rename and record: three files for three images, and the existing one is used."""
    killed("ledger", nth)
    there = pictures()
    fetched = host.downloads
    made = api.resume(load()).wait()
    assert there.items() <= pictures().items()
    assert len(pictures()) == 3
    assert host.downloads == fetched + 3 - len(there)
    assert {image.path.name for image in made} | set(there) == set(pictures())
    assert (states(), host.submissions, api.ledger(load()).count_resumable()) == (["saved"], 1, 0)
    check_sidecars()


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("nth", [1, 2, 6])
def test_killed_at_any_name_there_is_one_file_for_each_picture(at, nth, host):
    """Sidecar and picture get their names one after the other: whichever was the last, nothing is twice, nothing is alone."""
    killed(at, nth)
    there = pictures()
    api.resume(load()).wait()
    assert there.items() <= pictures().items()
    assert len(pictures()) == 3
    assert states() == ["saved"]
    check_sidecars()


def test_the_row_is_as_if_the_ledger_had_known(host):
    """Path, size, pixels, content: of the file that is there."""
    killed("ledger", 1)
    api.resume(load()).wait()
    for picture in loop.run(api.ledger(load()).pictures()):
        notes = json.loads(Path(picture.path).with_suffix(".json").read_text())
        assert (picture.sha256, picture.size, picture.width) == (notes["sha256"], Path(picture.path).stat().st_size, 1024)
        assert notes["number"] == picture.position + 1


def test_a_file_that_was_changed_since_is_not_used(host):
    """The image is fetched again under another name, and the changed file stays."""
    killed("ledger", 1)
    (painted,) = (path for path in Path("imagegen").glob("*.png") if path.name in list(pictures())[:1])
    painted.write_bytes(PNG + b"painted over")
    api.resume(load()).wait()
    assert pictures()[painted.name] == PNG + b"painted over"
    rows = loop.run(api.ledger(load()).pictures())
    assert len({row.path for row in rows}) == 3
    assert str(painted.absolute()) not in {row.path for row in rows}


@pytest.mark.parametrize("then", ["elsewhere", ""])
def test_what_a_killed_resume_saved_is_found_in_its_folder(then, host):
    """With the folder given again, and without it: the ledger remembers where resume was to save."""
    killed("ledger", 1)
    for path in Path("imagegen").glob("*"):
        path.unlink()
    killed("ledger", 2, "elsewhere")
    there = pictures("elsewhere")
    assert there
    api.resume(load(), save_dir=then or None).wait()
    assert there.items() <= pictures("elsewhere").items()
    assert len(pictures("elsewhere")) + len(pictures()) == 3
    assert states() == ["saved"]


def test_resume_into_a_folder_uses_images_of_the_first_one(host):
    """No image is fetched twice."""
    killed("ledger", 1)
    there = pictures()
    api.resume(load(), save_dir="elsewhere").wait()
    assert pictures() == there
    assert len(pictures("elsewhere")) + len(there) == 3


def test_reuse_takes_it_too(host):
    """The same cell again instead of resume."""
    killed("ledger", 1)
    there = pictures()
    made = run(generate("three foxes", provider="apimart", size="1:1", n=3, reuse=True))
    assert (len(made), len(pictures()), host.submissions) == (3, 3, 1)
    assert there.items() <= pictures().items()


def test_its_unsettled_files_are_removed_when_it_is_adopted(host):
    """A damaged copy that came before it is in doubt no longer."""
    host.file = lambda number, path: PNG[:-20] + number.to_bytes(4, "big") if number <= 3 else PNG + number.to_bytes(4, "big")
    killed("doubts", 1)
    assert list(Path("imagegen/unreadable").iterdir())
    api.resume(load()).wait()
    assert list(Path("imagegen/unreadable").iterdir()) == []


def test_a_ledger_that_cannot_name_extra_folders_delays_no_picture(host, monkeypatch):
    """It is fetched then."""
    killed("before", 1)

    async def refuse(self, row):
        raise LedgerError("The ledger cannot be read: busy")

    monkeypatch.setattr(Ledger, "extra_folders", refuse)
    assert len(api.resume(load()).wait()) == 3
    assert states() == ["saved"]
