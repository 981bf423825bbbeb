"""Whether pictures can be saved is found out before anything is sent; nothing stays behind of it, and a renamed folder is followed."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from contextlib import suppress
from pathlib import Path

import pytest
from full_disks import full_disk
from ledgers import a_png
from shells import a_shell
from waiting import until
from webserver import evolink_gateway

from imagegen_magic import ImageRequest, Panel, generate, notebook_folder, run, stream, sweep
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import folders, images, parts
from imagegen_magic.errors import AuthenticationError, BudgetExceeded, ImageInvalid, SaveError, TaskTimeout
from imagegen_magic.notebook_folder import NotebookFolder

pytestmark = pytest.mark.slow

PNG = a_png(size=(1024, 1024))
LARGE = PNG + bytes(600_000)  # of more than one piece: it goes over the disk
ONE = {"provider": "evolink", "size": "1024x1024"}


class Endpoint:
    """EvoLink's dialect: counts what arrives; `finished`: whether the picture is made."""

    def __init__(self):
        self.submissions, self.uploads, self.origin, self.status = 0, 0, "", 200
        self.finished = True
        self.data = PNG

    def __call__(self, seen):
        """Answer a request."""
        if seen.path.endswith(".png"):
            return 200, {}, self.data
        if seen.path.startswith("/v1/images"):
            self.submissions += 1
            return self.status, {}, b'{"id": "task-1", "status": "pending"}'
        if not seen.path.startswith("/v1/tasks"):
            self.uploads += 1
            return 500, {}, b"{}"
        status = "completed" if self.finished else "processing"
        answer = f'{{"data": [{{"id": "task-1", "status": "{status}", "results": ["{self.origin}/p.png"]}}]}}'
        return 200, {}, answer.encode()


@pytest.fixture
def gateway(monkeypatch):
    """The far end of the wire."""
    with evolink_gateway(Endpoint(), monkeypatch) as answers:
        yield answers


@pytest.fixture
def notebook():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def _a_file(work):
    (work / "afile").write_text("mine")
    return work / "afile"


UNWRITABLE = {
    "a file": (_a_file, r"afile: .*afile is a file"),
    "below a file": (lambda work: _a_file(work) / "deep" / "er", r"er: .*afile is a file"),
    "a dangling link": (lambda work: (work / "link").symlink_to(work / "nowhere") or work / "link", "link is a link that leads nowhere"),
    "NUL": (lambda work: f"{work}/new/a\0b", "a\ufffdb: its name holds a NUL character"),
    "too long": (lambda work: work / "new" / ("星" * 86), "File name too long"),
    "a name that UTF-8 has not": (lambda work: f"{work}/new/\ud800", "the file system's encoding has no such name"),
    "an unknown user's home": (lambda work: "~nobody-of-that-name/x", "home of a user that this system does not know"),
    "a system's folder": (lambda work: "/proc/imagegen", "/proc/imagegen: "),
}


def _refused(error, words):
    assert error.charge == "no"
    assert "\n" not in str(error)
    assert "Nothing was charged" in str(error)


@pytest.mark.parametrize("case", UNWRITABLE)
def test_nothing_is_sent_where_pictures_cannot_be_saved(own_world, gateway, case):
    """By generate(), stream() and sweep() alike; one line, nothing submitted, nothing uploaded, nothing made."""
    make, words = UNWRITABLE[case]
    folder = make(own_world)
    before = sorted(own_world.rglob("*"))

    async def streamed():
        return [event async for event in stream("fox", save_dir=folder, **ONE)]

    ways = (
        lambda: generate("fox", save_dir=folder, **ONE),
        lambda: generate("fox", save_dir=folder, references=[PNG], **ONE),
        streamed,
        lambda: sweep("fox", {"quality": ["low", "high"]}, save_dir=folder, **ONE),
    )
    for way in ways:
        with pytest.raises((SaveError, ValueError), match=words) as caught:
            run(way())
        _refused(caught.value, words)
    assert (gateway.submissions, gateway.uploads) == (0, 0)
    assert sorted(own_world.rglob("*")) == before


@pytest.mark.parametrize("case", ["a file", "below a file", "NUL", "too long", "an unknown user's home"])
@pytest.mark.parametrize("more", ["", "--sweep quality=low,high"])
def test_a_cell_is_refused_and_its_dry_run_reports_it(own_world, gateway, notebook, case, more):
    """The dry run makes nothing and shows the plan with the reason."""
    make, words = UNWRITABLE[case]
    notebook.shell.user_ns["folder"] = str(make(own_world))
    before = sorted(own_world.rglob("*"))
    notebook.magics.save_dir = str(notebook.shell.user_ns["folder"])
    line = f"-p evolink -s 1024x1024 {more}"
    with pytest.raises((SaveError, ValueError), match=words):
        notebook.run(f"%%imagegen {line}\nA fox")
    notebook.run(f"%%imagegen {line} --dry-run\nA fox")
    (page,) = notebook.shown()
    assert "would be refused" in page
    assert "Nothing was charged" in page
    assert (gateway.submissions, sorted(own_world.rglob("*"))) == (0, before)


def test_a_dry_run_makes_nothing_and_finds_nothing_wrong_with_a_folder_that_can_be_made(own_world, gateway, notebook):
    """The folder of the pictures is not there yet, and that is as it should be."""
    notebook.run("%%imagegen -p evolink -s 1024x1024 --save-dir new/pictures --dry-run\nA fox")
    assert "refused" not in "".join(notebook.shown())
    assert list(own_world.iterdir()) == []


def test_a_file_named_like_the_usual_folder(own_world, gateway, notebook):
    """`imagegen` is a file: the cell, the dry run and doctor report it, with what helps."""
    (own_world / "imagegen").write_text("mine")
    with pytest.raises(SaveError, match=r"imagegen is a file\. Nothing was charged. Choose another folder with --save-dir"):
        notebook.run("%%imagegen -p evolink -s 1024x1024\nA fox")
    notebook.run("%imagegen doctor")
    assert "imagegen is a file" in "".join(notebook.shown())
    assert (gateway.submissions, (own_world / "imagegen").read_text()) == (0, "mine")


def test_the_origin_of_the_folder_is_named(own_world, gateway, monkeypatch):
    """A configured folder is changed where it is configured."""
    monkeypatch.setenv("IMAGEGEN_SAVE_DIR", str(_a_file(own_world)))
    with pytest.raises(SaveError, match="save_dir is set in environment IMAGEGEN_SAVE_DIR"):
        run(generate("fox", **ONE))


def test_the_panel_is_refused_alike(own_world, gateway):
    """Its button goes the same way."""
    (own_world / "imagegen").write_text("mine")
    panel = Panel(prompt="fox", **ONE)
    with pytest.raises(SaveError, match="imagegen is a file"):
        panel.generate().wait()
    assert gateway.submissions == 0


def test_a_picture_whose_path_would_be_too_long(own_world, gateway):
    """The folder can be made, and a file of a short name in it; the picture's own name is what does not fit."""
    deep = "/".join(["d" * 250] * 20)[: 4000 - len(str(own_world))].rstrip("/")
    with pytest.raises(SaveError, match="File name too long"):
        run(generate("fox", save_dir=deep, name="n" * 140, **ONE))
    assert (gateway.submissions, list(own_world.iterdir())) == (0, [])


# disks and rights


def test_a_full_disk_is_found_before_paying(tmp_path, gateway):
    """A real one; the dry check reports it too, and with room again it works."""
    with full_disk("small", tmp_path / "disk") as disk:
        disk.folder.joinpath("pictures").mkdir()
        settings = load().replace("this call", save_dir=str(disk.folder / "pictures"))
        disk.fill()
        for check in (folders.check, folders.make_ready):
            with pytest.raises(SaveError, match=r"No space left on device.*Make room"):
                check(settings)
        with pytest.raises(SaveError, match=r"No space left on device.*Make room"):
            run(generate("fox", save_dir=disk.folder / "pictures", **ONE))
        assert gateway.submissions == 0
        disk.make_room()
        assert len(run(generate("fox", save_dir=disk.folder / "pictures", **ONE))) == 1


WITHOUT_RIGHTS = """
    import os, sys
    from pathlib import Path
    from imagegen_magic.engine.storage import folders
    from imagegen_magic.engine.settings import load
    from imagegen_magic.errors import SaveError

    for folder in (Path(sys.argv[1]), Path(sys.argv[1]) / "new"):
        settings = load(Path(sys.argv[2])).replace("this call", save_dir=str(folder))
        for check in (folders.check, folders.make_ready):
            try:
                check(settings)
            except SaveError as error:
                print(error)
"""


def _like_anybody():
    """Let a process that is root's obey the rights of files: capabilities 1 and 2 let it ignore them."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):
        libc.prctl(24, capability, 0, 0, 0)


def test_a_folder_without_the_right_to_write(tmp_path):
    """Looked at or tried, and a folder below it alike."""
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    command = [sys.executable, "-c", textwrap.dedent(WITHOUT_RIGHTS), str(locked), str(tmp_path)]
    lines = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, preexec_fn=_like_anybody).stdout.splitlines()
    assert len(lines) == 4
    assert all("Permission denied" in line and "Nothing was charged" in line for line in lines)
    assert list(locked.iterdir()) == []


# what a check leaves behind


def test_what_was_made_for_a_request_that_was_refused_is_removed(own_world, gateway, monkeypatch):
    """By a budget, by the gateway: no empty folder stays, and one that was there before does."""
    (own_world / "there").mkdir()
    gateway.status = 401
    for folder in ("new/er", "there"):
        with pytest.raises(AuthenticationError):
            run(generate("fox", save_dir=folder, **ONE))
    assert sorted(own_world.rglob("*")) == [own_world / "there"]


def test_a_folder_of_a_picture_that_is_yet_to_come_is_made_again(own_world, gateway):
    """It was removed while it was empty; the picture comes all the same."""
    gateway.finished = False
    with pytest.raises(TaskTimeout):
        run(generate("fox", timeout=0.3, **ONE))
    assert list(own_world.iterdir()) == []
    gateway.finished = True
    (image,) = api.resume().wait()
    assert (image.path.parent, gateway.submissions) == (own_world / "imagegen", 1)


def test_a_check_leaves_nothing_and_touches_nothing(own_world):
    """Also beside files that are called like its own."""
    mine = own_world / "pictures"
    mine.mkdir()
    for name in ("probe", ".probe", ".probe.part"):
        (mine / name).write_text("mine")
    assert folders.make_ready(load().replace("x", save_dir="pictures")) == ()
    assert {path.name: path.read_text() for path in mine.iterdir()} == dict.fromkeys(("probe", ".probe", ".probe.part"), "mine")


@pytest.mark.parametrize("step", ["write", "fsync"])
@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_check_that_fails_or_is_interrupted_leaves_nothing(own_world, monkeypatch, step, failure):
    """Neither the file nor the folder."""

    def fails(*arguments):
        raise failure

    with monkeypatch.context() as patched:
        patched.setattr(images.os, step, fails)
        with pytest.raises((SaveError, KeyboardInterrupt)):
            folders.make_ready(load().replace("x", save_dir="new/pictures"))
    assert list(own_world.iterdir()) == []


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from imagegen_magic.engine.storage import folders
    from imagegen_magic.engine.settings import load

    def deadly(*arguments):
        os.kill(os.getpid(), signal.SIGKILL)

    os.write = deadly
    folders.make_ready(load(Path(sys.argv[1])).replace("x", save_dir="pictures"))
"""


def test_a_check_that_is_killed_leaves_no_file(own_world):
    """Its file no longer has a name when the byte is written."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), str(own_world)], timeout=60, check=False)
    assert done.returncode == -9
    assert list((own_world / "pictures").iterdir()) == []


MANY = """
    import sys
    from pathlib import Path
    from imagegen_magic.engine.storage import folders
    from imagegen_magic.engine.settings import load

    settings = load(Path(sys.argv[1])).replace("x", save_dir="a/b/pictures")
    made = [folder for _ in range(30) for folder in folders.make_ready(settings)]
    print(len(made))
"""


def test_checks_of_several_processes_at_once(own_world):
    """Each succeeds, each folder is made once, nothing is left."""
    command = [sys.executable, "-c", textwrap.dedent(MANY), str(own_world)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    made = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    assert sum(made) == 3
    assert list((own_world / "a" / "b" / "pictures").iterdir()) == []


@pytest.mark.parametrize("seam", range(1, 5))
def test_a_folder_that_another_job_removes_meanwhile_is_made_again(own_world, monkeypatch, seam):
    """A job that brought nothing removes the empty folders that it made, at any moment of a second one's check or saving."""
    settings = load().replace("x", save_dir="a/b/pictures")
    made = [own_world / "a", own_world / "a" / "b", own_world / "a" / "b" / "pictures"]
    seams, sync, opened = [0], parts.sync, parts._open_part

    def removing(real, where):
        seams[0] += 1
        if seams[0] == seam:
            folders.remove_empty(made)
        return real(where)

    monkeypatch.setattr(parts, "sync", lambda folder: removing(sync, folder))
    monkeypatch.setattr(parts, "_open_part", lambda path: removing(opened, path))
    folders.remove_empty(folders.make_ready(settings))
    assert list(own_world.iterdir()) == []
    seams[0] = 0
    saved = images.save(PNG, made[-1], "fox", 1, ".png", {"task_id": "t", "number": 1})
    assert (saved.path.read_bytes(), seams[0] >= seam) == (PNG, True)


def test_one_check_for_a_whole_sweep(own_world, gateway, monkeypatch):
    """Not one for each of its tasks."""
    folders_checked, real = [], parts.write_a_byte
    monkeypatch.setattr(parts, "write_a_byte", lambda folder, name: (folders_checked.append(folder), real(folder, name)))
    run(sweep("fox", {"quality": ["low"]}, repeat=3, sandbox=True, provider="evolink", size="1:1"))
    assert folders_checked == [own_world / "imagegen"]


# resume


def _left_waiting(gateway):
    gateway.finished = False
    with pytest.raises(TaskTimeout):
        run(generate("fox", timeout=0.3, **ONE))
    gateway.finished = True


def test_resume_into_a_folder_that_cannot_be_written_is_refused_and_loses_nothing(own_world, gateway):
    """Nothing is taken up; another folder works at once."""
    _left_waiting(gateway)
    with pytest.raises(SaveError, match="afile is a file") as caught:
        api.resume(save_dir=_a_file(own_world))
    assert caught.value.charge == "no"
    loop.run(api.ledger().tasks())
    (image,) = api.resume(save_dir="elsewhere").wait()
    assert (image.path.parent, gateway.submissions) == (own_world / "elsewhere", 1)


def test_resume_with_nothing_to_collect_makes_no_folder(own_world):
    """As nothing will be in it."""
    api.resume(save_dir="elsewhere")
    assert list(own_world.iterdir()) == []


# the notebook's folder


def _renamed(own_world):
    os.rename(own_world, own_world.with_name("renamed"))
    return own_world.with_name("renamed")


def test_a_renamed_folder_is_followed(own_world, gateway, notebook):
    """Pictures go where the notebook is now, and no ghost of the old folder appears."""
    notebook.run("%%imagegen -p evolink -s 1024x1024 -o fox\nA fox")
    now = _renamed(own_world)
    notebook.run("%%imagegen -p evolink -s 1024x1024 -o owl\nAn owl")
    assert notebook.variables["owl"][0].path.parent == now / "imagegen"
    assert len(list((now / "imagegen").glob("*.png"))) == 2
    assert not own_world.exists()


def test_python_follows_it_too(own_world, gateway):
    """generate() asks for the working folder each time."""
    now = _renamed(own_world)
    (image,) = run(generate("fox", **ONE))
    assert image.path.parent == now / "imagegen"


def test_the_panel_follows_it_too(own_world, gateway):
    """Though it was opened before."""
    panel = Panel(prompt="fox", **ONE)
    now = _renamed(own_world)
    (image,) = panel.generate().wait()
    assert image.path.parent == now / "imagegen"
    assert not own_world.exists()


@pytest.mark.parametrize("into", ["imagegen", "pictures/of/foxes"])
def test_a_folder_that_is_renamed_while_a_task_is_under_way_is_followed(own_world, gateway, into):
    """The picture is saved where the notebook is by then, and no ghost of the old folder appears."""
    gateway.finished = False
    job = api.start(ImageRequest("fox", size="1024x1024"), provider="evolink", save_dir=into)
    until(lambda: any(progress.stage == "waiting" for progress in job.latest.values()))
    now = _renamed(own_world)
    gateway.finished = True
    (image,) = job.wait()
    assert (image.path.parent, image.data, own_world.exists()) == (now / into, PNG, False)
    assert api.resume().expecting == 0


@pytest.mark.parametrize("kind", ["a picture", "a file that cannot be read"])
def test_a_folder_that_is_renamed_while_a_picture_comes_is_followed(own_world, gateway, monkeypatch, kind):
    """Its hidden file went with the folder: it is read, named and removed there."""
    coming, go_on, real = threading.Event(), threading.Event(), parts.Part.write

    def write(part, data):
        real(part, data)
        coming.set()
        assert go_on.wait(60)

    monkeypatch.setattr(parts.Part, "write", write)
    gateway.data = LARGE if kind == "a picture" else b"\x0bSTRANGE" + LARGE[8:]
    job = api.start(ImageRequest("fox", size="1024x1024"), provider="evolink")
    assert coming.wait(60)
    assert list(own_world.glob("imagegen/.*.part"))
    now = _renamed(own_world)
    go_on.set()
    if kind == "a picture":
        assert job.wait()[0].path.parent == now / "imagegen"
    else:
        with pytest.raises(ImageInvalid, match=str(now / "imagegen" / "unreadable")):
            job.wait()
    assert (own_world.exists(), list(now.rglob("*.part")), len(list(now.rglob("*.json")))) == (False, [], 1)


def test_resume_in_the_same_kernel_follows_it_too(own_world, gateway):
    """And takes what is there already."""
    _left_waiting(gateway)
    now = _renamed(own_world)
    (image,) = api.resume().wait()
    assert (image.path.parent, own_world.exists()) == (now / "imagegen", False)


def test_another_kernel_finds_the_pictures_of_a_renamed_folder(own_world, gateway, monkeypatch):
    """The ledger knows their old place alone: by its sidecar a picture beside the notebook is known, not fetched into a ghost."""
    run(generate("fox", **ONE))
    now = _renamed(own_world)
    monkeypatch.setattr(notebook_folder, "_asked", {})
    for _ in range(2):
        (image,) = run(generate("fox", reuse=True, **ONE))
        assert (image.path.parent, gateway.submissions, own_world.exists()) == (now / "imagegen", 1, False)
    assert len(list((now / "imagegen").glob("*.png"))) == 1


def test_an_absolute_folder_is_not_followed(own_world, gateway):
    """It is where it was asked to be, also within the notebook's folder."""
    gateway.finished = False
    job = api.start(ImageRequest("fox", size="1024x1024"), provider="evolink", save_dir=own_world / "here")
    until(lambda: any(progress.stage == "waiting" for progress in job.latest.values()))
    _renamed(own_world)
    gateway.finished = True
    assert job.wait()[0].path.parent == own_world / "here"


def test_what_cannot_be_followed_is_saved_where_it_was_asked_to_go(own_world, gateway, tmp_path):
    """Renamed while the kernel works elsewhere: its new name cannot be known, and the picture is not lost for that."""
    gateway.finished = False
    job = api.start(ImageRequest("fox", size="1024x1024"), provider="evolink")
    until(lambda: any(progress.stage == "waiting" for progress in job.latest.values()))
    os.chdir(tmp_path)
    _renamed(own_world)
    gateway.finished = True
    (image,) = job.wait()
    assert (image.path.parent, image.data) == (own_world / "imagegen", PNG)


def test_a_missing_folder_is_reported_before_anything_is_sent(own_world, gateway, notebook, tmp_path):
    """Deleted under the kernel, or renamed while the kernel works elsewhere; an absolute folder still works."""
    panel = Panel(prompt="fox", **ONE)
    shutil.rmtree(own_world)
    line = "-p evolink -s 1024x1024"
    missing = r"The notebook's folder .*work no longer exists.*Nothing was charged. Change to a folder that exists"
    for cell in (f"%%imagegen {line}\nA fox", f"%%imagegen {line} --repeat 2\nA fox"):
        with pytest.raises(SaveError, match=missing):
            notebook.run(cell)
    for ask in (lambda: panel.generate().wait(), lambda: run(generate("fox", **ONE))):
        with pytest.raises(SaveError, match=missing):
            ask()
    notebook.run(f"%%imagegen {line} --dry-run\nA fox")
    assert "no longer exists" in "".join(notebook.shown())
    assert (gateway.submissions, own_world.exists()) == (0, False)
    for command in ("config", "doctor", "history", "jobs", "resume", "cost"):
        notebook.run(f"%imagegen {command}")
    notebook.run(f"%%imagegen {line} --save-dir {tmp_path / 'pictures'}\nA fox")
    assert gateway.submissions == 1


def test_renamed_while_the_kernel_works_elsewhere_it_is_missing(own_world, gateway, notebook, tmp_path):
    """Its new name cannot be known, and %cd moves no picture; loading the extension again there does."""
    other = tmp_path / "other"
    other.mkdir()
    os.chdir(other)
    now = _renamed(own_world)
    with pytest.raises(SaveError, match="no longer exists"):
        notebook.run("%%imagegen -p evolink -s 1024x1024\nA fox")
    assert (gateway.submissions, own_world.exists(), list(other.iterdir())) == (0, False, [])
    os.chdir(now)
    notebook.run("%reload_ext imagegen_magic")
    notebook.run("%%imagegen -p evolink -s 1024x1024 -o fox\nA fox")
    assert notebook.variables["fox"][0].path.parent == now / "imagegen"


def test_changing_the_working_folder_moves_no_picture(own_world, gateway, notebook, tmp_path):
    """As before."""
    os.chdir(tmp_path)
    notebook.run("%%imagegen -p evolink -s 1024x1024 -o fox\nA fox")
    assert notebook.variables["fox"][0].path.parent == own_world / "imagegen"


def test_a_folder_that_was_deleted_and_created_again_is_the_notebooks(own_world):
    """As by a checkout of another branch and back: the kernel's own folder is a ghost then."""
    place = NotebookFolder(own_world)
    own_world.rmdir()
    own_world.mkdir()
    assert place.path == own_world
    with suppress(FileNotFoundError):
        assert not Path.cwd().exists()
    assert load().folder == own_world


def test_a_budget_refuses_without_leaving_a_folder(own_world, gateway, notebook):
    """Whatever else is wrong is reported as before."""
    notebook.run("%imagegen budget 0.001 --unit USD")
    with pytest.raises(BudgetExceeded):
        notebook.run("%%imagegen -p evolink -s 1024x1024\nA fox")
    assert (list(own_world.iterdir()), gateway.submissions) == ([], 0)
