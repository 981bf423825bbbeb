"""Pictures that other processes fetch: the same results, nothing paid twice whatever dies, and no key outside this process."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import dask
import distributed
import pytest
import store_disks
from pool_processes import pool_processes
from servers import Sandbox

import imagegen_magic
from imagegen_magic import Generation, ImageRequest, generate_all, run, sweep
from imagegen_magic.engine import api
from imagegen_magic.engine.ledger import scores as stored
from imagegen_magic.engine.net import transport
from imagegen_magic.engine.workers import cluster as backend
from imagegen_magic.errors import UnsupportedOption
from imagegen_magic.studies.scores import remote
from imagegen_magic.studies.scores.scorer import as_scorer

pytestmark = pytest.mark.slow

DEATHS = """
import os, pathlib, signal
from imagegen_magic.engine.workers import fetching
save, folder = fetching._save, pathlib.Path(__file__).parent
def dying(task, download):
    if "poison" in task.sidecar["prompt"]:
        os._exit(7)
    if "freeze" in task.sidecar["prompt"] and not (folder / "frozen").exists():
        (folder / "frozen.part").write_text(str(os.getpid()))
        (folder / "frozen.part").rename(folder / "frozen")
        os.kill(os.getpid(), signal.SIGSTOP)
        saved = save(task, download)
        (folder / "thawed").touch()
        return saved
    if "kill" in task.sidecar["prompt"]:
        try:
            os.close(os.open(folder / "killed", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            pass
        else:
            os.kill(os.getpid(), signal.SIGKILL)
    return save(task, download)
fetching._save = dying
"""
"""What every Python process does that starts with it: a prompt names how its worker dies, once (kill) or each time (poison)."""

OPTIONS: dict[str, Any] = {"provider": "evolink", "size": "1024x1024", "quality": "low"}
KEY = "evo-canary-0123456789abcdef"


@pytest.fixture
def service(gateway: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    """Return the service with a key."""
    gateway.be_every_gateway(monkeypatch, key=KEY)
    return gateway


@pytest.fixture
def dying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have workers die as the prompts say; returns the folder in which the one kill is noted."""
    folder = tmp_path / "deaths"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(DEATHS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(imagegen_magic.__file__).parent.parent)]))
    return folder


def prompts(word: str, count: int = 6) -> list[ImageRequest]:
    """Return requests that no other test makes."""
    return [ImageRequest(f"{word} {number}", size="1024x1024", quality="low") for number in range(count)]


def make(requests: list[ImageRequest], **more: Any) -> Generation:
    """Make them all at the service."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of them are left on purpose
        return run(generate_all(requests, provider="evolink", **more))


def facts(made: Generation) -> list[tuple[Any, ...]]:
    """Return what is equal wherever a picture was fetched: not times, names, the service's numbers, and what it draws for each."""
    sidecars = [json.loads(image.path.with_suffix(".json").read_text()) for image in made]
    for each in sidecars:
        for name in ("task_id", "submitted", "saved", "seconds", "sha256"):
            del each[name]
    return [
        (image.width, image.height, image.mime_type, image.differences, image.cost, image.request, list(sidecar.items()))
        for image, sidecar in zip(made, sidecars, strict=True)
    ]


def accepted(service: Sandbox, word: str) -> int:
    """Return how many tasks of these prompts the service accepted."""
    return sum(entry["prompt"].startswith(f"{word} ") for entry in service.accepted())


def check_saved(made: Generation, asked: int) -> None:
    """Each picture is there once, under the SHA-256 that its sidecar and the ledger have."""
    assert len({image.path for image in made}) == len(made) == asked
    rows = {row.id: row for row in run(api.ledger().pictures(ids=[image.id for image in made], limit=None))}
    for image in made:
        digest = hashlib.sha256(image.data).hexdigest()
        assert digest == rows[image.id].sha256 == json.loads(image.path.with_suffix(".json").read_text())["sha256"]
    assert len(list(made[0].path.parent.glob("*.png"))) == asked


def test_a_pool_gives_the_same_pictures(service: Sandbox, tmp_path: Path) -> None:
    """The same call with none and with two processes; a name has the ledger's row, so that it is the same on every try."""
    service.arm("fewer-pictures", None, match="same 5")
    asked = [*prompts("same", 5), ImageRequest("same 5", size="1024x1024", quality="low", n=2)]
    here = make(asked, save_dir=tmp_path / "here")
    there = make(asked, save_dir=tmp_path / "there", workers=2)
    assert (here.errors, there.errors) == ((), ())
    assert facts(there) == facts(here)
    assert there[-1].differences == ("asked 2 pictures, got 1",)
    check_saved(there, len(here))
    rows = {row.id: row.task for row in run(api.ledger().pictures(ids=[image.id for image in there]))}
    assert all(f"-{rows[image.id]}-" in image.path.name for image in there)
    assert accepted(service, "same") == 2 * len(asked)


def test_a_sweep_takes_workers(service: Sandbox) -> None:
    """`sweep(workers=)` gives the same result as without."""
    here, there = (run(sweep("{{k}} of sweeps", {"k": ["one", "two"]}, workers=workers, **OPTIONS)) for workers in (None, 2))
    assert (there.places, there.axes) == (here.places, here.axes)
    assert facts(there) == facts(here)


def test_a_killed_process_takes_no_picture_with_it(service: Sandbox, dying: Path) -> None:
    """Its batch is fetched by others; nothing is submitted again."""
    made = make(prompts("kill"), workers=2)
    assert (dying / "killed").exists()
    assert made.errors == ()
    check_saved(made, 6)
    assert accepted(service, "kill") == 6


def test_a_picture_that_ends_its_processes_is_left_alone(service: Sandbox, dying: Path) -> None:
    """It is not fetched in this process, and can be collected later; all others are saved."""
    made = make([*prompts("five", 5), *prompts("poison", 1)], workers=2)
    assert len(made) == 5
    (error,) = made.errors
    assert "the worker that read it ended" in str(error)
    assert error.charge == "yes"
    assert (accepted(service, "five"), accepted(service, "poison")) == (5, 1)
    collected = api.resume().wait()
    assert [image.request.prompt for image in collected] == ["poison 0"]
    assert (accepted(service, "five"), accepted(service, "poison")) == (5, 1)


def test_faults_of_a_download_end_as_without_workers(service: Sandbox, tmp_path: Path) -> None:
    """Only this process can request a new address (expired); what a worker cannot decide is fetched here, with all that it can do."""
    faults = ["expired", "expired-403", "non-image", "download-500", "dropped-download", "corrupt", "redirect"]
    found = []
    for workers in (None, 1):
        service.disarm()
        for fault in faults:
            service.arm(fault, 1, match=f"with {fault} ")
        made = make([each for fault in faults for each in prompts(f"with {fault}", 1)], workers=workers, save_dir=tmp_path / str(workers))
        found.append(facts(made))
        assert made.errors == ()
        check_saved(made, len(faults))
    assert found[0] == found[1]
    assert accepted(service, "with") == 2 * len(faults)


SCRIPT = """
from imagegen_magic import generate_all, run
made = run(generate_all(["a script 0", "a script 1"], provider="evolink", workers=2))
print(len(made), made.errors)
"""


def test_a_script_without_a_guard_sends_its_requests_once(service: Sandbox, tmp_path: Path) -> None:
    """A process of the pool does not run the caller's script again, which would submit and pay once more."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "2 ()"), done.stderr
    assert accepted(service, "a script") == 2


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of objects on this machine's disk, which other processes know too; returns its folder."""
    folder = tmp_path / "disk"
    folder.mkdir()
    known = tmp_path / "known"
    known.mkdir()
    (known / "sitecustomize.py").write_text("import store_disks\nstore_disks.register()\n")
    paths = [known, Path(__file__).parent, Path(imagegen_magic.__file__).parent.parent]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, paths)))
    monkeypatch.setenv("DISK_STORE", str(folder))
    store_disks.register()
    return folder


def test_what_a_store_did_not_take_is_resumed(service: Sandbox, disk: Path) -> None:
    """It fails for two of the pictures while processes save them: the others are kept, the two are collected later, and paid once."""
    (disk / "down").touch()
    made = make([*prompts("kept", 4), *prompts("lost", 2)], workers=2, save_dir=store_disks.ADDRESS)
    assert sorted(image.request.prompt for image in made) == [f"kept {number}" for number in range(4)]
    assert [error.charge for error in made.errors] == ["yes", "yes"]
    (disk / "down").unlink()
    collected = api.resume(workers=2).wait()
    assert sorted(image.request.prompt for image in collected) == ["lost 0", "lost 1"]
    assert (accepted(service, "kept"), accepted(service, "lost")) == (4, 2)
    for image in [*made, *collected]:
        sidecar = json.loads(image.file.with_suffix(".json").read_bytes())
        assert sidecar["sha256"] == hashlib.sha256(image.data).hexdigest()
    assert len(list((disk / "bucket/foxes").glob("*.png"))) == 6


def test_a_transport_of_the_user_is_not_passed_by(service: Sandbox) -> None:
    """Workers would connect without the user's certificate or proxy, so that nothing is sent."""
    transport.use_transport(lambda: pytest.fail("nothing is sent"))
    try:
        with pytest.raises(UnsupportedOption, match="A transport of your own"):
            make(prompts("own transport", 1), workers=1)
    finally:
        transport.use_transport(None)
    assert accepted(service, "own transport") == 0


# --- a Dask cluster


def local_cluster(stack: ExitStack, workers: int = 2, **options: Any) -> Any:
    """Start a cluster of processes on the loopback address, without a dashboard."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        started = distributed.LocalCluster(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, **options)
    stack.callback(started.close, timeout=5)
    return started


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster that serves all tests that leave it whole."""
    with ExitStack() as stack:
        yield local_cluster(stack)


def test_a_cluster_gives_the_same_pictures(service: Sandbox, cluster: Any, tmp_path: Path) -> None:
    """By its address and by a client, as without workers; the ledger's row is in each name."""
    asked = prompts("clustered", 5)
    with distributed.Client(cluster) as client:
        made = [make(asked, save_dir=tmp_path / str(n), workers=each) for n, each in enumerate((None, cluster.scheduler_address, client))]
        assert [each.errors for each in made] == [(), (), ()]
        assert facts(made[1]) == facts(made[2]) == facts(made[0])
        for each in made:
            check_saved(each, 5)
        there = run(sweep("{{k}} of clusters", {"k": ["one", "two"]}, provider="evolink", size="1024x1024", workers=client))
        assert len(there) == 2
    assert accepted(service, "clustered") == 15


def test_nothing_of_the_cluster_holds_a_key_or_an_address(
    service: Sandbox, cluster: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key in what is sent; no address or prompt in names of tasks, plug-ins, events, and the logs of scheduler and workers."""
    sent: list[bytes] = []
    submit = distributed.Client.submit

    def recorded(self: Any, function: Any, *args: Any, **options: Any) -> Any:
        sent.append(pickle.dumps((function, args)))
        assert re.fullmatch("imagegen-[0-9a-f]{32}", options["key"])
        return submit(self, function, *args, **options)

    monkeypatch.setattr(distributed.Client, "submit", recorded)
    made = make(prompts("canary", 3), workers=cluster.scheduler_address)
    assert len(made) == 3
    assert sent
    assert not [each for each in sent if KEY.encode() in each]
    with distributed.Client(cluster) as client:
        seen = client.run_on_scheduler(_kept), client.get_worker_logs(), client.get_scheduler_logs(), client.get_events()
    text = repr(seen) + caplog.text
    assert not [word for word in (KEY, "canary", *(image.url for image in made)) if word in text]


def _kept(dask_scheduler: Any) -> str:
    return repr([dask_scheduler.tasks, dask_scheduler.worker_plugins, dask_scheduler.task_prefixes, dask_scheduler.get_logs()])


def test_a_killed_worker_of_a_cluster_takes_no_picture_with_it(service: Sandbox, dying: Path) -> None:
    """Dask runs its task again on another one; nothing is submitted again, and each picture is there once."""
    with ExitStack() as stack:
        made = make(prompts("kill of a cluster"), workers=local_cluster(stack).scheduler_address)
    assert (dying / "killed").exists()
    assert made.errors == ()
    check_saved(made, 6)
    assert accepted(service, "kill of a cluster") == 6


@pytest.mark.long
def test_a_picture_that_ends_the_workers_of_a_cluster_is_left_alone(service: Sandbox, dying: Path) -> None:
    """All others of its batches are saved; it is not fetched in this process, and can be collected later."""
    with ExitStack() as stack:
        stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 0}))
        made = make([*prompts("five of a cluster", 5), *prompts("poison of a cluster", 1)], workers=local_cluster(stack).scheduler_address)
    assert len(made) == 5
    (error,) = made.errors
    assert "the worker that read it ended" in str(error)
    assert (accepted(service, "five of a cluster"), accepted(service, "poison of a cluster")) == (5, 1)
    collected = api.resume().wait()
    assert [image.request.prompt for image in collected] == ["poison of a cluster 0"]
    assert (accepted(service, "five of a cluster"), accepted(service, "poison of a cluster")) == (5, 1)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """A scheduler and a worker, each a process of its own: the address, the scheduler, the worker."""
    file = tmp_path / "scheduler.json"
    here = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    scheduler = subprocess.Popen([*command, "--scheduler-file", str(file)], **here)
    worker = None
    try:
        _until(file.exists)
        address = _until(lambda: json.loads(file.read_text() or "{}").get("address"))
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1", "--host", "127.0.0.1"]
        worker = subprocess.Popen([*command, "--no-dashboard"], **here)
        with distributed.Client(address, timeout=30) as client:
            client.wait_for_workers(1, timeout=30)
        yield address, scheduler, worker
    finally:
        for each in filter(None, (scheduler, worker)):
            with suppress(ProcessLookupError):
                os.killpg(each.pid, signal.SIGKILL)
            each.wait()


def _until(condition: Any, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("victim", ["scheduler", "worker"])
def test_without_its_cluster_this_process_goes_on(service: Sandbox, processes: Any, victim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scheduler, or its only worker, is killed while pictures are out: they are fetched here, and nothing is submitted again."""
    address, scheduler, worker = processes
    monkeypatch.setattr(backend, "_PATIENCE", 1.0)
    service.arm("slow", None, match=f"{victim} gone")
    asked = prompts(f"{victim} gone", 4)
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(make(asked, workers=address)))
    thread.start()
    _until(lambda: accepted(service, f"{victim} gone") == 4)
    time.sleep(0.3)  # either way the result is the same; most often the pictures are out by now
    os.kill((scheduler if victim == "scheduler" else worker).pid, signal.SIGKILL)
    thread.join(120)
    assert not thread.is_alive()
    assert found[0].errors == ()
    check_saved(found[0], 4)
    assert accepted(service, f"{victim} gone") == 4


CLOSED = """
import time
from distributed import LocalCluster
from imagegen_magic import generate_all, run
if __name__ == "__main__":
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=False) as cluster:
        made = run(generate_all(["closed 0"], provider="evolink", workers=cluster.scheduler_address))
    time.sleep(0.5)
    print(len(made), made.errors)
"""


def test_a_cluster_that_is_closed_afterwards_leaves_no_word(service: Sandbox, tmp_path: Path) -> None:
    """The connection to it ends too: nothing tries to reach it again, and nothing is logged when the process ends."""
    script = tmp_path / "script.py"
    script.write_text(CLOSED)
    done = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stdout) == (0, "1 ()\n"), done.stderr
    assert not re.search("ERROR|Traceback", done.stderr), done.stderr


def test_what_cannot_work_is_refused_before_anything_is_sent(service: Sandbox, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No scheduler there, another version on the workers, no package."""
    monkeypatch.setattr(backend, "_CONNECT", 0.5)
    with pytest.raises(UnsupportedOption, match="cannot be reached"):
        make(prompts("refused", 1), workers="tcp://127.0.0.1:1")
    monkeypatch.setattr(backend, "__version__", "0.0.1")
    with pytest.raises(UnsupportedOption, match=r"its workers have imagegen_magic .*, and this process has 0\.0\.1"):
        make(prompts("refused", 1), workers=cluster.scheduler_address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UnsupportedOption, match=r"imagegen-magic\[dask\]"):
        make(prompts("refused", 1), workers="tcp://127.0.0.1:2")
    assert accepted(service, "refused") == 0


CLIENT = """
import sys
from imagegen_magic import ImageRequest, generate_all, run
asked = [ImageRequest(f"{sys.argv[3]} {number}", size="1024x1024", quality="low") for number in range(int(sys.argv[1]))]
run(generate_all(asked, provider="evolink", workers=2, save_dir=sys.argv[2]))
"""


def kill_client(word: str, folder: Path, asked: int, when: Any) -> None:
    """Start a client of so many requests, and kill it as soon as `when` returns something true; its workers end with it."""
    command = [sys.executable, "-c", CLIENT, str(asked), str(folder), word]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: when() or client.poll() is not None)
    finally:
        client.kill()
        client.wait()


@pytest.mark.parametrize(
    ("asked", "submitted"),
    [(12, 12), pytest.param(200, 60, marks=pytest.mark.long), pytest.param(200, 200, marks=pytest.mark.long)],
)
def test_a_killed_client_is_resumed(service: Sandbox, tmp_path: Path, asked: int, submitted: int) -> None:
    """Killed while it submits or while its workers fetch: what was accepted is collected, once, and nothing is submitted again."""
    folder, word = tmp_path / "pictures", f"client of {asked} killed at {submitted}:"

    def ready() -> bool:
        return accepted(service, word) >= submitted and (submitted < asked or any(folder.glob("*.png")))

    kill_client(word, folder, asked, ready)
    sent = accepted(service, word)
    assert submitted <= sent <= asked
    collected = api.resume(workers=2).wait()
    rows = run(api.ledger().tasks())
    assert not [row for row in rows if row.state in ("planned", "submitting", "submitted", "made")]
    saved, unknown = ([row for row in rows if row.state == state] for state in ("saved", "unknown"))
    assert accepted(service, word) == sent
    assert len(saved) + len(unknown) >= sent
    assert len(unknown) <= 8  # submissions that were in flight
    assert len(list(folder.glob("*.png"))) == len(saved)
    assert len(collected) <= len(saved)


@pytest.fixture
def short_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a scheduler give up a worker that is silent for a few seconds."""
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL", "2s")
    monkeypatch.setattr(backend, "_PATIENCE", 1.0)


@pytest.mark.long
def test_a_worker_that_freezes_and_thaws_saves_no_second_file(service: Sandbox, dying: Path, short_life: None, processes: Any) -> None:
    """Its picture is fetched elsewhere meanwhile; when it goes on, it finds its own name with its own bytes."""
    made = make(prompts("freeze", 1), workers=processes[0])
    assert made.errors == ()
    os.kill(int((dying / "frozen").read_text()), signal.SIGCONT)
    _until((dying / "thawed").exists)
    check_saved(made, 1)
    assert accepted(service, "freeze") == 1


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_thousand_with_faults_and_kills(service: Sandbox, tmp_path: Path) -> None:
    """Processes of the pool are killed all the while, and downloads fail: each picture is there once, and none is paid twice."""
    faults = ("expired", "download-500", "dropped-download", "non-image", "corrupt")
    for fault in faults:
        service.arm(fault, 8, match="thousand")
    found: list[Generation] = []
    asked = prompts("thousand", 1_000)
    thread = threading.Thread(target=lambda: found.append(make(asked, workers=2, save_dir=tmp_path / "pictures")))
    thread.start()
    for share in (0.2, 0.45, 0.7):
        _until(lambda share=share: len(list((tmp_path / "pictures").glob("*.png"))) >= share * 1_000, 600)
        for child in pool_processes():
            os.kill(child, signal.SIGKILL)
    thread.join(600)
    assert not thread.is_alive()
    assert found[0].errors == ()
    check_saved(found[0], 1_000)
    assert accepted(service, "thousand") == 1_000


# --- scores

SCORERS = '''
import os, signal

from imagegen_magic import scorer

LOADED = []


def process(image):
    """The number of the process, which loads its model once."""
    LOADED.append(1) if not LOADED else None
    return {"process": os.getpid(), "loaded": len(LOADED)}


@scorer(batch=4, version="1")
def width(images):
    return [image.open().width for image in images]


@scorer(resources={"GPU": 1})
def on_gpu(image):
    return os.getpid()


def broken(image):
    if image.request.prompt.endswith("3"):
        os.kill(os.getpid(), signal.SIGKILL)
    if image.request.prompt.endswith("2"):
        raise ValueError("no such thing")
    return float("nan") if image.request.prompt.endswith("1") else 1
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A module of scorers that other processes can import."""
    (tmp_path / "scorers_of_mine.py").write_text(SCORERS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(Path(imagegen_magic.__file__).parent.parent)]))
    yield "scorers_of_mine"
    sys.modules.pop("scorers_of_mine", None)


def values(scores: Any, name: str) -> list[Any]:
    """Return the values of a score, in the order of the pictures."""
    return list(scores[name].numbers.values())


def test_scores_over_a_pool(service: Sandbox, module: str) -> None:
    """Built-in scorers and importable ones run in the processes, with the same values; a function of this session runs here."""
    made = make(prompts("scored"), workers=2)

    def own(image: Any) -> int:
        return os.getpid()

    scores = run(imagegen_magic.score(made, "brightness", f"{module}:width", f"{module}:process", own, workers=2))
    again = run(imagegen_magic.score(made, "brightness", f"{module}:width", fresh=True))
    assert values(scores, "brightness") == values(again, "brightness")
    assert values(scores, "width") == values(again, "width") == [1024] * 6
    assert os.getpid() not in values(scores, "process process")
    assert set(values(scores, "process loaded")) == {1}
    assert set(values(scores, "own")) == {os.getpid()}


def test_an_error_or_a_death_is_the_value_of_one_picture(service: Sandbox, module: str) -> None:
    """What raises, returns NaN or ends its worker fails; all others are measured."""
    made = make(prompts("broken"), workers=2)
    scores = run(imagegen_magic.score(made, f"{module}:broken", workers=2))
    failed = {made[position].id for position in (1, 2, 3)}
    assert scores["broken"].numbers == {image.id: 1.0 for image in made if image.id not in failed}
    reasons = " ".join(row.error for row in run(stored.scores_of(api.ledger(), sorted(failed))))
    assert all(word in reasons for word in ("nan", "no such thing", "the worker that measured it ended"))


def test_scores_over_a_cluster(service: Sandbox, module: str) -> None:
    """The same over Dask, whose workers may have resources."""
    made = make(prompts("scored there", 3))
    with ExitStack() as stack:
        address = local_cluster(stack, 1, resources={"GPU": 1}).scheduler_address
        there = run(imagegen_magic.score(made, "sharpness", f"{module}:process", f"{module}:on_gpu", workers=address))
    assert os.getpid() not in values(there, "process process") + values(there, "on_gpu")
    assert values(there, "sharpness") == values(run(imagegen_magic.score(made, "sharpness", fresh=True)), "sharpness")


def test_resources_that_no_worker_has_are_refused(service: Sandbox, cluster: Any, module: str) -> None:
    """Dask would wait for such a worker for ever."""
    made = make(prompts("without a GPU", 1))
    with pytest.raises(UnsupportedOption, match="none of its workers has the resources GPU=1"):
        run(imagegen_magic.score(made, f"{module}:on_gpu", workers=cluster.scheduler_address))


def test_a_scorer_of_another_version_is_no_value(service: Sandbox, module: str) -> None:
    """The worker compares the fingerprint with that of its own code, so that nothing stale is taken for fresh."""
    (image,) = make(prompts("stale", 1))
    task = remote.task_of(as_scorer(f"{module}:width", lambda name: None), [image], [{}])
    assert (task.images[0].url, task.images[0].preview) == ("", None)
    (found,) = remote.score_all(pickle.loads(pickle.dumps(task._replace(fingerprint="0" * 32))))
    assert found[""].error == "the worker has another version of width"
    (found,) = remote.score_all(task)
    assert found[""].value == 1024
