"""Failures during reuse: other kernels, partial tasks, missing files, refusals, other gateways."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from decimal import Decimal

import pytest
from servers import sandbox_thread

from imagegen_magic import generate, run, sweep
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger import budget
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import BudgetExceeded, ImageGenError, InsufficientBalance, LedgerError, SubmissionUnknown, TaskTimeout
from imagegen_magic.studies.sweeps.plan import load as load_sweep

pytestmark = pytest.mark.slow

ONE = {"provider": "evolink", "size": "1:1", "quality": "low"}


@pytest.fixture(scope="module")
def server():
    """A gateway whose tasks take a twentieth of a second."""
    with sandbox_thread(duration=0.05, plain=True) as running:
        yield running


@pytest.fixture
def gateway(server, monkeypatch):
    """The gateway, for this process."""
    server.disarm()
    for name, value in {"IMAGEGEN_POLL_SECONDS": "0.05", **server.environ()}.items():
        monkeypatch.setenv(name, value)
    return server


def asked(prompt, **options):
    """Ask and wait."""
    return run(generate(prompt, **{**ONE, **options}))


def times(gateway, start):
    """Count the accepted submissions whose prompt begins like this."""
    return sum(one["prompt"].startswith(start) and bool(one["task_id"]) for one in gateway.log()["submissions"])


def ledger(*statements):
    """Change the ledger behind its back, as a kill would leave it."""
    with closing(sqlite3.connect(load().home / "ledger.sqlite")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def states():
    """Return every task's state and whether it has an owner, newest first."""
    return [(task.state, task.owner is not None) for task in loop.run(api.ledger(load()).tasks())]


def test_two_kernels_that_ask_for_the_same_at_once_pay_once(gateway, own_world):
    """Whoever records first sends it; the other sees that before it sends anything."""
    code = f"""
import asyncio, json, warnings
from imagegen_magic import run, sweep
warnings.simplefilter("ignore")
try:
    made = run(sweep("at once {{{{s}}}}", {{"s": [str(n) for n in range(25)]}}, reuse=True, **{ONE!r}))
    print(len(made))
except Exception as error:
    print(type(error).__name__, error)
"""
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [one.communicate(timeout=60)[0] for one in both]
    assert times(gateway, "at once") == 25, outputs
    made = run(sweep("at once {{s}}", {"s": [str(n) for n in range(25)]}, reuse=True, **ONE))
    assert len(made) == 25
    assert times(gateway, "at once") == 25


def test_four_identical_requests_at_once_pay_once(gateway):
    """The first is sent; the others report that it is running."""

    async def all_at_once():
        return await asyncio.gather(*(generate("gathered", reuse=True, **ONE) for _ in range(4)), return_exceptions=True)

    outcomes = run(all_at_once())
    assert len(gateway.accepted("gathered")) == 1
    errors = [one for one in outcomes if isinstance(one, ImageGenError)]
    assert all("is already running" in str(error) and error.charge == "no" for error in errors)
    assert len(outcomes) - len(errors) >= 1


def test_a_refusal_releases_claims(gateway):
    """A budget refuses the new part: resume still collects the claimed tasks, without paying again."""
    gateway.arm("never-finishes", times=2, match="stranded")
    with pytest.raises(TaskTimeout):
        run(sweep("stranded {{s}}", {"s": ["a", "b"]}, timeout=0.5, **ONE))
    assert api.ledger(load()).count_resumable() == 2

    loop.run(budget.set_budget(api.ledger(load()), Decimal(1)))  # which an unknown price may pass
    with pytest.raises(BudgetExceeded):
        run(sweep("stranded {{s}}", {"s": ["a", "b", "c"]}, reuse=True, **ONE))
    assert api.ledger(load()).count_resumable() == 2
    assert times(gateway, "stranded") == 2


def test_an_error_after_recording_leaves_no_running_task(gateway, monkeypatch):
    """Recorded tasks that will not be sent are dropped, so that they can be requested again."""

    async def broken(*_):
        raise LedgerError("no history today")

    with monkeypatch.context() as breaking:
        breaking.setattr("imagegen_magic.engine.context.EngineContext.history", broken)
        with pytest.raises(LedgerError, match="no history"):
            asked("recorded only")
    assert states() == [("dropped", False)]
    assert gateway.accepted("recorded only") == []
    assert len(asked("recorded only", reuse=True)) == 1

    async def forgetful(*_):
        raise LedgerError("no study today")

    with monkeypatch.context() as breaking:
        breaking.setattr("imagegen_magic.engine.jobs.builder.record_sweep", forgetful)
        with pytest.raises(LedgerError, match="no study"):
            run(sweep("not studied {{s}}", {"s": ["a", "b"]}, **ONE))
    assert states()[:2] == [("dropped", False)] * 2


def test_one_gateways_empty_account_stops_only_its_own(gateway):
    """The others' combinations are made."""
    gateway.arm("no-balance", times=None, provider="evolink", match="poor")
    with pytest.warns(UserWarning, match="12 of 24 pictures"):
        made = run(sweep("poor {{s}}", {"provider": ["evolink", "apimart"], "s": [str(n) for n in range(12)]}, size="1:1", quality="low"))
    assert {image.provider for image in made} == {"apimart"}
    assert all(isinstance(error, InsufficientBalance) for error in made.errors)
    assert len(made.errors) == 12


def test_half_of_a_task_that_was_saved_is_given_with_the_rest(gateway):
    """All four pictures, in their order, the two that were there and the two that are fetched now."""
    four = asked("four", n=4)
    ids = [image.id for image in four]
    ledger(
        f"UPDATE pictures SET saved_at = NULL, path = NULL WHERE id IN ({ids[2]}, {ids[3]})",
        "UPDATE tasks SET state = 'made', owner = NULL",
    )
    loop.stop()
    again = asked("four", n=4, reuse=True)
    assert [image.id for image in again] == ids
    assert [image.reused for image in again] == [True, True, False, False]
    assert len(gateway.accepted("four")) == 1


def test_tasks_alike_are_given_in_the_order_in_which_they_were_made(gateway):
    """The first stays the first, so that what was made from it is found again, too."""
    first = asked("in order", provider="gccai", n=12)
    again = asked("in order", provider="gccai", n=12, reuse=True)
    assert [image.id for image in again] == [image.id for image in first]
    assert [image.id for image in asked("in order", provider="gccai", n=4, reuse=True)] == [image.id for image in first[8:]]
    assert len(gateway.accepted("in order")) == 3


def test_another_address_of_a_gateway_is_another_gateway(gateway, monkeypatch):
    """What a test server drew is no picture of the real one."""
    asked("addressed")
    with sandbox_thread(duration=0.05, plain=True) as other:
        for name, value in other.environ().items():
            monkeypatch.setenv(name, value)
        assert not asked("addressed", reuse=True)[0].reused
        assert len(other.accepted("addressed")) == 1


def test_sweeps_with_different_fixed_options_are_two(gateway):
    """The same prompt and axes with other options."""
    low = run(sweep("studied {{s}}", {"s": ["x", "y"]}, **ONE))
    high = run(sweep("studied {{s}}", {"s": ["x", "y"]}, provider="apimart", size="16:9", quality="high"))
    assert low.study != high.study
    assert [image.provider for image in load_sweep(low.study)] == ["evolink", "evolink"]
    again = run(sweep("studied {{s}}", {"s": ["x", "y"]}, reuse=True, **ONE))
    assert again.study == low.study


def test_a_submission_of_unknown_fate_stays_in_doubt_until_it_is_forgotten(gateway):
    """However long ago: it may have been paid for."""
    gateway.arm("500-after-accept", match="in doubt")
    with pytest.raises(SubmissionUnknown):
        asked("in doubt", provider="xingchao")  # which cannot be asked about it
    ledger("UPDATE tasks SET submitting_at = '2020-01-01T00:00:00.000+00:00', planned_at = '2020-01-01T00:00:00.000+00:00'")
    with pytest.raises(SubmissionUnknown, match="forget"):
        asked("in doubt", reuse=True, provider="xingchao")
    assert len(gateway.accepted("in doubt")) == 1


def test_a_missing_file_is_fetched_again_while_the_gateway_keeps_it(gateway):
    """One of four is fetched, and nothing is paid for."""
    four = asked("lost", n=4)
    four[2].path.unlink()
    again = asked("lost", n=4, reuse=True)
    assert [image.reused for image in again] == [True, True, False, True]
    assert [image.id for image in again] == [image.id for image in four]
    assert again[2].data
    assert len(gateway.accepted("lost")) == 1


def test_a_file_that_has_long_been_missing_is_made_again(gateway):
    """Its address has expired by then."""
    (old,) = asked("long lost")
    old.path.unlink()
    ledger("UPDATE tasks SET made_at = '2020-01-01T00:00:00.000+00:00'")
    assert not asked("long lost", reuse=True)[0].reused
    assert len(gateway.accepted("long lost")) == 2


def test_a_reference_that_was_painted_over_is_another_picture(gateway):
    """The file as it is now is uploaded; its old address is the old picture's."""
    (fox,) = asked("to be painted over")
    with fox.open() as image:
        image.convert("RGB").transpose(0).save(fox.path, format="PNG")
    asked("made from it", references=[f"@{fox.id}"])
    (sent,) = gateway.accepted("made from it")
    assert "/uploads/" in json.dumps(sent["json"]["image_urls"])
