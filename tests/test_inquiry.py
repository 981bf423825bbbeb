"""A submission without an answer is asked about: with the same body and key, or in the gateway's own list of tasks."""

import contextlib
import functools
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from decimal import Decimal
from typing import ClassVar

import pytest
from servers import sandbox_server
from shells import a_shell
from waiting import until

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.jobs.inquiry import StillUnclear, asked_until, read_inquiry
from imagegen_magic.engine.jobs.unanswered import the_one_that_fits, unanswered
from imagegen_magic.engine.ledger.budget import set_budget
from imagegen_magic.engine.ledger.claims import Claims
from imagegen_magic.engine.ledger.inquiries import inquiries_of
from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import BudgetExceeded, ContentRejected, SubmissionUnknown, WaitingStopped
from imagegen_magic.humanize import local_minute
from imagegen_magic.providers.base import ListedTask
from imagegen_magic.providers.registry import get_provider

pytestmark = pytest.mark.slow

EVOLINK = {"provider": "evolink", "size": "1024x1024", "quality": "low"}
GCCAI = {"provider": "gccai", "size": "1:1", "quality": "low"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One gateway process."""
    with sandbox_server(duration=0.1, home=tmp_path_factory.mktemp("gateway")) as running:
        yield running


@pytest.fixture(autouse=True)
def gateway(server, monkeypatch):
    """Every gateway is the server."""
    server.be_every_gateway(monkeypatch)
    return server


def _tasks():
    return loop.run(api.ledger(load()).tasks())


def _inquiries(row):
    return [(each.way, each.outcome) for each in loop.run(inquiries_of(api.ledger(load()), [row])).get(row, [])]


def _unknown():
    return loop.run(unanswered(api.ledger(load()), load()))


def _left_unknown(prompt, options=EVOLINK):
    """Make a submission of unknown outcome, as a killed process leaves it."""
    provider = get_provider("evolink")
    type(provider).idempotency = False
    try:
        with pytest.raises(SubmissionUnknown):
            run(generate(prompt, **options))
    finally:
        type(provider).idempotency = True


class TestAtOnce:
    """The engine asks by itself while the cell waits."""

    @pytest.mark.parametrize("fault", ["drop-after-accept", "drop-before-accept", "502-after-accept", "truncated-json", "no-task-id"])
    def test_the_same_key_finds_the_task(self, server, fault):
        """Whatever became of the first answer, one task is made and its picture comes."""
        prompt = f"asked at once [[fault: {fault}]]"
        assert len(run(generate(prompt, **EVOLINK))) == 1
        sent = server.submissions(prompt)
        assert len(sent) == 2
        assert len({each["idempotency_key"] for each in sent}) == 1
        assert sent[0]["json"] == sent[1]["json"]
        assert len(server.accepted(prompt)) == 1
        (task,) = _tasks()
        assert task.state == "saved"
        assert _inquiries(task.row) == [("repeat", "accepted")]

    def test_in_progress_is_waited_for(self, server):
        """409 with Retry-After: asked again after that time."""
        prompt = "in progress [[fault: drop-after-accept]] [[fault: repeat-in-progress]]"
        assert len(run(generate(prompt, **EVOLINK))) == 1
        assert _inquiries(_tasks()[0].row) == [("repeat", "unclear"), ("repeat", "accepted")]
        assert len(server.accepted(prompt)) == 1

    def test_stopped_between_two_questions_it_can_be_asked_about_again(self, server):
        """Nothing is on the wire then, so the same kernel can resume it at once."""
        prompt = "stopped between [[fault: drop-after-accept]] [[fault: repeat-in-progress:3]]"
        job = api.start(ImageRequest(prompt, size="1024x1024", quality="low"), provider="evolink")
        until(lambda: [_inquiries(task.row)[:1] for task in _tasks()] == [[("repeat", "unclear")]])
        job.cancel()
        with pytest.raises(WaitingStopped) as error:
            job.wait()
        assert error.value.charge == "unknown"
        assert [each.task.state for each in _unknown()] == ["unknown"]
        assert len(api.resume(load()).wait()) == 1
        assert len(server.accepted(prompt)) == 1

    def test_what_the_gateway_does_not_know_stays_unknown(self, server):
        """`paid_outcome_unknown` ends the questions, also those of resume."""
        prompt = "indeterminate [[fault: drop-after-accept]] [[fault: repeat-indeterminate]]"
        with pytest.raises(SubmissionUnknown, match="itself does not know"):
            run(generate(prompt, **EVOLINK))
        assert [(each.task.state, each.until) for each in _unknown()] == [("unknown", None)]

    def test_a_certain_refusal_is_a_refusal(self, server):
        """The first request never arrived, and moderation refuses the second: nothing is charged."""
        prompt = "refused then [[fault: drop-before-accept]] [[fault: moderation:2]]"
        with pytest.raises(ContentRejected):
            run(generate(prompt, **EVOLINK))
        (task,) = _tasks()
        assert (task.state, task.failure.charge) == ("failed", "no")
        assert _inquiries(task.row) == [("repeat", "refused")]

    def test_no_longer_than_the_cells_patience(self, server):
        """A gateway that stays at work is asked until the timeout; then it is unknown, and one task was sent."""
        prompt = "in progress for long [[fault: drop-after-accept]] [[fault: repeat-in-progress:99]]"
        with pytest.raises(SubmissionUnknown):
            run(generate(prompt, timeout=2, **EVOLINK))
        assert [task.state for task in _tasks()] == ["unknown"]
        assert {outcome for _, outcome in _inquiries(_tasks()[0].row)} == {"unclear"}
        assert len(server.accepted(prompt)) == 1

    def test_not_when_the_key_may_be_forgotten(self, server, monkeypatch):
        """A key that lives an hour is not asked about in its last hour: the gateway would make another task."""
        monkeypatch.setattr(type(get_provider("evolink")), "idempotency_seconds", 3600.0)
        prompt = "key of an hour [[fault: drop-after-accept]]"
        with pytest.raises(SubmissionUnknown):
            run(generate(prompt, **EVOLINK))
        assert len(server.submissions(prompt)) == 1
        assert [(each.task.state, each.until) for each in _unknown()] == [("unknown", None)]

    def test_a_gateway_without_idempotency_is_not_asked(self, server):
        """Its page does not say that a repeated key is safe: one submission, and it stays unknown."""
        prompt = "not asked [[fault: drop-after-accept]]"
        with pytest.raises(SubmissionUnknown):
            run(generate(prompt, **GCCAI))
        assert len(server.submissions(prompt)) == 1
        api.resume(load(), ask_again=True).wait()
        assert len(server.submissions(prompt)) == 1
        assert [task.state for task in _tasks()] == ["unknown"]


class TestLater:
    """`%imagegen resume` after the process that sent it has ended."""

    def test_nothing_is_submitted_without_the_flag(self, server):
        """Asking may create the picture, so resume alone does not ask."""
        prompt = "later [[fault: drop-before-accept]]"
        _left_unknown(prompt)
        job = api.resume(load())
        assert job.expecting == 0
        job.wait()
        assert len(server.submissions(prompt)) == 1
        assert [task.state for task in _tasks()] == ["unknown"]

    def test_the_flag_asks_with_the_same_key(self, server):
        """What never arrived is made, once."""
        prompt = "later, asked [[fault: drop-before-accept]]"
        _left_unknown(prompt)
        assert len(api.resume(load(), ask_again=True).wait()) == 1
        sent = server.submissions(prompt)
        assert len({each["idempotency_key"] for each in sent}) == 1
        assert len(server.accepted(prompt)) == 1

    def test_the_list_is_tried_first(self, server):
        """A task in the gateway's list is taken without asking: resume submits nothing."""
        prompt = "in the list [[fault: drop-after-accept]]"
        _left_unknown(prompt)
        assert len(api.resume(load()).wait()) == 1
        assert len(server.submissions(prompt)) == 1
        (task,) = _tasks()
        assert _inquiries(task.row) == [("list", "found")]
        assert task.task_id == server.accepted(prompt)[0]["task_id"]

    def test_a_budget_counts_it(self, server):
        """A budget that is set later, or a new day, does not have it yet."""
        _left_unknown("over budget [[fault: drop-before-accept]]")
        loop.run(set_budget(api.ledger(load()), Decimal("0.5"), unit="credits", per="session"))
        with contextlib.closing(sqlite3.connect(api.ledger(load()).path)) as connection, connection:
            connection.execute("UPDATE jobs SET session = 'an earlier one'")
        with pytest.raises(BudgetExceeded):
            api.resume(load(), ask_again=True)
        assert [task.state for task in _tasks()] == ["unknown"]
        assert [task.owner for task in _tasks()] == [None]

    def test_what_is_in_the_list_is_in_no_budget_again(self, server):
        """It is collected, although asking would exceed the budget."""
        prompt = "in the list, over budget [[fault: drop-after-accept]]"
        _left_unknown(prompt)
        loop.run(set_budget(api.ledger(load()), Decimal("0.01"), unit="credits", per="session"))
        with contextlib.closing(sqlite3.connect(api.ledger(load()).path)) as connection, connection:
            connection.execute("UPDATE jobs SET session = 'an earlier one'")
        assert len(api.resume(load(), ask_again=True).wait()) == 1
        assert len(server.submissions(prompt)) == 1

    def test_it_stops_before_the_key_ends(self):
        """One hour before the documented life ends; one hour after the submission if the page names none."""
        assert asked_until(get_provider("evolink"), 1000.0) == 1000.0 + 23 * 3600
        assert asked_until(get_provider("gccai"), 1000.0) is None

    def test_an_old_one_is_not_asked(self, server):
        """After that time the flag sends nothing."""
        prompt = "too old [[fault: drop-before-accept]]"
        _left_unknown(prompt)
        with contextlib.closing(sqlite3.connect(api.ledger(load()).path)) as connection, connection:
            connection.execute("UPDATE tasks SET submitting_at = '2026-01-01T00:00:00.000+00:00'")
        api.resume(load(), ask_again=True).wait()
        assert len(server.submissions(prompt)) == 1


PARENT = """
import os, signal, sys
from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine.jobs import builder, runner  # what a first request imports is there before the start
from imagegen_magic.engine.net import transport
transport.load()
for line in sys.stdin:
    child = os.fork()
    if not child:
        prompt, provider = line.rstrip().split("|")
        try:
            run(generate(prompt, provider=provider, size="1:1", quality="low"))
        finally:
            signal.pause()  # until it is killed
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


@pytest.fixture
def killed(own_world):
    """Return a function that makes a request in a process of its own and kills it as soon as `until()` returns.

    These processes are forks of one that has everything imported.
    """
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def kill(prompt, provider, until):
        parent.stdin.write(f"{prompt}|{provider}\n")
        parent.stdin.flush()
        child = int(parent.stdout.readline())
        until()
        os.kill(child, signal.SIGKILL)
        assert parent.stdout.readline() == "ended\n"

    yield kill
    parent.communicate()


def _is_accepted(server, prompt):
    deadline = time.monotonic() + 60
    while not server.accepted(prompt):
        assert time.monotonic() < deadline, f"waited for the submission of {prompt!r}"
        time.sleep(0.05)


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.long)])
def test_kills_between_sending_and_the_answer(server, killed, kills):
    """With idempotency and `--ask-again` not one remains unknown, and the server counted one task each."""
    chance = random.Random(kills)
    random_moments = [f"killed {kills}-{number}" for number in range(kills // 2)]
    no_answer = [f"killed {kills}-{number} [[fault: hang-after-accept]]" for number in range(kills // 2)]
    for prompt, waiting in zip(random_moments, no_answer, strict=True):
        killed(prompt, "evolink", lambda: time.sleep(chance.uniform(0, 0.3)))
        killed(waiting, "evolink", functools.partial(_is_accepted, server, waiting))
    api.resume(load(), ask_again=True).wait()
    states = {task.prompt: task.state for task in _tasks()}
    assert set(states.values()) <= {"saved", "dropped"}
    assert {states[prompt] for prompt in no_answer} == {"saved"}
    for prompt in (*random_moments, *no_answer):
        assert len(server.accepted(prompt)) == (states.get(prompt) == "saved")


def test_kills_without_idempotency(server, killed):
    """None is sent again."""
    prompts = [f"killed without {number} [[fault: hang-after-accept]]" for number in range(3)]
    for prompt in prompts:
        killed(prompt, "gccai", functools.partial(_is_accepted, server, prompt))
    api.resume(load(), ask_again=True).wait()
    assert [task.state for task in _tasks()] == ["unknown"] * 3
    for prompt in prompts:
        assert len(server.submissions(prompt)) == 1


class TestAnswers:
    """What the answer to a repeated submission means."""

    @staticmethod
    def read(status, content, provider="evolink"):
        """Read an answer."""
        return read_inquiry(get_provider(provider), GatewayResponse(status, content, "", 2.0))

    @pytest.mark.parametrize("status", [429, 500, 502, 503, 408])
    def test_later(self, status):
        """An outage says nothing, and is asked again."""
        with pytest.raises(StillUnclear) as error:
            self.read(status, {"error": {"code": "busy", "message": "busy"}})
        assert error.value.pause == 2.0

    @pytest.mark.parametrize("status", [401, 402, 403, 404, 409])
    def test_about_the_account(self, status):
        """A refusal of the key or the account may hide a first request that was accepted."""
        with pytest.raises(SubmissionUnknown):
            self.read(status, {"error": {"code": "no", "message": "refused"}})

    @pytest.mark.parametrize("code", ["idempotency_key_reused", "idempotency_conflict", "idempotency_result_indeterminate"])
    def test_conflicts(self, code):
        """The key belongs to something else, or the gateway does not know: unknown."""
        with pytest.raises(SubmissionUnknown):
            self.read(409, {"error": {"code": code, "message": "conflict"}})


class TestTheList:
    """Which listed task is certainly the lost one."""

    class Row:
        """A task of the ledger, as far as the search reads it."""

        sent: ClassVar = {"json": {"model": "gpt-image-2", "prompt": "a fox", "size": "1:1"}}
        submitting_at = created = 1_000.0

    @staticmethod
    def listed(task_id="t1", *, model="gpt-image-2", prompt="a fox", size=None, created=1_010.0):
        """Return a listed task."""
        return ListedTask(task_id, model, prompt, size, created)

    def test_one_fits(self):
        """Same model and prompt, created within a minute."""
        assert the_one_that_fits(self.Row, [self.listed(), self.listed("t2", prompt="a cat")], ()).task_id == "t1"

    @pytest.mark.parametrize(
        "other", [{"model": "x"}, {"prompt": "a cat"}, {"prompt": None}, {"size": "2:1"}, {"created": 1_061.0}, {"created": 900.0}]
    )
    def test_what_differs_does_not_fit(self, other):
        """Another model, prompt, size or time, or a list without prompts."""
        assert the_one_that_fits(self.Row, [self.listed(**other)], ()) is None

    def test_a_rival_makes_it_uncertain(self):
        """Another submission without an answer, as a list does not name its quality; not one of another time."""

        class Rival(self.Row):
            """The same at another quality."""

            sent: ClassVar = {"json": {**self.Row.sent["json"], "quality": "high"}}

        class Later(Rival):
            """Minutes later."""

            submitting_at = 1_121.0

        assert the_one_that_fits(self.Row, [self.listed()], (), [Rival]) is None
        assert the_one_that_fits(self.Row, [self.listed()], (), [Later]).task_id == "t1"

    def test_qualities_are_not_mistaken_for_one_another(self, server):
        """Of two that differ in what a list does not name only the second arrived: none is taken, and asking again finds each."""
        for quality, fault in (("low", "drop-before-accept"), ("high", "drop-after-accept")):
            server.arm(fault, match="alike")
            _left_unknown("alike", {**EVOLINK, "quality": quality})
        assert len(api.resume(load()).wait()) == 0
        assert [task.state for task in _tasks()] == ["unknown", "unknown"]
        assert len(api.resume(load(), ask_again=True).wait()) == 2
        assert sorted(each["json"]["quality"] for each in server.accepted("alike")) == ["high", "low"]

    def test_what_another_job_asks_about_is_left_to_it(self, server):
        """Two would collect the same task."""
        _left_unknown("asked elsewhere [[fault: drop-after-accept]]")
        (task,) = _tasks()
        claims = Claims()
        run(api.ledger(load()).claim_unknown([task.row], claims=claims))
        assert len(api.resume(load()).wait()) == 0
        assert _inquiries(task.row) == []
        claims.release(task.row)
        assert len(api.resume(load()).wait()) == 1

    def test_two_that_fit_are_none(self):
        """Only exactly one is taken, and none that the ledger has."""
        both = [self.listed(), self.listed("t2")]
        assert the_one_that_fits(self.Row, both, ()) is None
        assert the_one_that_fits(self.Row, both, {"t2"}).task_id == "t1"


@pytest.fixture
def notebook(server):
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


class TestNotebook:
    """What the subcommands show and ask."""

    def test_jobs_says_what_will_be_tried_and_until_when(self, notebook):
        """For each unknown one: the search for three days at no cost, the question for 23 hours with its price."""
        _left_unknown("shown in jobs [[fault: drop-before-accept]]")
        (unknown,) = _unknown()
        submitted = unknown.task.submitting_at
        notebook.run("%imagegen jobs")
        text = " ".join("".join(notebook.shown()).split())
        assert f"searches the gateway's list of tasks until {local_minute(submitted + 3 * 86_400)}, at no cost" in text
        asked = f"--ask-again asks with the same key until {local_minute(submitted + 23 * 3600)}, at an unknown price if it is made now"
        assert asked in text

    def test_the_price_where_one_is_known(self, notebook, server, monkeypatch):
        """In jobs and in the table before the question: one picture of low quality at APIMart, whose line in the configuration is set."""
        prompt = "priced [[fault: drop-before-accept]]"
        monkeypatch.setattr(type(get_provider("apimart")), "idempotency", False)
        with pytest.raises(SubmissionUnknown):
            run(generate(prompt, provider="apimart", size="1:1", quality="low"))
        monkeypatch.setattr(type(get_provider("apimart")), "idempotency", True)
        notebook.run("%imagegen jobs")
        assert "for about $0.0047 if it is made now" in " ".join("".join(notebook.shown()).split())
        notebook.run("%imagegen resume")
        assert "about $0.0047" in "".join(notebook.shown())
        assert len(server.submissions(prompt)) == 1

    def test_jobs_names_what_stands_in_the_way(self, notebook, monkeypatch):
        """No key, or another address: with what to do."""
        _left_unknown("no key any longer [[fault: drop-before-accept]]")
        monkeypatch.setenv("EVOLINK_BASE_URL", "https://elsewhere.example")
        notebook.run("%imagegen jobs")
        (task,) = _tasks()
        assert f"Task {task.row} was submitted to" in "".join(notebook.shown())
        assert "set EVOLINK_BASE_URL back, then %imagegen resume" in "".join(notebook.shown())
        monkeypatch.delenv("EVOLINK_API_KEY")
        monkeypatch.delenv("EVOLINK_BASE_URL")
        notebook.run("%imagegen jobs")
        assert "EVOLINK_API_KEY" in "".join(notebook.shown())

    def test_jobs_where_nothing_can_be_tried(self, notebook, capsys):
        """Neither a list nor a key that may be repeated: where the person can see it, and how to give it up."""
        with pytest.raises(SubmissionUnknown):
            run(generate("nothing to try [[fault: drop-after-accept]]", **GCCAI))
        notebook.run("%imagegen jobs")
        (task,) = _tasks()
        assert f"see the service's own task list or usage page; %imagegen forget {task.row} gives it up" in "".join(notebook.shown())
        notebook.run("%imagegen resume")
        assert "Nothing is waiting. 1 submission got no answer: %imagegen jobs shows what can be tried." in capsys.readouterr().out

    def test_the_list_comes_before_the_question(self, notebook, server, monkeypatch):
        """What the list has is collected, and no question about money is asked."""
        prompt = "no question [[fault: drop-after-accept]]"
        _left_unknown(prompt)
        monkeypatch.setattr("imagegen_magic.notebook.commands.jobs.can_answer", lambda shell: True)
        monkeypatch.setattr("builtins.input", lambda question: pytest.fail(question))
        notebook.run("%imagegen resume")
        assert [task.state for task in _tasks()] == ["saved"]
        assert len(server.submissions(prompt)) == 1

    @pytest.mark.parametrize("argument", ["", " {row}"])
    def test_a_submission_of_an_ended_process_is_asked_about(self, notebook, server, monkeypatch, argument):
        """The first resume after a crash lists it with its price, and asks."""
        prompt = f"ended process{argument} [[fault: drop-before-accept]]"
        _left_unknown(prompt)
        with contextlib.closing(sqlite3.connect(api.ledger(load()).path)) as connection, connection:
            connection.execute("UPDATE tasks SET state = 'submitting', owner = 'ended'")
        asked = []
        monkeypatch.setattr("imagegen_magic.notebook.commands.jobs.can_answer", lambda shell: True)
        monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "y")
        notebook.run("%imagegen resume" + argument.format(row=_tasks()[0].row))
        assert len(asked) == 1
        assert [task.state for task in _tasks()] == ["saved"]
        assert len(server.accepted(prompt)) == 1

    def test_resume_lists_them_with_their_price_and_asks(self, notebook, server, monkeypatch, capsys):
        """The answer decides; no is no."""
        prompt = "asked in the notebook [[fault: drop-before-accept]]"
        _left_unknown(prompt)
        monkeypatch.setattr("imagegen_magic.notebook.commands.jobs.can_answer", lambda shell: True)
        answers = iter(["n", "y"])
        monkeypatch.setattr("builtins.input", lambda question: next(answers))
        notebook.run("%imagegen resume")
        assert len(server.submissions(prompt)) == 1
        assert "price if it is made now" in "".join(notebook.shown())
        assert "Nothing was sent again." in capsys.readouterr().out
        notebook.run("%imagegen resume")
        assert len(server.accepted(prompt)) == 1

    def test_run_all_is_not_held_up(self, notebook, server, capsys):
        """Without anybody to answer, the flag is named and nothing is sent."""
        prompt = "run all [[fault: drop-before-accept]]"
        _left_unknown(prompt)
        notebook.run("%imagegen resume")
        assert "%imagegen resume --ask-again asks about it" in capsys.readouterr().out
        assert len(server.submissions(prompt)) == 1
        notebook.run("%imagegen resume --ask-again")
        assert len(server.accepted(prompt)) == 1
