"""Pictures in a store: saved once, checked, found again, and read by everything that reads pictures."""

import hashlib
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import store_disks
from filehost import PAGE, PNG, STRANGE, file_host
from forks import in_a_fork
from fsspec.implementations.memory import MemoryFileSystem
from IPython.core.error import UsageError
from ledgers import a_png, saved
from shells import a_shell
from store_disks import ADDRESS, Disk

from imagegen_magic import generate, run, score, scorer, sweep
from imagegen_magic.engine import api, deletion, loop
from imagegen_magic.engine.clock import CLOCK
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import fsspec_store, source_copies
from imagegen_magic.engine.storage.fsspec_store import PROBE, FsspecStore
from imagegen_magic.engine.storage.parts import Part
from imagegen_magic.engine.storage.stores import FolderStore, open_store, sizes
from imagegen_magic.errors import DownloadError, ImageInvalid, ReadError, SaveError, UnsupportedOption
from imagegen_magic.notebook.output import captions, gallery
from imagegen_magic.paths import StorePath, located
from imagegen_magic.studies.export.archive import export

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of a fork beside threads

SECRETS = ("X-Amz-Signature", "f00", "AKIAABCDEFGHIJKLMNOP")


@pytest.fixture
def disk(tmp_path, monkeypatch):
    """The folder of a store on this machine, whose objects are files; no test has the file systems of another."""
    store_disks.register()
    Disk.calls.clear()
    monkeypatch.setenv("DISK_STORE", str(tmp_path / "objects"))
    return tmp_path / "objects" / "bucket" / "foxes"


@pytest.fixture
def memory():
    """The objects of fsspec's store in memory, by their path."""
    MemoryFileSystem.store.clear()
    yield MemoryFileSystem.store
    MemoryFileSystem.store.clear()


@pytest.fixture
def host(monkeypatch):
    """A gateway whose files are the test's."""
    with file_host(monkeypatch) as running:
        yield running


def make(prompt="a red fox", save_dir=ADDRESS, **options):
    """Ask for a picture and wait for it."""
    return run(generate(prompt, save_dir=save_dir, **{"provider": "apimart", "size": "1:1", **options}))


def objects(folder):
    """Return the names of the objects in a folder, without the one of the check."""
    return sorted(path.name for path in folder.iterdir() if path.name != PROBE)


class TestAddresses:
    """What is an address, and which ones are refused."""

    @pytest.mark.parametrize("text", ["imagegen", "/data/foxes", "~/foxes", "s3:/bucket", "C:/foxes", "a//b", ""])
    def test_a_path_is_a_path(self, text):
        """Only a scheme with two slashes makes an address."""
        assert located(text) == Path(text)

    @pytest.mark.parametrize("text", ["file:///data/foxes", "local:///data/foxes"])
    def test_a_disk_by_its_address_is_a_folder(self, text):
        """It is kept as a folder is: fsspec's own file system writes in place."""
        assert isinstance(open_store(text), FolderStore)
        assert open_store(text).location == Path("/data/foxes")

    def test_an_address_has_the_parts_of_a_path(self):
        """Names, folders and suffixes are those of the address."""
        path = StorePath("s3://bucket/foxes/") / "red-fox-1.png"
        assert str(path) == "s3://bucket/foxes/red-fox-1.png"
        assert (path.name, path.stem, path.suffix, str(path.parent)) == ("red-fox-1.png", "red-fox-1", ".png", "s3://bucket/foxes")
        assert path.with_suffix(".json") == StorePath("s3://bucket/foxes/red-fox-1.json")
        assert str(StorePath("memory://") / "fox.png") == "memory://fox.png"
        assert pickle.loads(pickle.dumps(path)) == path

    def test_no_file_is_made_in_the_name_of_an_address(self):
        """It is no path of the operating system."""
        with pytest.raises(TypeError):
            Path(StorePath("s3://bucket/fox.png"))

    @pytest.mark.parametrize(
        "address",
        [
            "s3://AKIAABCDEFGHIJKLMNOP:hunter2@bucket/foxes",
            "s3://hunter2@bucket/foxes",
            "abfs://account:hunter2@host/foxes",
            "https://host/foxes?sig=hunter2",
            "memory://foxes#hunter2",
            "simplecache::s3://hunter2:x@bucket/foxes",
        ],
    )
    def test_credentials_in_an_address_are_refused_and_not_shown(self, address, monkeypatch):
        """From a call, the environment and a pyproject.toml; no message, value or record of the error has them."""
        with pytest.raises(UnsupportedOption, match="cannot be used") as caught:
            make(save_dir=address, sandbox=True, provider=None)
        monkeypatch.setenv("IMAGEGEN_SAVE_DIR", address)
        with pytest.raises(UnsupportedOption, match="without user, password and query") as set_before:
            make(save_dir=None, sandbox=True, provider=None)
        for error in (caught.value, set_before.value):
            text = f"{error} {error!r} {error.value} {json.dumps(error.to_record())}"
            assert "hunter2" not in text
            assert "AKIA" not in text
            assert error.charge == "no"

    def test_a_notebook_shows_no_credentials(self, caplog, capsys):
        """Neither the message of an option nor that of a setting, which IPython logs."""
        address = "s3://maria:hunter2@bucket/foxes"
        with a_shell() as shell:
            with pytest.raises(UsageError, match="without user, password and query") as caught:
                shell.run(f"%%imagegen --save-dir {address}\na fox")
            shell.run(f"%config ImageGenMagics.save_dir = '{address}'")
        assert "without user, password and query" in caplog.text
        assert "hunter2" not in f"{caught.value} {caplog.text} {capsys.readouterr()}"

    def test_azures_containers_are_no_users(self):
        """`container@account` is how Azure writes a folder."""
        assert load().replace("a test", save_dir="abfs://foxes@account.dfs.core.windows.net/2026").save_dir.name == "2026"


class TestSaving:
    """Created exclusively, read back, once."""

    @pytest.fixture(params=["disk", "memory"])
    def store(self, request):
        """Each of the two kinds of stores."""
        request.getfixturevalue(request.param)
        return open_store({"disk": ADDRESS, "memory": "memory://bucket/foxes"}[request.param])

    def test_the_picture_and_its_sidecar(self, store):
        """Both are there, and the sidecar has the picture's name and SHA-256."""
        found = store.save(PNG, "red-fox", 1, ".png", {"prompt": "a red fox"})
        assert str(found.path) == f"{store.location}/red-fox-1.png"
        assert (found.path.read_bytes(), found.size, found.sha256) == (PNG, len(PNG), hashlib.sha256(PNG).hexdigest())
        notes = json.loads(found.sidecar.read_bytes())
        assert notes == {"prompt": "a red fox", "file": "red-fox-1.png", "sha256": found.sha256}

    def test_a_large_file_arrives_by_a_part_on_the_disk(self, store, tmp_path):
        """What came in pieces is saved like what came at once."""
        with Part(tmp_path / "arriving") as part:
            part.write(PNG[:100])
            part.write(PNG[100:])
            assert store.save(part, "red-fox", 1, ".png", {}).path.read_bytes() == PNG

    def test_the_same_bytes_are_saved_once(self, store):
        """Repeated, also by another process with another sidecar, the first stays."""
        first = store.save(PNG, "red-fox", 1, ".png", {"saved": "at noon"})
        assert store.save(PNG, "red-fox", 1, ".png", {"saved": "at one"}) == first
        assert json.loads(first.sidecar.read_bytes())["saved"] == "at noon"

    def test_another_object_of_that_name_stays(self, store):
        """It is never replaced: the picture gets -2, and its sidecar with it."""
        other = store.save(a_png(size=(8, 8)), "red-fox", 1, ".png", {})
        found = store.save(PNG, "red-fox", 1, ".png", {})
        assert other.path.read_bytes() == a_png(size=(8, 8))
        assert (found.path.name, found.sidecar.name) == ("red-fox-1-2.png", "red-fox-1-2.json")

    def test_another_object_of_the_same_size_stays(self, store):
        """Its content decides, not its size."""
        other = PNG[:-1] + b"?"
        store.save(other, "red-fox", 1, ".png", {})
        assert store.save(PNG, "red-fox", 1, ".png", {}).path.name == "red-fox-1-2.png"
        assert (store.location / "red-fox-1.png").read_bytes() == other

    def test_a_sidecar_of_another_picture_stays(self, store):
        """A picture of another format has its sidecar under that name."""
        other = store.save(b"RIFF", "red-fox", 1, ".webp", {})
        found = store.save(PNG, "red-fox", 1, ".png", {})
        assert found.sidecar.name == "red-fox-1-2.json"
        assert json.loads(other.sidecar.read_bytes())["file"] == "red-fox-1.webp"

    def test_what_is_too_large_for_one_upload_has_a_name_of_its_own(self, store, monkeypatch):
        """A backend may send it in several steps, whose end need not be exclusive."""
        monkeypatch.setattr(fsspec_store, "SINGLE_PUT", 1000)
        first, second = (store.save(PNG, "red-fox", 1, ".png", {}) for _ in range(2))
        assert first.path != second.path
        assert first.path.name.startswith("red-fox-1-")
        assert first.path.read_bytes() == second.path.read_bytes() == PNG

    def test_a_store_that_keeps_other_bytes_is_found_out(self, disk, monkeypatch):
        """The picture is not reported as saved, and the money is known to be spent."""
        monkeypatch.setattr(Disk, "pipe_file", lambda self, path, value, **options: super(Disk, self).pipe_file(path, value[:-1]))
        disk.mkdir(parents=True)
        with pytest.raises(SaveError, match="other bytes than were sent") as caught:
            open_store(ADDRESS).save(PNG, "red-fox", 1, ".png", {})
        assert caught.value.charge == "yes"
        assert "resume" in caught.value.hint

    def test_an_answer_that_is_lost_is_no_failure(self, disk, monkeypatch):
        """The object is there with these bytes, so it is saved."""
        real = Disk.pipe_file

        def lossy(self, path, value, **options):
            real(self, path, value, **options)
            raise ConnectionResetError("no answer")

        monkeypatch.setattr(Disk, "pipe_file", lossy)
        assert open_store(ADDRESS).save(PNG, "red-fox", 1, ".png", {}).path.read_bytes() == PNG

    def test_a_name_outside_the_folder_is_refused(self, store):
        """As on a disk."""
        with pytest.raises(ValueError, match="is not a file name"):
            store.save(PNG, "../fox", 1, ".png", {})

    def test_a_picture_is_removed_with_its_sidecar_unless_it_is_another_one(self, store):
        """It is known by its SHA-256."""
        found = store.save(PNG, "red-fox", 1, ".png", {})
        assert store.remove("red-fox-1.png", "0" * 64) is None
        assert found.path.exists()
        assert store.remove("red-fox-1.png", found.sha256) > len(PNG)
        assert not found.path.exists()
        assert not found.sidecar.exists()
        assert store.remove("red-fox-1.png", found.sha256) == 0


class TestBeforeSending:
    """What can be known before a request is sent."""

    @pytest.mark.parametrize("scheme", ["overwriting", "looking"])
    def test_a_store_that_cannot_create_exclusively_is_refused(self, scheme, host, disk, memory):
        """Found by trying, or because its creation is fsspec's own, which looks first and writes then."""
        with pytest.raises(SaveError, match="could be overwritten") as caught:
            make(save_dir=f"{scheme}://bucket/foxes")
        assert caught.value.charge == "no"
        assert host.submissions == 0
        assert not memory

    def test_a_store_that_does_not_answer_is_refused_without_its_words(self, host, disk):
        """Neither the signed address nor the key in them is shown."""
        with pytest.raises(SaveError, match="cannot be saved in down://bucket/foxes") as caught:
            make(save_dir="down://bucket/foxes")
        assert host.submissions == 0
        assert not [secret for secret in SECRETS if secret in f"{caught.value} {caught.value!r}"]

    @pytest.mark.parametrize(("module", "address"), [("fsspec", "memory://foxes"), ("s3fs", "s3://bucket/foxes")])
    def test_without_the_extra_the_error_names_it(self, module, address, host, monkeypatch):
        """Before anything is sent."""
        fsspec_store._filesystem.cache_clear()
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(SaveError, match=r"pip install 'imagegen-magic\[store\]'") as caught:
            make(save_dir=address)
        assert (caught.value.charge, host.submissions) == ("no", 0)

    def test_an_unknown_scheme_is_refused(self, host):
        """A misspelt one is no folder beside the notebook."""
        with pytest.raises(SaveError, match="fsspec knows no s4://"):
            make(save_dir="s4://bucket/foxes")
        assert host.submissions == 0
        assert not os.listdir()

    def test_the_check_leaves_one_object_and_asks_for_little(self, disk):
        """Later checks create nothing."""
        for _ in range(2):
            open_store(ADDRESS).make_ready()
        assert [path.name for path in disk.iterdir()] == [PROBE]
        assert Disk.calls == [f"put {PROBE}", f"put {PROBE}", f"info {PROBE}", f"put {PROBE}", f"info {PROBE}"]

    def test_fsspec_is_imported_only_for_a_store(self):
        """A request that saves in a folder imports none of it."""
        code = "import sys, imagegen_magic.engine.api, imagegen_magic.studies.export.archive; print('fsspec' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


class TestRequests:
    """Whole requests into a store."""

    def test_a_picture_is_where_it_was_asked_for(self, host, disk):
        """It has no path on this machine; the ledger has its address."""
        (image,) = made = make()
        assert image.path is None
        assert image.location == f"{ADDRESS}/{image.file.name}"
        assert image.data == PNG
        assert image.open().size == (1024, 1024)
        assert image.location in repr(image)
        assert image.location in repr(made)
        assert objects(disk) == [image.file.with_suffix(".json").name, image.file.name]
        (row,), (task,) = loop.run(api.ledger().pictures()), loop.run(api.ledger().tasks())
        assert (row.path, task.save_dir, task.state) == (image.location, ADDRESS, "saved")
        assert os.listdir() == []
        assert list((load().home / "arriving").glob("*")) == []

    def test_pictures_of_a_store_are_pickled_and_compared(self, host, disk):
        """Their location is part of them; that of a file follows its path."""
        (image,) = make()
        assert pickle.loads(pickle.dumps(image)) == image != replace(image, location="s3://elsewhere/fox.png")
        (local,) = make("a hare", save_dir=None)
        assert local.location == str(local.path)
        assert replace(local, path=Path("/moved.png")).location == "/moved.png"

    def test_an_identical_request_is_reused(self, host, disk):
        """Found in the store, and nothing is sent; a picture that is gone is fetched again, not paid again."""
        (first,) = make()
        (again,) = make(reuse=True)
        assert (again.id, again.location, again.reused, host.submissions) == (first.id, first.location, True, 1)
        (disk / first.file.name).unlink()
        (fetched,) = make(reuse=True)
        assert (fetched.id, fetched.data, host.submissions) == (first.id, PNG, 1)

    def test_nothing_is_paid_again_because_a_store_is_down(self, host, disk, monkeypatch):
        """Whether the pictures exist is unknown: the request is refused."""
        make()
        monkeypatch.setattr(Disk, "info", store_disks.Down._fail)
        with pytest.raises((ReadError, SaveError)) as caught:
            make(reuse=True, save_dir="imagegen")
        assert host.submissions == 1
        assert not [secret for secret in SECRETS if secret in str(caught.value)]

    def test_many_pictures_are_one_listing(self, disk):
        """Not a question for each."""
        store = open_store(ADDRESS)
        files = [store.save(PNG, "fox", number, ".png", {}).path for number in range(1, 7)]
        Disk.calls.clear()
        assert sizes([*files, store.location / "gone.png"]) == dict.fromkeys(files, len(PNG))
        assert Disk.calls == ["list foxes"]

    def test_what_could_not_be_saved_is_collected(self, host, disk, monkeypatch):
        """The store failed after the payment: no key in the message, and resume saves it there without paying."""
        with monkeypatch.context() as broken:
            real = Disk.pipe_file
            broken.setattr(
                Disk, "pipe_file", lambda *call, **options: (real if PROBE in call[1] else store_disks.Down._fail)(*call, **options)
            )
            with pytest.raises(SaveError, match="could not be written to disk://bucket/foxes/") as caught:
                make()
        assert not [secret for secret in SECRETS if secret in str(caught.value)]
        (image,) = api.resume(load()).wait()
        assert image.data == PNG

    def test_resume_saves_in_another_store(self, host, disk, memory):
        """A folder of resume may be an address."""
        host.file = lambda number, path: (503, {}, b"")
        with pytest.raises(DownloadError):
            make()
        host.file = lambda number, path: PNG
        (image,) = api.resume(load(), save_dir="memory://elsewhere").wait()
        assert (image.location, image.data) == (f"memory://elsewhere/{image.file.name}", PNG)

    def test_what_cannot_be_read_is_kept_below_unreadable(self, host, disk):
        """Its bytes were paid for; the error names where they are."""
        host.file = lambda number, path: STRANGE
        with pytest.raises(ImageInvalid, match="disk://bucket/foxes/unreadable/"):
            make()
        kept = [path for path in (disk / "unreadable").iterdir() if path.suffix != ".json"]
        assert [path.read_bytes() for path in kept] == [STRANGE]
        assert json.loads(kept[0].with_suffix(".json").read_text())["settled"] is True

    def test_a_page_is_removed_once_the_picture_came(self, host, disk):
        """It is kept while the picture is missing."""
        host.file = lambda number, path: PAGE
        with pytest.raises(ImageInvalid):
            make()
        assert [path.read_bytes() for path in (disk / "unreadable").glob("*.txt")] == [PAGE]
        host.file = lambda number, path: PNG
        assert api.resume(load()).wait()[0].data == PNG
        assert list((disk / "unreadable").iterdir()) == []


def dying(real, nth):
    """Return `real` so that its nth call kills the process with SIGKILL instead."""
    calls = itertools.count(1)
    return lambda *arguments, **options: os.kill(os.getpid(), signal.SIGKILL) if next(calls) == nth else real(*arguments, **options)


def die(where):
    """Ask for a picture, and be killed before its sidecar is created, or before the ledger has it."""
    if where == "sidecar":
        FsspecStore._describes = dying(FsspecStore._describes, 1)
    else:
        Ledger.record_saved = dying(Ledger.record_saved, 1)
    make()


@pytest.mark.parametrize("where", ["sidecar", "ledger"])
def test_a_killed_process_leaves_one_picture(where, host, disk):
    """Between picture and sidecar, or before the ledger knew: resume ends with one picture, one sidecar, one payment."""
    assert in_a_fork(die, where) == -signal.SIGKILL
    (image,) = api.resume(load()).wait()
    assert objects(disk) == [image.file.with_suffix(".json").name, image.file.name]
    assert (host.submissions, host.downloads, image.data) == (1, 1, PNG)
    assert json.loads(image.file.with_suffix(".json").read_bytes())["sha256"] == hashlib.sha256(PNG).hexdigest()


@pytest.mark.parametrize(("size", "found"), [((1024, 1024), True), ((8, 8), False)])
def test_a_picture_without_a_sidecar_is_not_lost_when_its_address_expires(size, found, host, disk, monkeypatch):
    """The process was killed between the two, and the service no longer has it: resume takes it if it is as requested."""
    assert in_a_fork(die, "sidecar") == -signal.SIGKILL
    (name,) = objects(disk)
    (disk / name).write_bytes(a_png(size=size))
    host.file = lambda number, path: (404, {}, b"")
    later = CLOCK.time() + 2 * 86_400
    monkeypatch.setattr(CLOCK, "time", lambda: later)
    job = api.resume(load())
    if not found:
        with pytest.raises(DownloadError):
            job.wait()
        return
    (image,) = job.wait()
    assert objects(disk) == [image.file.with_suffix(".json").name, name]
    assert (host.submissions, image.data) == (1, a_png(size=size))


class TestReaders:
    """Everything that reads pictures, over pictures in a store."""

    @pytest.fixture
    def foxes(self, memory):
        """A sweep of two styles."""
        return run(sweep("a fox, {{style}}", {"style": ["oil", "ink"]}, sandbox=True, save_dir="memory://bucket/foxes"))

    def test_a_cell_shows_them_without_a_link(self, foxes):
        """A browser cannot open an address of a store."""
        shown, _ = gallery.mimebundle(foxes.images)
        assert shown["text/html"].count("data:image/") == 2
        assert "href" not in shown["text/html"]
        assert all(image.location in shown["text/plain"] for image in foxes)
        assert captions.near(foxes[0].file) == foxes[0].location

    def test_sheets_tables_and_scores(self, foxes, tmp_path):
        """The grid, the contact sheet, the rows of a table, a scorer with its reference."""
        assert foxes.grid().width > 1000
        assert foxes.contact_sheet(tmp_path / "sheet.png").stat().st_size > 10_000
        assert [row["path"] for row in foxes.rows()] == [image.location for image in foxes]
        found = run(score(foxes, scorer(name="bytes", version="1")(lambda image: len(image.data))))
        assert {number: value.value for number, value in found["bytes"].values.items()} == {image.id: len(image.data) for image in foxes}

    def test_an_address_with_credentials_is_no_reference(self, foxes):
        """It is refused without being shown."""
        with pytest.raises(UnsupportedOption, match="holds more than its name") as caught:
            run(generate("the same", references=["s3://hunter2:x@bucket/fox.png"], sandbox=True))
        assert "hunter2" not in f"{caught.value} {caught.value.value}"

    def test_an_export_holds_their_bytes(self, foxes, tmp_path):
        """And how they were made, from their sidecars."""
        written = export(foxes, tmp_path / "foxes.zip", metadata="none")
        with zipfile.ZipFile(written) as archive:
            names = [name for name in archive.namelist() if "/pictures/" in name]
            assert sorted(archive.read(name) for name in names) == sorted(image.data for image in foxes)

    def test_references_and_scores_of_references(self, foxes, gateway, monkeypatch):
        """`@17` and the picture itself are uploaded from the store."""
        gateway.be_every_gateway(monkeypatch)
        for source in (foxes[0].location, foxes[0].file, f"@{foxes[0].id}", foxes[0]):
            (edited,) = run(generate("the same at night", references=[source], provider="evolink", save_dir="memory://bucket/edits"))
            assert edited.path is None

        source_copies.remove_copies(load().home, [hashlib.sha256(foxes[0].data).hexdigest()])
        found = run(score([edited], scorer(name="width", version="1")(lambda image, reference: reference.width)))
        assert [value.value for value in found["width"].values.values()] == [foxes[0].width]

    def test_the_commands_of_a_notebook(self, foxes, memory, capsys):
        """History, compare, recall, export, jobs, doctor and where read an address as they read a path."""

        def shown(command):
            shell.run(f"%imagegen {command}")
            return capsys.readouterr().out + "".join(shell.shown())

        with a_shell() as shell:
            assert foxes[0].location in shown("history")
            assert "[-oil-]" in shown(f"compare @{foxes[0].id} {foxes[1].location}")
            assert "a fox, ink" in shown(f"recall {foxes[1].location}")
            assert "without a file" not in shown("export foxes.zip 1-2")
            shell.run("%config ImageGenMagics.save_dir = 'memory://bucket/foxes'")
            for command in ("doctor", "where", "jobs", f"tree @{foxes[0].id}"):
                shown(command)
            assert os.listdir() == ["foxes.zip"]

    def test_a_deleted_picture_is_gone_from_the_store(self, foxes, memory):
        """With its sidecar; the other stays."""
        done = loop.run(deletion.delete(api.ledger(), [foxes[0].id]))
        assert done.freed > 0
        assert sorted(name.rpartition("/")[2] for name in memory) == sorted(
            [PROBE, foxes[1].file.name, foxes[1].file.with_suffix(".json").name]
        )

    def test_a_picture_that_is_gone_is_named(self, foxes, memory):
        """As a file that was moved."""
        memory.clear()
        with pytest.raises(FileNotFoundError, match="There is no file memory://bucket/foxes/"):
            _ = foxes[0].data
        assert "There is no file" in foxes[0]._repr_mimebundle_()[0]["text/plain"]


def test_a_local_folder_is_saved_as_before():
    """No store has a part in it."""
    (image,) = saved()
    assert image.path == image.file == Path(image.location)
