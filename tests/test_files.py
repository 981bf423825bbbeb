"""A picture is on the disk complete or not at all, under a name a person understands, and never in another file's place."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import textwrap
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imagegen_magic.engine.storage import images, parts
from imagegen_magic.engine.storage.filenames import filename_stem
from imagegen_magic.errors import ImageGenError, SaveError

PICTURE = bytes(range(256)) * 400
SIDECAR = {
    "prompt": "An ancient castle beneath a starry sky, 星空",
    "asked": {"size": "16:9", "n": 2},
    "sent": {"method": "POST", "path": "/v1/images/generations", "json": {"size": "16:9", "n": 2}},
    "provider": "evolink",
    "model": "gpt-image-2",
    "task_id": "task_1",
    "cost": {"amount": "0.04", "unit": "USD"},
    "submitted": "2025-01-01T10:00:00.000+00:00",
    "sha256": hashlib.sha256(PICTURE).hexdigest(),
}


def visible(directory: Path) -> list[str]:
    """Return the names a person sees in a folder."""
    return sorted(path.name for path in directory.iterdir() if not path.name.startswith("."))


def hidden(directory: Path) -> list[str]:
    """Return the names a person does not see in a folder."""
    return sorted(path.name for path in directory.iterdir() if path.name.startswith("."))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder to save into."""
    (tmp_path / "pictures").mkdir()
    return tmp_path / "pictures"


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a real process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# names


def test_a_name_has_distinctive_words_of_the_prompt_and_the_id() -> None:
    """Stop words are left out, at most four words stay."""
    assert filename_stem("An ancient castle beneath a starry sky", "7f3a") == "castle-starry-sky-7f3a"
    assert filename_stem("Generate an image of a red fox, a blue owl and a green cat", "7f3a") == "red-fox-blue-owl-7f3a"


def test_a_prompt_of_stop_words_alone_is_still_called_by_them() -> None:
    """Nothing telling is better than nothing."""
    assert filename_stem("The Who", "7f3a") == "the-who-7f3a"


def test_other_scripts_stay_as_they_are_in_composed_form() -> None:
    """Chinese, Hindi and accents keep their letters; a decomposed accent is composed."""
    assert filename_stem("一座城堡，在星空下", "7f3a") == "一座城堡-在星空下-7f3a"
    assert filename_stem("नमस्ते दुनिया", "7f3a") == "नमस्ते-दुनिया-7f3a"
    assert filename_stem("cafe\u0301", "7f3a") == "caf\u00e9-7f3a"


def test_a_given_name_replaces_the_words() -> None:
    """Its letters keep their case, its underscores stay, whatever else is in it goes."""
    assert filename_stem("a red fox", "7f3a", "My_Castle v2") == "My_Castle-v2-7f3a"
    assert filename_stem("a red fox", "7f3a", "../../etc/passwd") == "etc-passwd-7f3a"


@pytest.mark.parametrize("prompt", ["", "🦊🦊", "...", "/", "\u202e\u200d", "\u0301"])
def test_a_prompt_without_letters_has_a_name(prompt: str) -> None:
    """An emoji-only prompt is a picture too."""
    assert filename_stem(prompt, "7f3a") == "picture-7f3a"


@pytest.mark.parametrize("name", ["con", "NUL", "aux", "COM1", "lpt9", "com²"])
def test_a_reserved_windows_name_is_never_a_name(name: str) -> None:
    """Not even without an id."""
    assert filename_stem(name, "") == f"picture-{name.lower()}"
    assert filename_stem("a red fox", "", name) == f"picture-{name}"


def test_a_long_word_is_cut_between_letters() -> None:
    """Bounded in bytes, never within a letter and its accents."""
    assert filename_stem("ж" * 300, "7f3a") == "ж" * 40 + "-7f3a"
    cut = filename_stem("e\u0323\u0302\u0331" * 300, "7f3a")
    assert len(cut.encode()) <= 140
    assert unicodedata.is_normalized("NFC", cut)
    assert re.fullmatch(r"(?:\u1ec7\u0331)+-7f3a", cut)
    assert filename_stem("e" + "\u0331" * 300, "7f3a") == "picture-7f3a"


texts = st.text(max_size=400) | st.text(alphabet='/\\.:*?"<>|\0\n\r\t\u202e\u2066 aé星~$%-_', max_size=60)


@given(prompt=texts, name=st.none() | texts, short_id=st.text(max_size=40))
@example(prompt="../../../etc/passwd", name=None, short_id="..")
@example(prompt="C:\\Windows\\system32", name="..\\..\\x", short_id="7f3a")
@example(prompt="x\0y", name=".hidden", short_id="-")
@example(prompt="w" * 300, name="星" * 300, short_id="星" * 300)
@example(prompt="\ud83d", name="\udc00", short_id="7f3a")
def test_no_prompt_becomes_a_path(prompt: str, name: str | None, short_id: str) -> None:
    """Whatever the words, the name is one visible entry of the folder that every file system takes."""
    called = filename_stem(prompt, short_id, name)
    assert called
    assert all(unicodedata.category(each)[0] in "LNM" or each in "-_" for each in called)
    assert called[0] not in "-."
    assert len(called.encode()) <= 140
    assert unicodedata.is_normalized("NFC", called)
    home = Path("/somewhere/imagegen")
    assert Path(os.path.normpath(home / f"{called}-1.png")).parent == home


# saving


def test_the_bytes_are_untouched_and_described(folder: Path) -> None:
    """The file holds what came, and its facts are true."""
    saved = images.save(PICTURE, folder / "new" / "imagegen", "castle-7f3a", 1, ".png", SIDECAR)
    assert saved.path == folder / "new" / "imagegen" / "castle-7f3a-1.png"
    assert saved.sha256 == hashlib.sha256(saved.path.read_bytes()).hexdigest() == hashlib.sha256(PICTURE).hexdigest()
    assert saved.size == len(PICTURE)
    assert hidden(saved.path.parent) == []


def test_the_sidecar_is_readable_and_as_given(folder: Path) -> None:
    """Pretty UTF-8 in the caller's order, nothing added: no absolute path gets in."""
    saved = images.save(PICTURE, folder, "castle-7f3a", 1, "png", SIDECAR)
    text = saved.sidecar.read_text(encoding="utf-8")
    assert saved.sidecar == folder / "castle-7f3a-1.json"
    assert list(json.loads(text).items()) == list(SIDECAR.items())
    assert text.startswith('{\n  "prompt": "An ancient castle beneath a starry sky, 星空",\n')
    assert text.endswith("}\n")
    assert str(folder) not in text


def test_half_a_surrogate_pair_in_the_prompt_does_not_lose_the_picture(folder: Path) -> None:
    """A prompt may hold what UTF-8 cannot; the sidecar has it in escapes."""
    saved = images.save(PICTURE, folder, "castle-7f3a", 1, "png", {"prompt": "\ud83d 星"})
    assert json.loads(saved.sidecar.read_text())["prompt"] == "\ud83d 星"


def test_what_is_no_json_is_refused_before_anything_is_written(folder: Path) -> None:
    """A sidecar that cannot be written leaves no picture without one."""
    with pytest.raises(TypeError):
        images.save(PICTURE, folder, "castle-7f3a", 1, ".png", {"path": folder})
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("stem", ["../castle", "a/b", "a\\b", "a\0b", "/etc/x"])
def test_a_name_that_leaves_the_folder_is_refused(folder: Path, stem: str) -> None:
    """Even from a caller who did not ask for a clean one."""
    with pytest.raises(ValueError, match="not a file name"):
        images.save(PICTURE, folder, stem, 1, ".png", {})
    assert list(folder.iterdir()) == []


def test_the_same_picture_again_is_the_same_path(folder: Path) -> None:
    """Resume may save again: nothing is written twice, and the first sidecar stays."""
    first = images.save(PICTURE, folder, "castle-7f3a", 1, ".png", SIDECAR)
    inode = first.path.stat().st_ino
    assert images.save(PICTURE, folder, "castle-7f3a", 1, ".png", {"other": 1}) == first
    assert first.path.stat().st_ino == inode
    assert json.loads(first.sidecar.read_text()) == SIDECAR
    assert visible(folder) == ["castle-7f3a-1.json", "castle-7f3a-1.png"]


def test_another_picture_of_that_name_is_not_overwritten(folder: Path) -> None:
    """It goes to -2, -3 with sidecars of their own, and finds them again."""
    first = images.save(PICTURE, folder, "castle-7f3a", 1, ".png", {"n": 1})
    second = images.save(b"other", folder, "castle-7f3a", 1, ".png", {"n": 2})
    third = images.save(b"a third one", folder, "castle-7f3a", 1, ".png", {"n": 3})
    assert [each.path.name for each in (first, second, third)] == ["castle-7f3a-1.png", "castle-7f3a-1-2.png", "castle-7f3a-1-3.png"]
    assert [json.loads(each.sidecar.read_text())["n"] for each in (first, second, third)] == [1, 2, 3]
    assert images.save(b"other", folder, "castle-7f3a", 1, ".png", {"n": 2}) == second
    assert first.path.read_bytes() == PICTURE


def test_another_format_of_that_name_keeps_its_sidecar(folder: Path) -> None:
    """The sidecar's name belongs to one picture only."""
    png = images.save(PICTURE, folder, "castle-7f3a", 1, ".png", {"format": "png"})
    jpeg = images.save(b"jpeg", folder, "castle-7f3a", 1, ".jpg", {"format": "jpg"})
    assert json.loads(png.sidecar.read_text())["format"] == "png"
    assert jpeg.path.name == "castle-7f3a-1-2.jpg"
    assert json.loads(jpeg.sidecar.read_text())["format"] == "jpg"


def test_a_file_of_the_user_is_left_alone(folder: Path) -> None:
    """An empty file, a folder, a dangling link: each keeps its place."""
    (folder / "castle-7f3a-1.png").touch()
    (folder / "castle-7f3a-1-2.png").mkdir()
    (folder / "castle-7f3a-1-3.png").symlink_to(folder / "nowhere" / "at all")
    saved = images.save(PICTURE, folder, "castle-7f3a", 1, ".png", {})
    assert saved.path.name == "castle-7f3a-1-4.png"
    assert (folder / "castle-7f3a-1.png").read_bytes() == b""
    assert (folder / "castle-7f3a-1-3.png").is_symlink()


def test_a_name_taken_in_the_last_moment_is_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may take the name between the check and the naming."""
    link = os.link

    def late(source: Path, target: Path) -> None:
        if not target.exists() and target.name == "castle-7f3a-1.png":
            target.write_bytes(b"theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    saved = images.save(PICTURE, folder, "castle-7f3a", 1, ".png", {})
    assert saved.path.name == "castle-7f3a-1-2.png"
    assert (folder / "castle-7f3a-1.png").read_bytes() == b"theirs"
    assert hidden(folder) == []


WRITERS = """
    import sys
    from pathlib import Path
    from imagegen_magic.engine.storage import images as files
    for number in range(10):
        for who in (sys.argv[2], "all"):
            print(files.save(f"{who} {number}".encode() * 999, Path(sys.argv[1]), "fox-7f3a", 1, ".png", {}).path.name)
"""


def test_several_processes_never_overwrite_one_another(folder: Path) -> None:
    """All write under one name at once: each different picture has one file, the same ones share theirs."""
    command = [sys.executable, "-c", textwrap.dedent(WRITERS), str(folder)]
    processes = [subprocess.Popen([*command, f"process {number}"], stdout=subprocess.PIPE) for number in range(3)]
    assert [process.communicate(timeout=60) and process.returncode for process in processes] == [0, 0, 0]
    contents = [path.read_bytes() for path in folder.glob("*.png")]
    expected = {f"{who} {number}".encode() * 999 for number in range(10) for who in ("process 0", "process 1", "process 2", "all")}
    assert set(contents) == expected
    assert hidden(folder) == []


# folders without links


@pytest.fixture
def linkless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system like FAT, which has no links."""

    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(source))

    monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("linkless")
def test_without_links_it_is_the_same(folder: Path) -> None:
    """Complete, idempotent, never overwriting."""
    first = images.save(PICTURE, folder, "castle-7f3a", 1, ".png", SIDECAR)
    assert first.path.read_bytes() == PICTURE
    assert images.save(PICTURE, folder, "castle-7f3a", 1, ".png", SIDECAR) == first
    assert images.save(b"other", folder, "castle-7f3a", 1, ".png", SIDECAR).path.name == "castle-7f3a-1-2.png"
    assert hidden(folder) == []


@pytest.mark.usefixtures("linkless")
def test_without_links_a_name_taken_in_the_last_moment_is_not_overwritten(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check and the naming happen under the folder's lock, so the first process keeps the name."""
    lock = parts.process_locks.lock

    def late(descriptor: int) -> None:
        lock(descriptor)
        target = folder / "castle-7f3a-1.png"
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and not target.exists():
            target.write_bytes(b"theirs")

    monkeypatch.setattr(parts.process_locks, "lock", late)
    saved = images.save(PICTURE, folder, "castle-7f3a", 1, ".png", {})
    assert saved.path.name == "castle-7f3a-1-2.png"
    assert (folder / "castle-7f3a-1.png").read_bytes() == b"theirs"


# a disk that refuses


def test_a_full_disk_is_reported_and_leaves_nothing(folder: Path) -> None:
    """In our words, naming the file; the hidden half is removed; with room again it works."""
    script = """
        import resource, sys
        from pathlib import Path
        from imagegen_magic.engine.storage import images as files
        from imagegen_magic.errors import SaveError
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        try:
            files.save(b"x" * 2500, Path(sys.argv[1]), "fox-7f3a", 1, ".png", {})
        except SaveError as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(sorted(path.name for path in Path(sys.argv[1]).iterdir()))
        print(files.save(b"x" * 2500, Path(sys.argv[1]), "fox-7f3a", 1, ".png", {}).path.name)
    """
    done = run(script, folder)
    message, left, name = done.stdout.splitlines()
    assert str(folder / "fox-7f3a-1.png") in message
    assert "File too large" in message
    assert "%imagegen resume" in message
    assert (left, name) == ("[]", "fox-7f3a-1.png")


@pytest.mark.parametrize("function", ["write", "fsync", "link", "open"])
def test_an_error_of_the_disk_at_any_step_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    """Each step's failure is a SaveError that keeps the system's words, and nothing stays behind."""

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, function, full)
    with pytest.raises(SaveError, match="No space left on device") as caught:
        images.save(PICTURE, folder, "fox-7f3a", 1, ".png", {})
    monkeypatch.undo()
    assert isinstance(caught.value, ImageGenError)
    assert caught.value.charge == "yes"
    assert list(folder.iterdir()) == []


def test_a_file_in_place_of_the_folder_is_reported(folder: Path) -> None:
    """A folder that cannot be made is a SaveError too."""
    (folder / "imagegen").write_text("a file")
    with pytest.raises(SaveError, match=r"fox-7f3a-1\.png"):
        images.save(PICTURE, folder / "imagegen", "fox-7f3a", 1, ".png", {})


def test_a_folder_that_cannot_be_synced_by_its_file_system_is_fine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems know no fsync of a folder; an I/O error there is another matter."""
    fsync = os.fsync

    def on_folders(code: int):  # type: ignore[no-untyped-def]
        def call(descriptor: int) -> None:
            if stat.S_ISDIR(os.fstat(descriptor).st_mode):
                raise OSError(code, os.strerror(code))
            fsync(descriptor)

        return call

    monkeypatch.setattr(os, "fsync", on_folders(errno.EINVAL))
    assert images.save(PICTURE, folder, "fox-7f3a", 1, ".png", {}).path.read_bytes() == PICTURE
    monkeypatch.setattr(os, "fsync", on_folders(errno.EIO))
    with pytest.raises(SaveError, match="Input/output error"):
        images.save(PICTURE, folder, "fox-7f3a", 2, ".png", {})


# killed


KILLED = """
    import json, os, signal, sys
    from pathlib import Path
    from imagegen_magic.engine.storage import images as files

    folder, function, nth, when = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    real, calls = getattr(os, function), 0

    def deadly(*arguments, **options):
        global calls
        calls += 1
        if calls == nth and when == "half":
            real(arguments[0], arguments[1][: len(arguments[1]) // 2])
        elif calls != nth or when == "after":
            result = real(*arguments, **options)
        if calls == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    if sys.argv[5] == "linkless":
        def refuse(*arguments):
            raise PermissionError(1, "no links here")
        os.link = refuse
    setattr(os, function, deadly)
    files.save(bytes(range(256)) * 400, folder, "fox-7f3a", 1, ".png", json.loads(sys.argv[6]))
"""

# picture: open, write, fsync; sidecar: open, write, fsync, link, unlink of the hidden name; picture: link; then fsync of the folder
SEAMS = [
    *[("write", nth, when) for nth in (1, 2) for when in ("before", "half", "after")],
    *[("fsync", nth, when) for nth in (1, 2, 3) for when in ("before", "after")],
    *[("link", nth, when) for nth in (1, 2) for when in ("before", "after")],
    ("close", 1, "before"),
    ("unlink", 1, "before"),
]


def killed(folder: Path, function: str, nth: int, when: str, links: str) -> None:
    """Let a real process save a picture and be killed at a seam."""
    done = run(KILLED, folder, function, nth, when, links, json.dumps(SIDECAR))
    assert done.returncode == -signal.SIGKILL, done.stderr


def check_after_kill(folder: Path) -> None:
    """Nothing visible or complete files; saved again it is complete, under the same name; the leftovers can be swept."""
    for name in visible(folder):
        content = (folder / name).read_bytes()
        assert content == PICTURE if name == "fox-7f3a-1.png" else json.loads(content) == SIDECAR
    saved = images.save(PICTURE, folder, "fox-7f3a", 1, ".png", SIDECAR)
    parts.remove_stale_parts(folder)
    assert saved.path.name == "fox-7f3a-1.png"
    assert visible(folder) == ["fox-7f3a-1.json", "fox-7f3a-1.png"]
    assert json.loads(saved.sidecar.read_text()) == SIDECAR
    assert hidden(folder) == []


@pytest.mark.parametrize(("function", "nth", "when"), SEAMS)
def test_killed_at_any_seam_nothing_half_is_visible(folder: Path, function: str, nth: int, when: str) -> None:
    """A kill -9 leaves nothing visible or a complete picture, and saving again completes it."""
    killed(folder, function, nth, when, "links")
    check_after_kill(folder)


@pytest.mark.parametrize(("function", "nth", "when"), [("rename", nth, when) for nth in (1, 2) for when in ("before", "after")])
def test_killed_without_links_nothing_half_is_visible(folder: Path, function: str, nth: int, when: str) -> None:
    """The same where the file system has no links."""
    killed(folder, function, nth, when, "linkless")
    check_after_kill(folder)


def test_half_a_picture_is_hidden_until_swept(folder: Path) -> None:
    """The half is there, under a hidden name, and sweeping takes it away."""
    killed(folder, "write", 1, "half", "links")
    assert visible(folder) == []
    [half] = hidden(folder)
    assert 0 < (folder / half).stat().st_size < len(PICTURE)
    parts.remove_stale_parts(folder)
    assert list(folder.iterdir()) == []


# sweeping


def test_sweeping_leaves_the_living_and_the_foreign_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is being written, and files of others, stay."""
    (folder / ".mine.part").write_text("a person's own")
    (folder / "visible.12345678.part").write_text("a person's own")
    seen: list[list[str]] = []
    link = os.link

    def sweeping(source: Path, target: Path) -> None:
        parts.remove_stale_parts(folder)
        seen.append(hidden(folder))
        link(source, target)

    monkeypatch.setattr(os, "link", sweeping)
    images.save(PICTURE, folder, "fox-7f3a", 1, ".png", {})
    assert [len(names) for names in seen] == [3, 2]  # the sidecar gets its name first, when the picture's bytes are durable already
    parts.remove_stale_parts(folder)
    assert hidden(folder) == [".mine.part"]
    assert "visible.12345678.part" in visible(folder)


def test_a_file_removed_in_its_first_moment_is_created_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between creating and locking another process may take it for a dead one's."""
    lock, swept = parts.process_locks.lock, []

    def late(descriptor: int) -> None:
        if not swept:
            parts.remove_stale_parts(folder)
            swept.append(list(folder.iterdir()))
        lock(descriptor)

    monkeypatch.setattr(parts.process_locks, "lock", late)
    saved = images.save(PICTURE, folder, "fox-7f3a", 1, ".png", {})
    assert swept == [[]]
    assert saved.path.read_bytes() == PICTURE


def test_without_locks_sweeping_goes_by_age(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file system has no locks, only what is older than a day is taken for dead."""

    def refuse(*arguments: object) -> bool:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(parts.process_locks, "lock", refuse)
    monkeypatch.setattr(parts.process_locks, "is_locked", refuse)
    old, young = folder / ".fox-7f3a-1.png.00000000.part", folder / ".fox-7f3a-1.png.00000001.part"
    old.touch()
    young.touch()
    os.utime(old, (time.time() - 100_000,) * 2)
    parts.remove_stale_parts(folder)
    assert hidden(folder) == [young.name]
    assert images.save(PICTURE, folder, "fox-7f3a", 1, ".png", {}).path.read_bytes() == PICTURE


def test_removing_stale_parts_of_a_missing_folder_does_nothing(folder: Path) -> None:
    """The folder may never have been made."""
    parts.remove_stale_parts(folder / "nowhere")
