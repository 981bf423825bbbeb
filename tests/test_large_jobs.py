"""Jobs of a thousand to a hundred thousand tasks: the client's memory, its budget, and what is sent while processes die."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from pool_processes import pool_processes
from servers import sandbox_server
from waiting import until

from imagegen_magic import run
from imagegen_magic.engine import api

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]

START = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from memory import peak_memory
"""
ASK = """
from imagegen_magic import ImageRequest, generate_all, run, sweep
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger import budget
from imagegen_magic.engine.settings import load

kind, tasks = sys.argv[1], int(sys.argv[2])
axis = {"number": [f"no {number}." for number in range(tasks)]}
options = {"provider": "apimart", "size": "1:1", "resolution": "1k", "quality": "low"}
"""
MAKE = """
made = run(sweep(kind + " {{number}}", axis, **options))
print(len(made), len(made.errors), peak_memory())
"""
PLAN = """
from imagegen_magic.errors import BudgetExceeded
from imagegen_magic.studies.sweeps.plan import plan, start

loop.run(budget.set_budget(api.ledger(load()), 1))
request = ImageRequest(kind + " {{number}}", **{name: value for name, value in options.items() if name != "provider"})
planned = plan(request, axis, settings=load(), provider="apimart")
try:
    start(planned, load()).wait()
except BudgetExceeded as refused:
    price = planned.requests[0].plan.price.amount
    print(refused.asked == price * tasks, len(loop.run(api.ledger(load()).tasks())), peak_memory())
"""
WORK = """
made = run(sweep(kind + " {{number}}", axis, workers=2, **options))
print(len(made), len(made.errors), peak_memory())
"""


@pytest.fixture(scope="module")
def server():
    """A sandbox in a process of its own, with one small picture for all."""
    with sandbox_server(duration=0.05, plain=True) as running:
        yield running


@pytest.fixture
def service(server, monkeypatch):
    """Point every gateway at the server."""
    server.be_every_gateway(monkeypatch)
    return server


def client(script, word, tasks):
    """Start a process that asks for so many pictures."""
    command = [sys.executable, "-c", START + ASK + script, word, str(tasks)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def printed(process):
    """Return what a client printed at its end."""
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out.split()


def accepted(server, word):
    """Return how often each prompt was accepted."""
    return Counter(entry["prompt"] for entry in server.accepted() if entry["prompt"].startswith(f"{word} "))


def once_each(word, tasks):
    """Return what `accepted` is if each was accepted once."""
    return Counter(f"{word} no {number}." for number in range(tasks))


def test_the_memory_of_ten_thousand(service, monkeypatch, tmp_path):
    """Ten times as many pictures, of which up to 2,000 are live, take less than twice the memory, and at most 300 MB."""
    peaks = {}
    for tasks in (1_000, 10_000):
        monkeypatch.setenv("IMAGEGEN_HOME", str(tmp_path / f"home of {tasks}"))
        made, errors, peak = printed(client(MAKE, f"memory of {tasks}", tasks))
        assert (int(made), int(errors)) == (tasks, 0)
        assert accepted(service, f"memory of {tasks}") == once_each(f"memory of {tasks}", tasks)
        peaks[tasks] = float(peak)
    print(peaks)
    assert peaks[10_000] <= min(2 * peaks[1_000], 300)


def test_a_hundred_thousand_are_planned_and_budgeted(service):
    """The budget is asked once for their sum, in at most 300 MB, and nothing is recorded or sent."""
    refused, rows, peak = printed(client(PLAN, "hundred thousand", 100_000))
    print(peak)
    assert (refused, rows) == ("True", "0")
    assert float(peak) <= 300
    assert not accepted(service, "hundred thousand")


LOST = {"drop-after-accept": 5, "500-after-accept": 3, "hang-after-accept": 1}  # accepted, and the client cannot know
DOUBTFUL = {"drop-before-accept": 6}  # not accepted, and the client cannot know
REFUSED = {"moderation": 4}  # answered with a refusal, and not accepted
FAILED = {"failed": 3, "failed-by-moderation": 3}  # accepted, and no picture
HEALED = {  # another attempt heals it
    "rate-limited": 6, "unavailable": 6, "look-500": 6, "look-garbage": 6, "expired": 8, "expired-403": 8,
    "download-500": 8, "dropped-download": 8, "truncated": 8, "non-image": 8, "corrupt": 8, "redirect": 8,
}  # fmt: skip
APART = 83  # tasks between two with a fault


def arm(server, word):
    """Arm each fault for a task of its own."""
    kinds = [kind for group in (LOST, DOUBTFUL, REFUSED, FAILED, HEALED) for kind, times in group.items() for _ in range(times)]
    for position, kind in enumerate(kinds):
        server.arm(kind, 1, match=f"{word} no {APART * position}.")


def test_ten_thousand_with_faults_and_kills(service):
    """Downloads, polls and submissions fail, and processes die: each state has as many tasks as faults were armed; none is paid twice."""
    word, tasks, kills = "ten thousand", 10_000, 0
    arm(service, word)
    process = client(WORK, word, tasks)
    for share in (0.2, 0.45, 0.7):
        until(lambda share=share: process.poll() is not None or _saved() >= share * tasks)
        assert process.poll() is None
        for child in pool_processes(process.pid)[: 1 + kills % 2]:
            os.kill(child, signal.SIGKILL)
            kills += 1
    made, errors, peak = printed(process)
    print(kills, "processes killed;", peak, "MB")
    lost, doubtful, refused, failed = (sum(group.values()) for group in (LOST, DOUBTFUL, REFUSED, FAILED))
    sent = accepted(service, word)
    assert (len(sent), set(sent.values())) == (tasks - doubtful - refused, {1})
    states = Counter(task.state for task in run(api.ledger().tasks()))
    assert states == {"saved": tasks - lost - doubtful - refused - failed, "unknown": lost + doubtful, "failed": refused + failed}
    assert (int(made), int(errors)) == (states["saved"], tasks - states["saved"])


def _saved():
    return run(api.ledger().fetch("SELECT count(*) FROM pictures"))[0][0]
