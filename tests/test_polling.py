"""The poller: many tasks in one request, never too often, retries when the gateway has trouble, errors that reach the waiting task."""

import asyncio
import itertools
import math

import pytest
from waiting import JumpingClock

from imagegen_magic.engine.net.client import GatewayResponse
from imagegen_magic.engine.net.transport import OutcomeUnknown
from imagegen_magic.engine.polling.poller import Poller
from imagegen_magic.engine.polling.schedule import DurationModel
from imagegen_magic.errors import AuthenticationError, NotFound, TaskFailed
from imagegen_magic.providers.base import Failed, Pending, PollingPolicy, Provider, Succeeded
from imagegen_magic.providers.registry import get_provider

QUICK = DurationModel(math.log(0.05), 0.35)


def _flat(task_id, status, **more):
    done = {"results": [f"https://cdn.example.com/{task_id}.png"]} if status == "completed" else {}
    return {"id": task_id, "status": status, **done, **more}


class Endpoint:
    """The far end: evolink's tasks, each finished after `seconds`, and a record of the polls."""

    def __init__(self, seconds=0.05):
        self.clock = JumpingClock()
        self.run = self.clock.run
        self.seconds, self.began, self.singles, self.batches, self.trouble = seconds, self.clock.time(), [], [], []
        self.max_tasks = 0

    def state(self, task_id):
        """Return the state of a task."""
        return _flat(task_id, "completed" if self.clock.time() - self.began >= self.seconds else "processing", progress=40)

    def __call__(self, call):
        """Answer a poll at the loop's next turn."""
        return self._answer(call, self.clock.time())

    async def _answer(self, call, at):
        await asyncio.sleep(0)
        self.max_tasks = max(self.max_tasks, len(asyncio.all_tasks()))
        if call.json is not None:
            self.batches.append((at, list(call.json["task_ids"])))
        else:
            self.singles.append((at, call.path.rsplit("/", 1)[1]))
        if self.trouble and (answer := self.trouble.pop(0)) is not None:
            if isinstance(answer, Exception):
                raise answer
            return answer
        if call.json is not None:
            return GatewayResponse(200, {"data": [self.state(task) for task in call.json["task_ids"]]})
        return GatewayResponse(200, self.state(call.path.rsplit("/", 1)[1]))


def _poller(gateway, *, batch=0, min_interval=0.01, provider="evolink"):
    return Poller(get_provider(provider), PollingPolicy(min_interval, min_interval, batch), gateway, clock=gateway.clock)


async def _wait(poller, task_id="t1", reports=None, **options):
    options = {"submitted": poller._clock.time(), "durations": lambda: QUICK, **options}
    return await poller.wait_for(task_id, report=lambda *report: None if reports is None else reports.append(report), **options)


def test_a_task_is_polled_until_it_is_done():
    """`report` gets the fraction; the final state has the addresses and a duration between the last two polls."""
    reports = []
    gateway = Endpoint(0.06)
    done = gateway.run(_wait(_poller(gateway), reports=reports, submitted=gateway.began))
    assert isinstance(done, Succeeded)
    assert done.image_urls == ("https://cdn.example.com/t1.png",)
    assert reports[0] == (Pending("processing", 0.4), "")
    (before, _), (last, _) = gateway.singles[-2:]
    assert done.seconds == pytest.approx((before + last) / 2 - gateway.began, abs=0.01)


def test_never_more_often_than_the_gateway_allows():
    """Two polls of one task are at least the minimum interval apart."""
    gateway = Endpoint(0.5)
    gateway.run(_wait(_poller(gateway, min_interval=0.08)))
    moments = [gateway.began] + [moment for moment, _ in gateway.singles]
    assert all(b - a >= 0.08 - 1e-6 for a, b in itertools.pairwise(moments))


def test_all_open_tasks_share_one_request_per_fifty():
    """120 tasks are three requests a round, and each task is in one of them once."""
    gateway = Endpoint(0.9)

    async def main():
        poller, submitted = _poller(gateway, batch=50, min_interval=0.5), gateway.clock.time()
        return await asyncio.gather(*(_wait(poller, f"t{i}", submitted=submitted) for i in range(120)))

    done = gateway.run(main())
    assert [one.image_urls[0] for one in done] == [f"https://cdn.example.com/t{i}.png" for i in range(120)]
    assert gateway.singles == []
    first_round = [task for _, tasks in gateway.batches[:3] for task in tasks]
    assert [len(tasks) for _, tasks in gateway.batches[:3]] == [50, 50, 20]
    assert len(set(first_round)) == 120
    assert max(len(tasks) for _, tasks in gateway.batches) <= 50


def test_concurrent_polls_are_bounded():
    """Two hundred open tasks cause at most eight requests at once."""
    gateway = Endpoint(0.3)

    async def main():
        poller = _poller(gateway, min_interval=0.1)
        durations = {"submitted": gateway.clock.time(), "durations": lambda: QUICK, "report": lambda state, note: None}
        watching = asyncio.gather(*(poller.wait_for(f"t{i}", **durations) for i in range(200)))
        return len(await watching)

    assert gateway.run(main()) == 200
    assert gateway.max_tasks <= 200 + 1 + 1 + 8


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
def test_a_batch_query_that_fails_is_replaced_by_single_polls(answer):
    """4xx or unreadable: single polls from then on, also for later tasks."""
    gateway = Endpoint(0.05)
    gateway.trouble = [answer]

    async def main():
        poller = _poller(gateway, batch=50)
        await asyncio.gather(*(_wait(poller, f"t{i}") for i in range(3)))
        await _wait(poller, "later")

    gateway.run(main())
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
def test_a_poll_that_fails_is_reported_and_retried(answer):
    """Batch requests are still used after an outage."""
    reports = []
    gateway = Endpoint(0.01)
    gateway.trouble = [answer]
    done = gateway.run(_wait(_poller(gateway, batch=50), reports=reports))
    assert isinstance(done, Succeeded)
    assert any("retrying" in note for _, note in reports)
    assert gateway.singles == []


def test_retry_after_of_a_poll_is_obeyed():
    """The next poll comes no earlier."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(429, "", retry_after=0.3)]
    gateway.run(_wait(_poller(gateway)))
    (first, _), (second, _) = gateway.singles
    assert second - first == pytest.approx(0.3)


def test_an_unreadable_single_poll_is_retried():
    """An answer that is no task does not end the task."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, "<html>oops</html>"), GatewayResponse(200, [])]
    assert isinstance(gateway.run(_wait(_poller(gateway))), Succeeded)


def test_no_such_task_is_retried_a_few_times():
    """Right after a submission a gateway may not know its own task."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(404, {"error": {"message": "no such task"}})] * 3
    assert isinstance(gateway.run(_wait(_poller(gateway))), Succeeded)
    gateway.trouble = [GatewayResponse(404, {"error": {"message": "no such task"}})] * 9
    with pytest.raises(NotFound):
        gateway.run(_wait(_poller(gateway)))


def test_a_task_left_out_of_a_batch_answer_is_not_lost():
    """It is polled alone."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, {"data": [_flat("a", "completed")]})]

    async def main():
        poller = _poller(gateway, batch=50)
        return await asyncio.gather(_wait(poller, "a"), _wait(poller, "b"))

    a, b = gateway.run(main())
    assert isinstance(a, Succeeded)
    assert b.image_urls == ("https://cdn.example.com/b.png",)


def test_an_empty_batch_answer_leads_to_single_polls():
    """A gateway whose batch query takes another body may answer 200 with an empty list."""
    gateway = Endpoint(0.1)
    gateway.trouble = [GatewayResponse(200, {"data": []})]

    async def main():
        poller = _poller(gateway, batch=50)
        await asyncio.gather(*(_wait(poller, f"t{i}") for i in range(3)))
        await _wait(poller, "later")

    gateway.run(main())
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
def test_a_final_state_that_does_not_name_the_task_is_polled_again(provider, answer):
    """A failed poll is no failed task."""
    gateway = Endpoint(0)
    gateway.trouble = [answer, answer]
    if provider == "xingchao":
        gateway.state = lambda task: {"id": task, "status": "completed", "image_url": f"https://cdn.example.com/{task}.png"}
    done = gateway.run(_wait(_poller(gateway, provider=provider)))
    assert done.image_urls == ("https://cdn.example.com/t1.png",)


def test_a_gateway_that_never_names_its_tasks_is_believed_after_four_polls():
    """Three polls repeat an unclear answer."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, {"status": "failed", "error": {"message": "really failed"}})] * 9
    assert isinstance(gateway.run(_wait(_poller(gateway))), Failed)
    assert len(gateway.singles) == 4


def test_a_failed_envelope_with_401_is_an_error_of_the_key():
    """The task may still run."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(401, {"status": "failed", "error": "invalid api key"})]
    with pytest.raises(AuthenticationError):
        gateway.run(_wait(_poller(gateway, provider="xingchao")))


def test_a_clock_that_was_set_back_does_not_delay_the_first_poll():
    """A submission in the future counts as one of now."""
    gateway = Endpoint(0)
    assert isinstance(gateway.run(_wait(_poller(gateway), submitted=gateway.clock.time() + 5000)), Succeeded)


@pytest.mark.parametrize("batch", [0, 50])
def test_a_rejected_key_ends_the_waiting(batch):
    """401 is not retried; the task may still run."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(401, {"error": {"message": "bad key"}})] * (2 if batch else 1)
    with pytest.raises(AuthenticationError):
        gateway.run(_wait(_poller(gateway, batch=batch)))
    assert len(gateway.singles) == 1


def test_a_failed_task_is_an_outcome():
    """The error quotes the gateway."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(200, _flat("t1", "failed", error={"message": "the model fell over"}))]
    outcome = gateway.run(_wait(_poller(gateway)))
    assert isinstance(outcome, Failed)
    assert "the model fell over" in str(outcome.error)


def test_a_failed_envelope_at_4xx_is_an_outcome_too():
    """xingchao reports a failure in its ordinary envelope with any HTTP status."""
    gateway = Endpoint(0)
    gateway.trouble = [GatewayResponse(400, {"id": "image_1", "status": "failed", "error": "the model fell over", "image_url": None})]
    outcome = gateway.run(_wait(_poller(gateway, provider="xingchao"), "image_1"))
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, TaskFailed)


def test_a_resumed_task_is_polled_at_once_and_has_no_duration():
    """When it finished is not known."""
    gateway = Endpoint(0)
    done = gateway.run(_wait(_poller(gateway, min_interval=30), submitted=gateway.clock.time() - 5000, now=True))
    assert done.seconds is None


def test_a_cancelled_wait_stops_the_polls():
    """At most the poll that was running is finished."""
    gateway = Endpoint(60)

    async def main():
        poller = _poller(gateway)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_wait(poller), 0.1)
        before = len(gateway.singles)
        await asyncio.sleep(60)
        return before, len(gateway.singles)

    before, after = gateway.run(main())
    assert before > 0
    assert after - before <= 1


def test_a_defect_in_a_provider_reaches_the_waiting_task():
    """A plug-in that raises must not leave a cell waiting for ever."""

    class Broken(Provider):
        name, title, base_url, key_variable, models = "broken", "Broken", "https://x.example", "X", ()

        def task_call(self, task_id):
            raise KeyError("typo")

    gateway = Endpoint(0)

    async def main():
        await _wait(Poller(Broken(), PollingPolicy(0.01, 0.01), gateway, clock=gateway.clock))

    with pytest.raises(KeyError, match="typo"):
        gateway.run(main())


def test_a_poll_out_of_turn():
    """It returns the state or raises the gateway's error."""
    gateway = Endpoint(0)
    assert isinstance(gateway.run(_poller(gateway).poll_once("t1")), Succeeded)
    gateway.trouble = [GatewayResponse(404, {"error": {"message": "gone"}})]
    with pytest.raises(NotFound):
        gateway.run(_poller(gateway).poll_once("t1"))


def test_a_poll_out_of_turn_keeps_the_minimum_interval():
    """It waits after the last poll; a clock that was set back makes the wait no longer."""
    gateway = Endpoint(0)
    poller = _poller(gateway, min_interval=0.3)
    polled = gateway.clock.time()
    gateway.run(poller.poll_once("t1", last_poll=polled))
    assert gateway.singles[0][0] - polled == pytest.approx(0.3)
    began = gateway.clock.time()
    gateway.run(poller.poll_once("t1", last_poll=began + 5000))
    assert gateway.singles[1][0] - began == pytest.approx(0.3)
