"""Requests, results and refusals travel: pickled, copied, hashed, through other processes and other versions."""

import base64
import copy
import dataclasses
import functools
import importlib
import pickle
import pkgutil
import subprocess
import sys
import textwrap
from decimal import Decimal
from pathlib import Path

import numpy
import pytest
from shells import a_shell

import imagegen_magic
from imagegen_magic import Panel, generate, records, run, stream, sweep
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.context import context_of, ledger_of
from imagegen_magic.engine.endpoints import Endpoint, endpoint_for
from imagegen_magic.engine.jobs.job import PlannedRequest
from imagegen_magic.engine.ledger import annotations
from imagegen_magic.engine.ledger.votes import Vote
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import APIError, BudgetExceeded, MissingKey, SaveError, TaskFailed, UnsupportedOption
from imagegen_magic.imaging.preview import Preview
from imagegen_magic.providers.base import Call, Failed, Pending, Plan, PollingPolicy, Submission, Succeeded, UploadCall, UploadRule
from imagegen_magic.providers.registry import all_providers, get_provider
from imagegen_magic.records import FrozenDict, PortableError, ProcessBound, Record
from imagegen_magic.request import ImageRequest, LocalImage, Size
from imagegen_magic.result import Cost, GeneratedImage, Generation, Progress
from imagegen_magic.studies import ranking as voting
from imagegen_magic.studies.history import lineage, provenance, search, spending
from imagegen_magic.studies.sweeps import plan as sweeps
from imagegen_magic.studies.sweeps.result import SkippedCombination, SweepResult

pytestmark = pytest.mark.slow

PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)
SECRET = "sk-live-4f9a1c77e2b84d0e"
STORED = Path(__file__).with_name("records.pickle")
MODULES = [name for _, name, _ in pkgutil.walk_packages(imagegen_magic.__path__, "imagegen_magic.") if not name.endswith("__main__")]


def _refusal():
    with pytest.raises(UnsupportedOption) as error:
        run(generate("a fox", size="7:7", sandbox=True))
    error.value.add_note("a note")
    return error.value


def _made_records():
    """Return one of every kind that Python code can get hold of, real ones if they need a gateway."""
    request = ImageRequest(
        "a fox", size="1:1", n=2, extra={"user": "me", "style": {"name": "oil", "weights": [1, 2]}}, references=[_picture(b"a picture")]
    )
    fox = run(generate("a fox", n=2, sandbox=True, provider="apimart", quality="low", extra={"user": {"deep": [1]}}))
    events = run(_events())
    study = run(sweep("a {{what}} fox", {"what": ["red", "blue"]}, sandbox=True))
    settings = load().replace("here", sandbox=True)
    axes = {"quality": ["low", "high"], "extra": [{"user": "a"}, {"user": "b"}]}
    outlined = sweeps.plan(ImageRequest("a fox"), axes, settings=settings)
    book, pictures = api.ledger(), [image.id for image in study]
    loop.run(annotations.set_stars(book, pictures[0], 4))
    cost = Cost(Decimal("0.04"), "USD", "estimated", "the page", "2026-11-20")
    error = TaskFailed("it could not be made", hint="try again")
    yield from (request, Size.parse("16:9"), _picture(b"x"), Preview(b"x", "image/png", 1, 1), cost, fox, *fox, *events, study, *study)
    yield from (api.plan(request, sandbox=True), *api.plan(ImageRequest("a fox", n=3), sandbox=True).calls)
    yield from (outlined, *outlined.requests, *outlined.axes, outlined.record, run(sweeps.estimate(outlined, settings)))
    yield from (model for provider in all_providers() for model in (*provider.models, provider.upload, provider.polling) if model)
    yield from (UploadCall("POST", "/x", "file", "a.png", "image/png", {"purpose": "x"}), Call("GET", "/x"), PollingPolicy())
    yield from (
        Submission("task-1", cost, 3.0, ("task-2",)),
        Pending("queued", 0.5),
        Succeeded(("https://x.example/1",), 1.0, cost),
        Failed(error),
    )
    yield from (
        Progress("failed", 0, 1, 7, 1.0, error=error),
        SkippedCombination({"quality": "low"}, _refusal()),
        UploadRule("/x", "x", (), 1, 1.0, "", ""),
    )
    ranking = run(voting.judged(study, lambda left, right: left))
    yield from (ranking, *ranking.pictures, Vote(1, 2, None), *loop.run(search.search(book, "fox")), *loop.run(spending.spent(book)))
    yield from (loop.run(lineage.lineage(book, pictures[0])), loop.run(provenance.of_picture(book, pictures[0], Path.cwd())))
    yield loop.run(annotations.annotations_of(book, pictures))[pictures[0]]


def _picture(data):
    return LocalImage(data, "image/png", 3, 2, "photo.png", ("scaled",), 7, "https://x.example/1.png?sig=1", 5.0)


async def _events():
    return [event async for event in stream("a fox", sandbox=True)]


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """One of every kind of record, made once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGEGEN_HOME", str(tmp_path_factory.mktemp("home")))
        patch.chdir(tmp_path_factory.mktemp("work"))
        return list(_made_records())


def _plain(value):
    """Return a value so that equal ones are equal, though errors are equal to themselves alone."""
    if isinstance(value, BaseException):
        return type(value), str(value), _plain(value.args), {name: _plain(each) for name, each in vars(value).items()}
    if isinstance(value, Endpoint):
        return _plain((value.provider.name, value.base_url, value.sandbox, value.polling, value.note))
    if isinstance(value, Record):
        return type(value), [_plain(getattr(value, item.name)) for item in dataclasses.fields(value)]
    if isinstance(value, dict):
        return type(value), {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value), [_plain(each) for each in value]
    return value


def _has_errors(value):
    return "error" in repr(_plain(value)).lower() or isinstance(value, Endpoint | PlannedRequest | sweeps.SweepPlan)


class TestRecords:
    """Every record that Python code can get hold of."""

    def test_they_are_all_there(self, everything):
        """What the package exports and what such an object holds is among what is tested."""
        kinds = {type(each) for each in everything}
        assert {ImageRequest, GeneratedImage, Generation, SweepResult, Plan, Progress, Cost, sweeps.SweepPlan, voting.Ranking} <= kinds

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_pickling_keeps_class_and_fields(self, everything, protocol):
        """Whatever the protocol."""
        for each in everything:
            back = pickle.loads(pickle.dumps(each, protocol))
            assert type(back) is type(each)
            assert _plain(back) == _plain(each)
            if not _has_errors(each):
                assert back == each
                assert hash(back) == hash(each)

    @pytest.mark.parametrize("make", [copy.copy, copy.deepcopy])
    def test_copying_keeps_class_and_fields(self, everything, make):
        """A gateway's key as well: the copy stays in this process."""
        for each in everything:
            assert _plain(make(each)) == _plain(each)
        planned = next(each for each in everything if isinstance(each, PlannedRequest))
        assert make(planned).endpoint.key == planned.endpoint.key

    def test_each_hashes(self, everything):
        """Even if a field holds a dict or a list."""
        assert len({hash(each) for each in everything}) > len(everything) / 2
        assert all(each in {each: 1} for each in everything)

    def test_a_rule_for_records_to_come(self):
        """A frozen dataclass that others can see is a Record, so that a pickle holds its fields by name."""
        internal = tuple(f"imagegen_magic.{each}" for each in ("notebook", "sandbox", "imaging", "engine", "providers.alternatives"))
        strange = {
            kind.__qualname__
            for module in map(importlib.import_module, MODULES)
            for kind in vars(module).values()
            if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
            if kind.__dataclass_params__.frozen and not kind.__name__.startswith("_") and not issubclass(kind, Record)
            if not kind.__module__.startswith(internal)
        }
        assert strange == set()


class TestHashing:
    """Sets, keys, caches."""

    def test_as_people_do_it(self):
        """A set, a dict, a cache, a column of a DataFrame."""
        fox = run(generate("a fox", n=2, sandbox=True, provider="apimart", extra={"user": ["a", {"b": 1}]}))
        assert len(set(fox)) == 2
        assert {fox[0]: 1}[pickle.loads(pickle.dumps(fox[0]))] == 1
        cached = functools.lru_cache(lambda image: image.path.name)
        assert cached(fox[1]) == fox[1].path.name
        import pandas

        frame = pandas.DataFrame({"image": [*fox, fox[0]]})
        assert list(frame.drop_duplicates()["image"]) == list(fox)

    def test_equal_means_the_same_hash(self):
        """A number is equal to another type's, a dict to a frozen one, and a list is none to a tuple."""
        one, other = (ImageRequest("a fox", extra={"a": value}) for value in (1, 1.0))
        assert one == other
        assert hash(one) == hash(other)
        for values in ([1, {"x": [2]}], {"deep": {"er": {3}}}, {3}, bytearray(b"x"), None):
            one, other = (ImageRequest("a fox", extra={"a": copy.deepcopy(values)}) for _ in range(2))
            assert one == other
            assert hash(one) == hash(other)
        assert ImageRequest("a fox", extra={"a": [1]}) != ImageRequest("a fox", extra={"a": (1,)})
        assert ImageRequest("a fox", extra={"a": frozenset({3})}) == (same := ImageRequest("a fox", extra={"a": {3}}))
        assert hash(ImageRequest("a fox", extra={"a": frozenset({3})})) == hash(same)

    def test_of_arrays_and_images_as_references(self):
        """Before they are prepared, references are the user's own values."""
        array = numpy.zeros((4, 4), "uint8")
        request = ImageRequest("a fox", references=[array])
        assert hash(request) == hash(ImageRequest("a fox", references=[array]))
        assert {request: 1}[request] == 1

    def test_a_frozen_dict(self):
        """Equal to a dict, of one hash with its like, and nothing changes it."""
        one = records.frozen({"a": 1, "b": {"c": [2]}})
        assert one == {"a": 1, "b": {"c": [2]}}
        assert hash(one) == hash(FrozenDict({"b": FrozenDict({"c": [2]}), "a": 1}))
        changes = [
            lambda: one.__setitem__("a", 2),
            lambda: one.__delitem__("a"),
            lambda: one.update(a=2),
            lambda: one.pop("a"),
            lambda: one.setdefault("z", 1),
            lambda: one.clear(),
            lambda: one.popitem(),
            lambda: one["b"].__setitem__("c", 1),
            lambda: one.__ior__({"a": 2}),
        ]
        for change in changes:
            with pytest.raises(TypeError, match="a FrozenDict does not change"):
                change()
        assert type(one | {"d": 1}) is dict
        assert repr(one) == "{'a': 1, 'b': {'c': [2]}}"


class TestErrors:
    """Every error class of the package."""

    def _instances(self):
        for module in map(importlib.import_module, MODULES):
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, BaseException) and kind.__module__ == module.__name__:
                    yield self._instance(kind)
        yield UnsupportedOption("no", option="size", value=["a", 1], allowed=("1:1",), fix={"size": "1:1"}, providers=("gccai",), hint="x")
        yield APIError("no", status=400, code="bad", request_id="r1", refused=False, blame="you", charge="yes", hint="x")
        yield SaveError("no room", charge="no")

    def _instance(self, kind):
        if kind is UnsupportedOption:
            return UnsupportedOption("no", option="size", value=7)
        if kind is BudgetExceeded:
            amount = Decimal("1.5")
            return BudgetExceeded("no", unit="USD", limit=amount, spent=amount, reserved=amount, asked=None)
        for arguments in (("it went wrong",), (), (404,), (TaskFailed("x"), "a note"), (TaskFailed("x"),), (400, "code", "words")):
            try:
                return kind(*arguments)
            except (TypeError, AttributeError):
                continue
        raise AssertionError(kind)

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    def test_pickling_and_copying_keep_class_fields_and_text(self, protocol):
        """Those outside errors.py as well, and what was added to one."""
        found = list(self._instances())
        assert len({type(error) for error in found}) > 30
        for error in found:
            error.add_note("in the second cell")
            error.cell = {"number": 2}
            for back in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error), copy.deepcopy(error)):
                assert back is not error
                assert _plain(back) == _plain(error)
                assert repr(back) == repr(error)
                assert back.__notes__ == ["in the second cell"]
                assert getattr(back, "errno", None) == getattr(error, "errno", None)

    def test_every_class_of_the_package_is_one(self):
        """A rule for those to come."""
        for module in map(importlib.import_module, MODULES):
            for kind in vars(module).values():
                if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__.startswith("imagegen_magic"):
                    assert issubclass(kind, PortableError) or "__init__" not in vars(kind), kind

    def test_a_copy_is_another_error(self):
        """What is set on a copy does not change what it was made of."""
        error = APIError("no", status=404)
        other = copy.copy(error)
        other.charge = "yes"
        assert (error.charge, other.charge, other.status) == ("no", "yes", 404)

    def test_what_cannot_travel_is_left_behind(self):
        """A value that cannot be pickled goes by the name of its type, and what a notebook hung on the error stays there."""
        error = UnsupportedOption("no", option="references", value=(line for line in "x"))
        error._render_traceback_ = lambda: ["short"]
        back = pickle.loads(pickle.dumps(error))
        assert back.value == "<generator>"
        assert str(back) == str(error)
        assert not hasattr(back, "_render_traceback_")
        assert copy.copy(error).value is error.value
        assert copy.deepcopy(error).option == "references"
        assert pickle.loads(pickle.dumps(UnsupportedOption("no", option="x", value=numpy.zeros(3)))).value.shape == (3,)

    def test_of_the_system(self):
        """An errno that was set on a SaveError stays on it."""
        error = SaveError("no room")
        error.errno, error.filename = 28, "/x"
        back = pickle.loads(pickle.dumps(error))
        assert (back.errno, back.filename) == (28, "/x")


class TestOtherProcesses:
    """If the answer comes from another process, or is kept for one."""

    @pytest.mark.parametrize("how", ["fork", "spawn"])
    def test_a_pool_returns_the_refusal(self, how, own_world):
        """Of two requests one is refused: map raises that, and returns pictures if nothing is refused."""
        own_world.joinpath("drawing.py").write_text(
            textwrap.dedent(
                """
                import multiprocessing, sys

                from imagegen_magic import generate, run

                def draw(size):
                    return run(generate("a fox", size=size, sandbox=True))

                if __name__ == "__main__":
                    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                        print([len(made) for made in pool.map(draw, ["1:1", "16:9"])])
                        try:
                            pool.map(draw, ["1:1", "7:7"])
                        except ValueError as error:
                            print(type(error).__name__, error.option, error.value, error)
                """
            )
        )
        done = subprocess.run([sys.executable, "drawing.py", how], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == "[1, 1]"
        assert lines[1].startswith("UnsupportedOption size 7:7 ")

    def test_a_process_that_never_imported_us(self, everything):
        """It gets all of it back."""
        everything = [each for each in everything if not isinstance(each, sweeps.SweepPlan | PlannedRequest)] + [_refusal()]
        code = "import pickle, sys; print(*(type(each).__qualname__ for each in pickle.load(sys.stdin.buffer)))"
        done = subprocess.run([sys.executable, "-W", "error", "-c", code], input=pickle.dumps(everything), capture_output=True, check=True)
        assert done.stdout.decode().split() == [type(each).__qualname__ for each in everything]

    def test_a_frame_in_a_file(self, own_world):
        """`to_pickle` and `read_pickle`."""
        fox = run(generate("a fox", sandbox=True))
        import pandas

        pandas.DataFrame({"image": list(fox), "made": [fox]}).to_pickle("foxes.pickle")
        assert list(pandas.read_pickle("foxes.pickle")["image"]) == list(fox)

    def test_store(self, own_world, monkeypatch):
        """IPython's `%store` keeps a Generation for the next session."""
        monkeypatch.setenv("IPYTHONDIR", str(own_world / "ipython"))
        fox = run(generate("a fox", sandbox=True))
        with a_shell() as shell:
            shell.shell.run_line_magic("load_ext", "storemagic")
            shell.shell.user_ns["fox"] = fox
            shell.shell.run_line_magic("store", "fox")
            del shell.shell.user_ns["fox"]
            shell.shell.run_line_magic("store", "-r fox")
            assert shell.shell.user_ns["fox"] == fox
            shell.shell.run_line_magic("store", "-d fox")

    def test_a_job_says_that_it_belongs_here(self):
        """In one line, as the session, the ledger, the panel and a handle do."""
        job = api.start(ImageRequest("a fox"), sandbox=True)
        panel = Panel(sandbox=True)
        bound = [job, job._handle, panel, context_of(load()) if loop.here() else ledger_of(load())]
        for each in bound:
            assert isinstance(each, ProcessBound)
            for make in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match=f"a {type(each).__name__} belongs to the process that made it") as error:
                    make(each)
                assert "\n" not in str(error.value)
        with pytest.raises(TypeError, match=r"pickle its Generation, which wait\(\) returns$"):
            pickle.dumps(job)
        job.wait(30)


class TestKeys:
    """A key is in no pickle."""

    def test_a_plan_leaves_its_key_behind(self, monkeypatch):
        """And cannot be begun with: nothing is sent."""
        monkeypatch.setenv("EVOLINK_API_KEY", SECRET)
        settings = load()
        plan = sweeps.plan(ImageRequest("a fox"), {"quality": ["low", "high"]}, settings=settings, provider="evolink")
        assert plan.requests[0].endpoint.key.reveal() == SECRET
        kept = pickle.dumps(plan)
        assert SECRET.encode() not in kept
        back = pickle.loads(kept)
        assert (back.pictures, back.requests[0].endpoint.base_url) == (2, plan.requests[0].endpoint.base_url)
        with pytest.raises(MissingKey, match="it comes from a pickle"):
            sweeps.start(back, settings)

    def test_a_plan_for_the_sandbox_can_be_begun(self):
        """It needs no key."""
        settings = load().replace("here", sandbox=True)
        plan = pickle.loads(pickle.dumps(sweeps.plan(ImageRequest("a fox"), {"quality": ["low", "high"]}, settings=settings)))
        assert len(sweeps.start(plan, settings).wait(30)) == 2

    def test_a_key_itself_is_refused(self, monkeypatch):
        """In one line; a copy of a gateway shares it."""
        monkeypatch.setenv("EVOLINK_API_KEY", SECRET)
        gateway = endpoint_for(get_provider("evolink"), load())
        with pytest.raises(TypeError, match=r"^a key is not to be stored$"):
            pickle.dumps(gateway.key)
        assert copy.deepcopy(gateway).key is gateway.key

    def test_a_configured_gateway(self, monkeypatch):
        """Its class is made while the program runs; it is found again by what was configured."""
        monkeypatch.setenv("HOUSE_API_KEY", SECRET)
        tables = {"house": {"like": "evolink", "base_url": "https://api.house.example"}}
        gateway = endpoint_for(get_provider("house", tables), load())
        back = pickle.loads(pickle.dumps(gateway))
        assert (back.provider.name, back.provider.base_url, back.key.reveal()) == ("house", "https://api.house.example", "")


class TestVersions:
    """Pickles of other versions."""

    def test_a_missing_field_gets_its_default(self):
        """One that a later version has."""
        request = ImageRequest("a fox", size="1:1")
        state = {item.name: getattr(request, item.name) for item in dataclasses.fields(request)}
        del state["callback_url"], state["extra"]
        assert records.restored(ImageRequest, state) == request

    def test_an_unknown_field_is_told(self):
        """One that a later version wrote: the rest loads, and a warning names what is left out."""
        request = ImageRequest("a fox")
        state = {item.name: getattr(request, item.name) for item in dataclasses.fields(request)}
        with pytest.warns(UserWarning, match=r"pickled this ImageRequest; .* are left out: seed$"):
            assert records.restored(ImageRequest, {**state, "seed": 7}) == request

    @pytest.mark.filterwarnings("ignore:.* is now:DeprecationWarning")
    def test_what_the_first_version_wrote(self):
        """The file holds a result with one picture, a sweep, a plan and a refusal."""
        made, study, plan, refusal = pickle.loads(base64.b85decode(STORED.read_bytes()))
        assert (type(made), made[0].url, made.cost.amount) == (Generation, "https://x.example/1.png?sig=1", Decimal("0.04"))
        assert made.request == ImageRequest("a fox", size="1:1", references=[_picture(b"a picture")], extra={"user": {"deep": [1]}})
        assert isinstance(made.errors[0], TaskFailed)
        assert [study.place(image) for image in study] == [{"what": "red"}]
        assert (plan.count, plan.model.sizes["1:1"]["1k"]) == (1, (1024, 1024))
        assert (refusal.option, refusal.value, refusal.charge) == ("size", "7:7", "no")
