"""Looking after open tasks: many in one look, never too often, patient with a gateway in trouble, honest about one that will not say."""

import asyncio
import itertools
import math
import time

import pytest

from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.transport import OutcomeUnknown
from imagegen_magic.engine.polling.poller import Poller
from imagegen_magic.engine.polling.schedule import DurationModel, batch_interval
from imagegen_magic.errors import AuthenticationError, NotFound, TaskFailed
from imagegen_magic.providers.base import Failed, Pending, PollingPolicy, Provider, Succeeded
from imagegen_magic.providers.registry import get_provider

QUICK = DurationModel(math.log(0.05), 0.35)


def _flat(task_id, status, **more):
    done = {"results": [f"https://cdn.example.com/{task_id}.png"]} if status == "completed" else {}
    return {"id": task_id, "status": status, **done, **more}


class Endpoint:
    """The far end of the wire: evolink's tasks, each finished after so many seconds, and what was asked of it."""

    def __init__(self, seconds=0.05):
        self.seconds, self.began, self.singles, self.batches, self.trouble = seconds, time.time(), [], [], []
        self.most_tasks = 0

    def state(self, task_id):
        """Return how a task stands."""
        return _flat(task_id, "completed" if time.time() - self.began >= self.seconds else "processing", progress=40)

    def __call__(self, call):
        """Take a look, and answer it when the loop comes to it."""
        return self._answer(call, time.time())

    async def _answer(self, call, asked):
        await asyncio.sleep(0)
        self.most_tasks = max(self.most_tasks, len(asyncio.all_tasks()))
        if call.json is not None:
            self.batches.append((asked, list(call.json["task_ids"])))
        else:
            self.singles.append((asked, call.path.rsplit("/", 1)[1]))
        if self.trouble and (answer := self.trouble.pop(0)) is not None:
            if isinstance(answer, Exception):
                raise answer
            return answer
        if call.json is not None:
            return GatewayResponse(200, {"data": [self.state(task) for task in call.json["task_ids"]]})
        return GatewayResponse(200, self.state(call.path.rsplit("/", 1)[1]))


def _poller(gateway, *, batch=0, least=0.01, provider="evolink"):
    return Poller(get_provider(provider), PollingPolicy(least, least, batch), gateway)


async def _wait(poller, task_id="t1", told=None, **options):
    options = {"submitted": time.time(), "durations": lambda: QUICK, **options}
    return await poller.wait_for(task_id, report=lambda state, note: told.append((state, note)) if told is not None else None, **options)


def test_a_task_is_looked_at_until_it_is_done():
    """Waiting is told with its fraction, and the end comes with the addresses and a duration between the last two looks."""
    told = []
    gateway = Endpoint(0.06)
    done = asyncio.run(_wait(_poller(gateway), told=told, submitted=gateway.began))
    assert isinstance(done, Succeeded)
    assert done.image_urls == ("https://cdn.example.com/t1.png",)
    assert told[0] == (Pending("processing", 0.4), "")
    (before, _), (last, _) = gateway.singles[-2:]
    assert done.seconds == pytest.approx((before + last) / 2 - gateway.began, abs=0.01)


def test_never_more_often_than_the_gateway_allows():
    """Two looks at one task are never closer than the shortest interval."""
    gateway = Endpoint(0.5)
    asyncio.run(_wait(_poller(gateway, least=0.08)))
    moments = [gateway.began] + [moment for moment, _ in gateway.singles]
    assert all(b - a >= 0.079 for a, b in itertools.pairwise(moments))


def test_all_open_tasks_share_one_request_per_fifty():
    """120 tasks are three requests a round, and each task is in one of them once."""
    gateway = Endpoint(0.9)

    async def main():
        await asyncio.sleep(batch_interval(0.5) - time.time() % batch_interval(0.5))  # no common moment falls between the tasks
        poller, submitted = _poller(gateway, batch=50, least=0.5), time.time()
        return await asyncio.gather(*(_wait(poller, f"t{i}", submitted=submitted) for i in range(120)))

    done = asyncio.run(main())
    assert [one.image_urls[0] for one in done] == [f"https://cdn.example.com/t{i}.png" for i in range(120)]
    assert gateway.singles == []
    first_round = [task for _, tasks in gateway.batches[:3] for task in tasks]
    assert [len(tasks) for _, tasks in gateway.batches[:3]] == [50, 50, 20]
    assert len(set(first_round)) == 120
    assert max(len(tasks) for _, tasks in gateway.batches) <= 50


def test_a_thousand_open_tasks_are_not_a_thousand_looks_at_once():
    """Looks under way are bounded, however many tasks are open."""
    gateway = Endpoint(0.3)

    async def main():
        poller = _poller(gateway, least=0.1)
        durations = {"submitted": time.time(), "durations": lambda: QUICK, "report": lambda state, note: None}
        watching = asyncio.gather(*(poller.wait_for(f"t{i}", **durations) for i in range(1000)))
        return len(await watching)

    assert asyncio.run(main()) == 1000
    assert gateway.most_tasks <= 1000 + 1 + 1 + 8


@pytest.mark.parametrize(
    "answer",
    [
        GatewayResponse(400, {"error": {"message": "no such endpoint"}}),
        GatewayResponse(401, {"error": {"message": "no key for this endpoint"}}),
        GatewayResponse(402, {"error": {"message": "not in your plan"}}),
        GatewayResponse(403, {"error": {"message": "batch query is not enabled for this account"}}),
        GatewayResponse(404, "not found"),
        GatewayResponse(200, "<html>"),
        GatewayResponse(200, {"data": 7}),
    ],
)
def test_a_batch_query_that_is_not_what_its_page_says_is_given_up_for_the_session(answer):
    """4xx or unreadable: single looks from there on, also for later tasks."""
    gateway = Endpoint(0.05)
    gateway.trouble = [answer]

    async def main():
        poller = _poller(gateway, batch=50)
        await asyncio.gather(*(_wait(poller, f"t{i}") for i in range(3)))
        await _wait(poller, "later")

    asyncio.run(main())
    assert len(gateway.batches) == 1
    assert {task for _, task in gateway.singles} == {"t0", "t1", "t2", "later"}


@pytest.mark.parametrize(
    "answer",
    [
        GatewayResponse(503, "busy"),
        GatewayResponse(429, "slow down", retry_after=0.02),
        OutcomeUnknown("broken"),
        GatewayResponse(502, "<html>"),
    ],
)
def test_trouble_on_a_look_is_told_and_looked_past(answer):
    """A look may be repeated freely; the batch query survives an outage."""
    told = []
    gateway = Endpoint(0.01)
    gateway.trouble = [answer]
    done = asyncio.run(_wait(_poller(gateway, batch=50), told=told))
    assert isinstance(done, Succeeded)
    assert any("retrying" in note for _, note in told)
    assert gateway.singles == []


def test_retry_after_on_a_look_is_obeyed():
    """A gateway that asks for a pause gets it."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(429, "", retry_after=0.3)]
    asyncio.run(_wait(_poller(gateway)))
    (first, _), (second, _) = gateway.singles
    assert second - first >= 0.29


def test_an_unreadable_single_look_is_looked_past():
    """Garbage in place of a task is no verdict on the task."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, "<html>oops</html>"), GatewayResponse(200, [])]
    assert isinstance(asyncio.run(_wait(_poller(gateway))), Succeeded)


def test_a_task_the_gateway_does_not_know_yet_is_forgiven_a_few_times():
    """Right after a submit a gateway may not know its own task."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(404, {"error": {"message": "no such task"}})] * 3
    assert isinstance(asyncio.run(_wait(_poller(gateway))), Succeeded)
    gateway.trouble = [GatewayResponse(404, {"error": {"message": "no such task"}})] * 9
    with pytest.raises(NotFound):
        asyncio.run(_wait(_poller(gateway)))


def test_a_task_left_out_of_a_batch_answer_is_not_lost():
    """Unknown ids are left out of a batch answer; others go on."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, {"data": [_flat("a", "completed")]})]

    async def main():
        poller = _poller(gateway, batch=50)
        return await asyncio.gather(_wait(poller, "a"), _wait(poller, "b"))

    a, b = asyncio.run(main())
    assert isinstance(a, Succeeded)
    assert b.image_urls == ("https://cdn.example.com/b.png",)


def test_a_batch_that_knows_nobody_is_given_up_for_single_looks():
    """A gateway whose batch query takes another body answers 200 and nothing: the tasks are asked for one by one."""
    gateway = Endpoint(0.1)
    gateway.trouble = [GatewayResponse(200, {"data": []})]

    async def main():
        poller = _poller(gateway, batch=50)
        await asyncio.gather(*(_wait(poller, f"t{i}") for i in range(3)))
        await _wait(poller, "later")

    asyncio.run(main())
    assert len(gateway.batches) == 1
    assert {task for _, task in gateway.singles} == {"t0", "t1", "t2", "later"}


@pytest.mark.parametrize(
    ("provider", "answer"),
    [
        ("xingchao", GatewayResponse(200, {"status": "failed", "error": "too many requests"})),
        ("xingchao", GatewayResponse(400, {"status": "failed", "error": "try later"})),
        ("evolink", GatewayResponse(200, {"status": "failed", "error": {"message": "internal"}})),
        ("evolink", GatewayResponse(200, {"id": "another", "status": "completed", "results": ["https://cdn.example.com/another.png"]})),
    ],
)
def test_an_end_that_does_not_name_the_task_is_not_believed_at_once(provider, answer):
    """A failed look is no failed task: what was paid for is looked at again."""
    gateway = Endpoint(0)
    gateway.trouble = [answer, answer]
    if provider == "xingchao":
        gateway.state = lambda task: {"id": task, "status": "completed", "image_url": f"https://cdn.example.com/{task}.png"}
    done = asyncio.run(_wait(_poller(gateway, provider=provider)))
    assert done.image_urls == ("https://cdn.example.com/t1.png",)


def test_a_gateway_that_never_names_its_tasks_is_believed_in_the_end():
    """Patience with unclear answers ends."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, {"status": "failed", "error": {"message": "really failed"}})] * 9
    assert isinstance(asyncio.run(_wait(_poller(gateway))), Failed)
    assert len(gateway.singles) == 4


def test_an_envelope_that_says_failed_at_401_is_about_the_key():
    """Not about the task, which goes on."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(401, {"status": "failed", "error": "invalid api key"})]
    with pytest.raises(AuthenticationError):
        asyncio.run(_wait(_poller(gateway, provider="xingchao")))


def test_a_clock_that_was_set_back_does_not_put_the_looks_off():
    """A submission in the future is one of now."""
    gateway = Endpoint(0)
    assert isinstance(asyncio.run(_wait(_poller(gateway), submitted=time.time() + 5000)), Succeeded)


@pytest.mark.parametrize("batch", [0, 50])
def test_a_key_that_is_not_accepted_ends_the_watching(batch):
    """401 is the user's move: no look can mend it; the task may still be alive."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(401, {"error": {"message": "bad key"}})] * (2 if batch else 1)
    with pytest.raises(AuthenticationError):
        asyncio.run(_wait(_poller(gateway, batch=batch)))
    assert len(gateway.singles) == 1


def test_a_failed_task_is_an_outcome():
    """The gateway's own failure is told with its words."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, _flat("t1", "failed", error={"message": "the model fell over"}))]
    outcome = asyncio.run(_wait(_poller(gateway)))
    assert isinstance(outcome, Failed)
    assert "the model fell over" in str(outcome.error)


def test_a_failed_envelope_at_4xx_is_an_outcome_too():
    """xingchao tells a failure in its ordinary envelope, whatever the HTTP status."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(400, {"id": "image_1", "status": "failed", "error": "the model fell over", "image_url": None})]
    outcome = asyncio.run(_wait(_poller(gateway, provider="xingchao"), "image_1"))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, TaskFailed)


def test_a_task_taken_up_late_is_looked_at_now_and_teaches_nothing():
    """When it finished, nobody saw."""
    gateway = Endpoint(0)
    done = asyncio.run(_wait(_poller(gateway, least=30), submitted=time.time() - 5000, now=True))
    assert done.seconds is None


def test_who_stops_waiting_is_not_looked_for():
    """A cancelled watch costs no further look."""
    gateway = Endpoint(60)

    async def main():
        poller = _poller(gateway)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_wait(poller), 0.1)
        before = len(gateway.singles)
        await asyncio.sleep(0.1)
        return len(gateway.singles) - before

    assert asyncio.run(main()) <= 1


def test_a_defect_in_a_readers_code_reaches_who_waits():
    """A plugged-in provider that crashes must not leave a cell waiting for ever."""

    class Broken(Provider):
        name, title, base_url, key_variable, models = "broken", "Broken", "https://x.example", "X", ()

        def task_call(self, task_id):
            raise KeyError("typo")

    async def main():
        await _wait(Poller(Broken(), PollingPolicy(0.01, 0.01), Endpoint(0)))

    with pytest.raises(KeyError, match="typo"):
        asyncio.run(main())


def test_looking_once_out_of_turn():
    """An address that expired is asked for anew, at once where it was not just looked at."""
    gateway = Endpoint(0)
    assert isinstance(asyncio.run(_poller(gateway).poll_once("t1")), Succeeded)
    gateway.trouble = [GatewayResponse(404, {"error": {"message": "gone"}})]
    with pytest.raises(NotFound):
        asyncio.run(_poller(gateway).poll_once("t1"))


def test_looking_out_of_turn_keeps_the_gateways_interval():
    """Right after a look the next one waits its time, whatever it is for; a clock that was set back puts it off no longer than that."""
    gateway = Endpoint(0)
    poller = _poller(gateway, least=0.3)
    looked = time.time()
    asyncio.run(poller.poll_once("t1", last_poll=looked))
    assert gateway.singles[0][0] - looked >= 0.29
    began = time.monotonic()
    asyncio.run(asyncio.wait_for(poller.poll_once("t1", last_poll=looked + 5000), 20))
    assert time.monotonic() - began >= 0.29
