"""Pictures in S3: other people's server (moto) on a socket, and other people's client (s3fs)."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from filehost import PNG, file_host
from ledgers import a_png
from pool_processes import pool_processes
from test_stores import dying

from imagegen_magic import ImageRequest, generate, generate_all, run, score, scorer, sweep
from imagegen_magic.engine import api, deletion, loop
from imagegen_magic.engine.ledger.ledger import Ledger
from imagegen_magic.engine.settings import load
from imagegen_magic.engine.storage import fsspec_store, stores
from imagegen_magic.engine.storage.fsspec_store import PROBE, FsspecStore
from imagegen_magic.engine.storage.stores import open_store, sizes
from imagegen_magic.errors import SaveError
from imagegen_magic.paths import StorePath
from imagegen_magic.studies.export.archive import export

pytestmark = pytest.mark.long

ADDRESS = "s3://bucket/foxes"


class S3:
    """A server: the requests that it got, and whether it takes no notice of If-None-Match, or gives ETags that are no MD5."""

    def __init__(self, app):
        self._app = app
        self.requests = []
        self.overwrites = self.encrypts = False

    def __call__(self, environ, start_response):
        """Answer a request."""
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO'].removeprefix('/bucket')}".strip())
        if self.overwrites:
            environ.pop("HTTP_IF_NONE_MATCH", None)

        def start(status, headers, *more):
            if self.encrypts:
                headers = [(name, '"encrypted"' if name.lower() == "etag" else value) for name, value in headers]
            return start_response(status, headers, *more)

        return self._app(environ, start)

    def of(self, name):
        """Return the methods of the requests for an object."""
        return [each.split()[0] for each in self.requests if each.endswith(f"/{name}")]


@pytest.fixture(scope="module")
def server():
    """The server of this file, and its origin."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    quiet = type("Quiet", (WSGIRequestHandler,), {"log": lambda *_: None, "protocol_version": "HTTP/1.1"})
    app = S3(DomainDispatcherApplication(create_backend_app))
    running = make_server("127.0.0.1", 0, app, threaded=True, request_handler=quiet)
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield app, f"http://127.0.0.1:{running.port}"
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def s3(server, monkeypatch):
    """The server with an empty bucket, for this process and those that it starts."""
    import s3fs

    app, origin = server
    credentials = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in {**credentials, "AWS_ENDPOINT_URL_S3": origin}.items():
        monkeypatch.setenv(name, value)
    forget()
    app.overwrites = app.encrypts = False
    urlopen(Request(f"{origin}/moto-api/reset", method="POST")).close()
    s3fs.S3FileSystem().mkdir("bucket")
    app.requests.clear()
    yield app
    forget()


def forget():
    """Open the next store anew, as another process would."""
    import s3fs

    fsspec_store._filesystem.cache_clear()
    stores.object_store.cache_clear()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def host(monkeypatch):
    """A gateway whose files are the test's."""
    with file_host(monkeypatch) as running:
        yield running


def make(prompt="a red fox", **options):
    """Ask for a picture and wait for it."""
    return run(generate(prompt, **{"provider": "apimart", "size": "1:1", "save_dir": ADDRESS, **options}))


def objects():
    """Return the names and bytes of all objects, without the one of the check."""
    import s3fs

    found = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    return {name.removeprefix("bucket/foxes/"): found.cat_file(name) for name in found.find("bucket") if not name.endswith(PROBE)}


def test_a_picture_costs_four_requests_and_is_not_read_back(s3):
    """Created and asked for, each of picture and sidecar: its ETag is the MD5 of what was sent."""
    open_store(ADDRESS).save(PNG, "fox", 1, ".png", {})
    assert s3.of("fox-1.png") == s3.of("fox-1.json") == ["PUT", "HEAD"]


def test_an_etag_that_is_no_checksum_is_no_proof(s3):
    """With an encrypted bucket the bytes are read back; other bytes are another picture."""
    s3.encrypts = True
    found = open_store(ADDRESS).save(PNG, "fox", 1, ".png", {})
    assert (s3.of("fox-1.png").count("PUT"), s3.of("fox-1.png").count("GET")) == (1, 1)
    assert open_store(ADDRESS).save(PNG, "fox", 1, ".png", {}) == found
    assert open_store(ADDRESS).save(PNG[:-1] + b"?", "fox", 1, ".png", {}).path.name == "fox-1-2.png"


def test_of_racing_creators_of_the_same_bytes_one_wins_for_all(s3):
    """Eight at once: one object, one sidecar, one location."""
    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda number: FsspecStore(StorePath(ADDRESS)).save(PNG, "fox", 1, ".png", {"by": number}), range(8)))
    assert {each.path.name for each in saved} == {"fox-1.png"}
    assert objects().keys() == {"fox-1.png", "fox-1.json"}


def test_racing_creators_of_other_bytes_all_keep_theirs(s3):
    """Eight at once under one name: eight objects, each with its own sidecar."""
    contents = [PNG + bytes([number]) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda data: FsspecStore(StorePath(ADDRESS)).save(data, "fox", 1, ".png", {}), contents))
    found = objects()
    assert [found[each.path.name] for each in saved] == contents
    assert [json.loads(found[each.sidecar.name])["sha256"] for each in saved] == [hashlib.sha256(data).hexdigest() for data in contents]


def test_an_object_of_another_program_stays(s3):
    """Whatever has our name: it is not replaced, and not taken for ours."""
    import s3fs

    s3fs.S3FileSystem().pipe_file("bucket/foxes/fox-1.png", b"theirs")
    assert open_store(ADDRESS).save(PNG, "fox", 1, ".png", {}).path.name == "fox-1-2.png"
    assert objects()["fox-1.png"] == b"theirs"


def test_a_listing_of_before_is_not_believed(s3):
    """What another process saves meanwhile is seen, and what it removes is missed: fsspec's own cache would not know."""
    import s3fs

    store = open_store(ADDRESS)
    first = store.save(PNG, "fox", 1, ".png", {}).path
    cached = s3fs.S3FileSystem()
    cached.ls("bucket/foxes")
    many = [store.location / f"fox-{number}.png" for number in range(1, 6)]
    assert sizes(many) == {first: len(PNG)}
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file("bucket/foxes/fox-2.png", b"fox")
    other.rm_file("bucket/foxes/fox-1.png")
    assert not cached.exists("bucket/foxes/fox-2.png")
    assert sizes(many) == {store.location / "fox-2.png": 3}
    assert (many[0].exists(), many[1].exists()) == (False, True)
    assert sum(each == "GET /" or each == "GET" for each in s3.requests) <= 4


def test_a_server_without_exclusive_creation_is_refused(s3, host):
    """As servers that speak only a part of S3: found by trying, before anything is sent, and no trace remains."""
    s3.overwrites = True
    with pytest.raises(SaveError, match="could be overwritten"):
        make()
    assert host.submissions == 0
    assert s3.requests[-1].startswith("DELETE")


@pytest.mark.parametrize("change", [{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}, {}])
def test_without_credentials_or_bucket_nothing_is_sent(change, s3, host, monkeypatch, tmp_path):
    """The error names the address, and no key."""
    for name, value in {**change, "HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    forget()
    with pytest.raises(SaveError, match="cannot be saved in s3://nowhere/foxes") as caught:
        make(save_dir="s3://nowhere/foxes")
    assert (caught.value.charge, host.submissions) == ("no", 0)
    assert "testing" not in str(caught.value)


def test_what_is_larger_than_one_upload_is_sent_in_several_under_a_name_of_its_own(s3):
    """Its ETag is no MD5 then, so it is read back."""
    data = os.urandom(101 * 2**20)
    found = open_store(ADDRESS).save(data, "fox", 1, ".bin", {})
    assert found.path.name != "fox-1.bin"
    assert hashlib.sha256(objects()[found.path.name]).hexdigest() == found.sha256
    assert "POST" in s3.of(found.path.name)
    assert "GET" in s3.of(found.path.name)


def die(where):
    """Ask for a picture, and be killed before its sidecar is created, or before the ledger has it."""
    if where == "sidecar":
        FsspecStore._describes = dying(FsspecStore._describes, 1)
    else:
        Ledger.record_saved = dying(Ledger.record_saved, 1)
    make()


@pytest.mark.parametrize("where", ["sidecar", "ledger"])
def test_a_killed_process_leaves_one_picture(where, s3, host):
    """Between picture and sidecar, or before the ledger knew: resume ends with one picture, one sidecar, one payment."""
    code = f"import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}]; import test_stores_s3; test_stores_s3.die({where!r})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -signal.SIGKILL
    (image,) = api.resume(load()).wait()
    assert objects().keys() == {image.file.name, image.file.with_suffix(".json").name}
    assert (host.submissions, host.downloads, image.data) == (1, 1, PNG)


def test_whole_requests_and_all_that_reads_their_pictures(s3, gateway, monkeypatch, tmp_path):
    """A sweep with its grid, table, scores and export; reuse with one listing; a reference; a deletion."""
    gateway.be_every_gateway(monkeypatch)

    def foxes(**options):
        axes = {"style": ["oil", "ink"], "time": ["noon", "night"]}
        return run(sweep("a fox, {{style}}, {{time}}", axes, provider="evolink", save_dir=ADDRESS, quality="low", **options))

    study = foxes()
    assert all(image.path is None for image in study)
    assert {image.file.name for image in study} | {image.file.with_suffix(".json").name for image in study} == objects().keys()
    assert [hashlib.sha256(image.data).hexdigest() for image in study] == [row.sha256 for row in _rows(study)]
    accepted = len(gateway.accepted())
    s3.requests.clear()
    again = foxes(reuse=True)
    assert [image.id for image in again] == [image.id for image in study]
    assert len(gateway.accepted()) == accepted
    assert [each.split()[0] for each in s3.requests].count("HEAD") == 0
    assert study.grid().width > 1000
    assert study.contact_sheet(tmp_path / "sheet.png").exists()
    found = run(score(study, scorer(name="bytes", version="1")(lambda image: len(image.data))))
    assert {number: value.value for number, value in found["bytes"].values.items()} == {image.id: len(image.data) for image in study}
    with zipfile.ZipFile(export(study, tmp_path / "foxes.zip", metadata="none")) as archive:
        copies = [archive.read(name) for name in archive.namelist() if "/pictures/" in name]
    assert sorted(copies) == sorted(image.data for image in study)
    (edited,) = run(generate("at dusk", references=[f"@{study[0].id}"], provider="evolink", save_dir=ADDRESS, quality="low"))
    assert edited.path is None
    loop.run(deletion.delete(api.ledger(), [study[1].id]))
    assert not study[1].file.exists()
    assert study[0].file.exists()


def _rows(study):
    by_id = {row.id: row for row in loop.run(api.ledger().pictures(limit=None))}
    return [by_id[image.id] for image in study]


def test_bytes_of_the_same_name_and_size_are_distinguished_by_their_checksum(s3):
    """A size alone proves nothing."""
    open_store(ADDRESS).save(a_png(size=(8, 8)), "fox", 1, ".png", {})
    other = a_png(size=(8, 8))[:-1] + b"?"
    assert open_store(ADDRESS).save(other, "fox", 1, ".png", {}).path.name == "fox-1-2.png"


PICTURES = 200
KEY = "evo-canary-0123456789abcdef"


def dask_workers():
    """Start a cluster of two processes; returns it, and what tells their numbers."""
    import distributed

    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    return cluster, lambda: [nanny.pid for nanny in cluster.workers.values() if nanny.pid]


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", ["pool", "cluster"])
def test_workers_save_into_the_store(kind, s3, gateway, monkeypatch, request):
    """Three times one of them is killed: each picture is one object with one sidecar, none is paid twice, and no object has the key."""
    gateway.be_every_gateway(monkeypatch, key=KEY)
    workers, processes = 2, pool_processes
    if kind == "cluster":
        workers, processes = dask_workers()
        request.addfinalizer(workers.close)
    prompts = [f"a fox over {kind}, {number}" for number in range(PICTURES)]
    asked = [ImageRequest(prompt, size="1:1", quality="low") for prompt in prompts]
    address = workers if kind == "pool" else workers.scheduler_address
    found = []
    options = {"provider": "evolink", "save_dir": ADDRESS, "workers": address}
    thread = threading.Thread(target=lambda: found.append(run(generate_all(asked, **options))))
    thread.start()
    for share in (0.2, 0.45, 0.7):
        while thread.is_alive() and sum(each.startswith("PUT") and each.endswith(".png") for each in s3.requests) < share * PICTURES:
            time.sleep(0.01)
        assert thread.is_alive()
        os.kill(processes()[0], signal.SIGKILL)
    thread.join()
    (made,) = found
    assert made.errors == ()
    kept = objects()
    sidecars = {image.file.with_suffix(".json").name: image for image in made}
    assert kept.keys() == {image.file.name for image in made} | sidecars.keys()
    assert len(kept) == 2 * PICTURES
    for name, image in sidecars.items():
        assert json.loads(kept[name])["sha256"] == hashlib.sha256(kept[image.file.name]).hexdigest()
    assert [row.sha256 for row in _rows(made)] == [hashlib.sha256(kept[image.file.name]).hexdigest() for image in made]
    assert sorted(entry["prompt"] for entry in gateway.accepted() if f"over {kind}," in entry["prompt"]) == sorted(prompts)
    assert not [name for name, data in kept.items() if KEY.encode() in data]
