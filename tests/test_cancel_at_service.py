"""Cancelling at the service: what has not begun is cancelled and free, what runs is left unless stopping it is requested."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest
from IPython.core.error import UsageError
from servers import Sandbox, sandbox_thread
from shells import Shell, a_shell
from test_queued_services import services, use
from waiting import until
from webserver import Seen, web

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.job import Job
from imagegen_magic.engine.jobs.service_cancel import cancel_at_service
from imagegen_magic.engine.ledger.ledger import TaskRow
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import WaitingStopped
from imagegen_magic.notebook.commands.jobs import _came_of
from imagegen_magic.notebook.progress.run import cancelled_too
from imagegen_magic.providers.base import Provider
from imagegen_magic.providers.registry import get_provider
from imagegen_magic.request import ImageRequest

pytestmark = pytest.mark.slow

LONG, SHORT = 600.0, 0.001  # seconds of a task: a tenth of it waits in the queue; one that is held runs until the faults are disarmed


@contextlib.contextmanager
def a_server(monkeypatch: pytest.MonkeyPatch, duration: float) -> Iterator[Sandbox]:
    """Run a server that is both services."""
    with sandbox_thread(duration=duration) as server:
        use(server, monkeypatch)
        yield server


def started(service: str, prompt: str, *, held: bool = False) -> Job:
    """Start a job, and return it when the service has accepted its task."""
    job = api.start(ImageRequest(f"{prompt} [[fault: held]]" if held else prompt), provider=service)
    until(lambda: [task.state for task in tasks()] == ["submitted"])
    return job


def tasks() -> list[TaskRow]:
    """Return the tasks of the ledger."""
    return loop.run(api.ledger(load()).tasks())


def stopped(job: Job) -> WaitingStopped:
    """Stop the waiting for a job, and return the error that ends it."""
    job.cancel()
    with pytest.raises(WaitingStopped) as caught:
        job.wait()
    return caught.value


@services
def test_what_has_not_begun_is_cancelled_and_free(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded as not charged, and resume has nothing to collect."""
    with a_server(monkeypatch, LONG):
        job = started(service, "a fox in a queue")
        error = stopped(job)
        (task,) = tasks()
        assert (error.charge, "had not begun" in error.what) == ("no", True)
        assert (task.state, task.failure.charge if task.failure else None) == ("failed", "no")
        assert api.resume(load()).expecting == 0
        assert [runner.cost for runner in job.runners] == [None]  # it certainly cost nothing


@services
def test_what_runs_is_left_and_collected_later(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is paid for, so it is not cancelled."""
    with a_server(monkeypatch, SHORT) as server:
        error = stopped(started(service, "a running fox", held=True))
        assert (error.charge, [task.state for task in tasks()]) == ("yes", ["submitted"])
        server.disarm()
        assert len(api.resume(load()).wait().images) == 1
        assert len(server.submissions()) == 1


@services
def test_a_service_that_does_not_answer_leaves_the_task(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it has begun is not known, so resume polls it."""
    with a_server(monkeypatch, LONG) as server:
        job = started(service, "a fox behind a storm")
        server.arm("look-500", times=None)
        assert stopped(job).charge == "yes"
        assert [task.state for task in tasks()] == ["submitted"]


def test_a_defect_of_a_provider_leaves_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """The waiting ends as ever, and the task can be resumed."""

    def read_cancel(self: Provider, answer: object) -> str:
        raise KeyError("status")

    monkeypatch.setattr(type(get_provider("fal")), "read_cancel", read_cancel)
    with a_server(monkeypatch, LONG):
        assert stopped(started("fal", "a fox at a broken provider")).charge == "yes"
        assert [task.state for task in tasks()] == ["submitted"]


def test_a_gateway_without_cancelling_is_left_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent to it."""
    with sandbox_thread(duration=LONG) as server:
        server.be_every_gateway(monkeypatch)
        job = started("evolink", "a fox at a gateway")
        assert stopped(job).charge == "yes"
        assert [task.state for task in tasks()] == ["submitted"]


@pytest.mark.parametrize(("service", "note"), [("fal", "in queue, position 0"), ("replicate", "starting")])
def test_the_progress_shows_the_queue(service: str, note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the service names it."""
    with a_server(monkeypatch, LONG):
        job = started(service, "a fox that waits")
        until(lambda: [each.note for each in job.latest.values()] == [note])
        stopped(job)


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A shell with the extension."""
    with a_shell() as found:
        yield found


@services
def test_a_running_task_is_stopped_on_request(
    service: str, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ledger keeps what was charged, and resume collects nothing."""
    with a_server(monkeypatch, SHORT):
        stopped(started(service, "a fox to be stopped", held=True))
        (task,) = tasks()
        shell.run(f"%imagegen cancel {task.row} --at-service")
        assert capsys.readouterr().out == f"Task {task.row} was stopped at {service} while it ran. It may have been charged.\n"
        assert [(task.state, task.failure.charge if task.failure else None) for task in tasks()] == [("failed", "unknown")]
        assert api.resume(load()).expecting == 0


@services
def test_a_job_of_this_session_is_stopped_on_request(
    service: str, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also one that has not begun, which is free."""
    with a_server(monkeypatch, LONG):
        shell.run(f"%imagegen -p {service} --no-wait a fox of a job")
        until(lambda: [task.state for task in tasks()] == ["submitted"])
        capsys.readouterr()
        (job,) = shell.context.jobs
        shell.run(f"%imagegen cancel {job.id} --at-service")
        (task,) = tasks()
        expected = f"Task {task.row} was cancelled at {service} before it began. Nothing was charged.\n"
        assert (capsys.readouterr().out, task.state) == (expected, "failed")


@services
def test_a_running_job_of_this_session_is_stopped_on_request(
    service: str, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its waiting ends first; then its task is stopped, which may be charged."""
    with a_server(monkeypatch, SHORT):
        shell.run(f"%imagegen -p {service} --no-wait a fox that runs [[fault: held]]")
        until(lambda: [task.state for task in tasks()] == ["submitted"])
        capsys.readouterr()
        (job,) = shell.context.jobs
        shell.run(f"%imagegen cancel {job.id} --at-service")
        (task,) = tasks()
        assert capsys.readouterr().out == f"Task {task.row} was stopped at {service} while it ran. It may have been charged.\n"
        assert (job.done, task.state) == (True, "failed")


def test_what_cannot_be_stopped_is_reported(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A gateway without cancelling, a task that is closed, and no task at all."""
    with sandbox_thread(duration=LONG) as server:
        server.be_every_gateway(monkeypatch)
        stopped(started("evolink", "a fox that goes on"))
        (task,) = tasks()
        shell.run(f"%imagegen cancel {task.row} --at-service")
        assert "evolink cancels no tasks. It continues there and is charged" in capsys.readouterr().out
        assert [task.state for task in tasks()] == ["submitted"]
        shell.run(f"%imagegen forget {task.row}")
        capsys.readouterr()
        shell.run(f"%imagegen cancel {task.row} --at-service")
        assert "is not open at its service" in capsys.readouterr().out
        with pytest.raises(UsageError, match="number of a job or a task"):
            shell.run("%imagegen cancel --at-service")


@services
def test_an_interrupted_wait_names_what_is_cancelled(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is true of both kinds of tasks."""
    with a_server(monkeypatch, LONG):
        job = started(service, "an interrupted fox")
        assert "cancelled there, at no charge" in cancelled_too([job])
        stopped(job)


def test_a_task_that_had_failed_before_is_not_called_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no picture to collect; its charge is that of the failure."""
    begun = {"id": "p1", "status": "processing", "started_at": "2026-11-30T12:00:00Z"}
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_" + "a" * 37)
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "0.05")

    def answer(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        over = any(each.path.endswith("/cancel") for each in server.seen)
        return 200, {}, json.dumps({**begun, "status": "failed", "error": "CUDA out of memory"} if over else begun).encode()

    with web(answer) as server:
        monkeypatch.setenv("REPLICATE_BASE_URL", server.origin)
        stopped(started("replicate", "a fox"))
        (done,) = loop.run(cancel_at_service(load(), [tasks()[0].row]))
    assert (done.outcome, done.charge, "CUDA out of memory" in done.problem) == ("failed", "unknown", True)
    assert "had ended without a picture: Replicate could not make it: CUDA out of memory. It may have been charged." in _came_of(done)
    assert [task.state for task in tasks()] == ["failed"]
