"""With reuse, an identical request gets its earlier images for free."""

import pytest
from PIL import Image
from servers import sandbox_thread
from shells import a_shell
from waiting import until

from imagegen_magic import ImageRequest, generate, run
from imagegen_magic.engine import api, loop
from imagegen_magic.engine.settings import load as load_settings
from imagegen_magic.errors import ImageGenError, SubmissionUnknown, TaskFailed, TaskTimeout
from imagegen_magic.humanize import ago
from imagegen_magic.notebook.output import captions

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    """A gateway whose tasks take a twentieth of a second."""
    with sandbox_thread(duration=0.05, plain=True) as running:
        yield running


@pytest.fixture(scope="module")
def slow_server():
    """A gateway whose tasks take a second and a half."""
    with sandbox_thread(duration=1.5, plain=True) as running:
        yield running


def _at(server, monkeypatch):
    server.disarm()
    for name, value in {"IMAGEGEN_POLL_SECONDS": "0.05", **server.environ()}.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def gateway(server, monkeypatch):
    """The quick gateway, for this process."""
    return _at(server, monkeypatch)


@pytest.fixture
def slow_gateway(slow_server, monkeypatch):
    """The slow gateway, for this process."""
    return _at(slow_server, monkeypatch)


UNCLEAR = {"provider": "gccai"}  # which cannot be asked about a submission without an answer


def asked(prompt, **options):
    """Ask for one picture and wait for it."""
    return run(generate(prompt, **{"provider": "evolink", "size": "1:1", "quality": "low", **options}))


def test_an_identical_request_is_reused_for_free(gateway):
    """The same file, the same id, nothing sent, nothing spent; the caption has the time when it was made."""
    (first,) = asked("the same")
    again = asked("the same", reuse=True)
    assert (again[0].id, again[0].path, again[0].reused) == (first.id, first.path, True)
    assert str(again.cost) == "nothing spent"
    assert len(gateway.accepted("the same")) == 1
    assert "reused, nothing spent, made just now" in captions.caption(again[0]).text


def test_a_job_that_only_reuses_has_the_number_of_the_earlier_job(gateway):
    """It is listed and cancelled by that number; also a job that only resumes."""
    asked("numbered before")
    asked("numbered")
    settings = load_settings().replace("a test", reuse=True)
    request = ImageRequest("numbered", size="1:1", quality="low")
    job = api.start(request, provider="evolink", settings=settings)
    assert job.wait()[0].reused
    assert job.id == loop.run(api.ledger().tasks())[0].job == 2
    assert "<Job 2, done" in repr(job)


def test_a_job_that_only_resumes_has_the_number_of_the_latest_job(slow_gateway):
    """The latest one's, where it is several."""
    with pytest.raises(TaskTimeout):
        asked("left behind", timeout=0.5)
    job = api.resume(load_settings())
    assert len(job.wait()) == 1
    assert job.id == 1


def test_without_reuse_the_caption_names_the_identical_one(gateway):
    """It is made and paid for again, and the caption says so."""
    (first,) = asked("twice")
    (second,) = asked("twice")
    assert len(gateway.accepted("twice")) == 2
    assert (second.reused, second.earlier[0]) == (False, first.id)
    assert f"the same request made picture {first.id} just now; --reuse returns it without paying" in captions.caption(second).text
    assert "identical" not in captions.caption(first).text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (3.2 * 86_400, "3 days ago"),
        (800 * 86_400, "2 years ago"),
    ],
)
def test_ages_as_text(seconds, words):
    """As a person says them."""
    assert ago(seconds) == words


@pytest.mark.parametrize("changed", [{"quality": "medium"}, {"size": "16:9"}, {"provider": "apimart"}, {"extra": {"seed": 1}}, {"n": 2}])
def test_anything_that_would_be_sent_matters(gateway, changed):
    """Another option, another gateway, another field: another image."""
    prompt = f"changed {changed}"
    asked(prompt)
    again = asked(prompt, reuse=True, **changed)
    assert not any(image.reused for image in again)


def test_what_is_not_sent_does_not_matter(gateway, tmp_path):
    """Folder and name are no part of the request."""
    asked("elsewhere")
    assert asked("elsewhere", reuse=True, save_dir=tmp_path, name="other")[0].reused


def test_an_explicit_default_is_the_same(gateway):
    """Only what is sent counts."""
    asked("a default", quality="medium")
    assert run(generate("a default", provider="evolink", size="1:1", n=1, resolution="1K", reuse=True))[0].reused


def test_each_earlier_image_serves_once(gateway):
    """Two identical tasks need two images."""
    asked("served once", n=1)
    both = run(_two_of_the_same())
    assert sorted(image.reused for image in both) == [False, True]
    assert len({image.id for image in both}) == 2


async def _two_of_the_same():
    from imagegen_magic.studies.sweeps.plan import sweep

    return await sweep("served once", {}, repeat=2, provider="evolink", size="1:1", quality="low", reuse=True)


def test_a_missing_file_is_made_again(gateway):
    """Also one that was changed."""
    (first,) = asked("gone")
    first.path.unlink()
    (second,) = asked("gone", reuse=True)
    assert second.reused is False
    second.path.write_bytes(b"changed")
    assert asked("gone", reuse=True)[0].reused is False


def test_failures_are_never_reused(gateway):
    """A failed task is submitted again."""
    gateway.arm("failed", match="first fails")
    with pytest.raises(TaskFailed):
        asked("first fails")
    assert asked("first fails", reuse=True)[0].reused is False
    assert len(gateway.accepted("first fails")) == 2


def test_a_pending_task_is_resumed_instead_of_sent_again(slow_gateway):
    """Accepted, and not waited for to the end: its image is saved, paid for once."""
    with pytest.raises(TaskTimeout):
        asked("waits", timeout=0.5)
    (image,) = asked("waits", reuse=True)
    assert image.reused is False
    assert len(slow_gateway.accepted("waits")) == 1


def test_a_running_task_is_not_sent_again(slow_gateway):
    """Another job has claimed it: the message says who has to act and that nothing was charged."""
    first = api.start(_request("running"), provider="evolink")
    until(lambda: slow_gateway.accepted("running"))
    with pytest.raises(ImageGenError, match="The same request is already running") as refusal:
        asked("running", reuse=True)
    assert (refusal.value.charge, len(slow_gateway.accepted("running"))) == ("no", 1)
    assert first.wait()[0].request.prompt == "running"


def _request(prompt):
    from imagegen_magic import ImageRequest

    return ImageRequest(prompt, size="1:1", quality="low")


def test_what_may_have_been_accepted_is_not_sent_again(gateway):
    """The message has the number with which to give it up; --fresh sends it."""
    gateway.arm("drop-after-accept", match="who knows")
    with pytest.raises(SubmissionUnknown):
        asked("who knows", **UNCLEAR)
    with pytest.raises(SubmissionUnknown, match=r"not sent again.*%imagegen forget \d+"):
        asked("who knows", reuse=True, **UNCLEAR)
    assert len(gateway.submissions("who knows")) == 1
    assert asked("who knows", reuse=False, **UNCLEAR)[0].reused is False
    assert len(gateway.submissions("who knows")) == 2


def test_a_forgotten_task_may_be_sent_again(gateway):
    """`%imagegen forget` lets reuse send it."""
    gateway.arm("drop-after-accept", match="given up")
    with pytest.raises(SubmissionUnknown):
        asked("given up", **UNCLEAR)
    (task,) = loop.run(api.ledger(load_settings()).tasks(states=("unknown",)))
    with a_shell() as shell:
        shell.run(f"%imagegen forget {task.row}")
    assert asked("given up", reuse=True, **UNCLEAR)[0].reused is False
    assert len(gateway.submissions("given up")) == 2


def test_the_bytes_of_references_matter(gateway):
    """The same bytes under any name and address are the same; other bytes are not."""
    red, blue = Image.new("RGB", (64, 64), "red"), Image.new("RGB", (64, 64), "blue")
    (first,) = asked("from a picture", references=[red])
    assert asked("from a picture", references=[red.copy()], reuse=True)[0].id == first.id
    assert asked("from a picture", references=[blue], reuse=True)[0].reused is False
    assert asked("from a picture", references=[red, blue], reuse=True)[0].reused is False


# --- from the notebook

CELL = "%%imagegen -p evolink --size 1:1 -q low{options} -o made\n{prompt}"


@pytest.fixture
def shell(gateway):
    """A shell with the extension loaded."""
    with a_shell() as running:
        yield running


def _cell(shell, prompt, options=""):
    shell.run(CELL.format(prompt=prompt, options=options))
    return shell.variables["made"]


def test_the_option_reuses(shell, gateway):
    """`--reuse` shows the earlier image, and the output says so."""
    first = _cell(shell, "from a cell")
    again = _cell(shell, "from a cell", " --reuse")
    assert again[0].id == first[0].id
    assert "reused, nothing spent" in "\n".join(shell.shown())
    assert len(gateway.accepted("from a cell")) == 1


def test_fresh_overrides_a_configured_reuse(shell, gateway):
    """Run All for free: `%config` once, and `--fresh` for a new image."""
    shell.run("%config ImageGenMagics.reuse = True")
    first = _cell(shell, "configured")
    assert _cell(shell, "configured")[0].id == first[0].id
    assert _cell(shell, "configured", " --fresh")[0].id != first[0].id
    assert len(gateway.accepted("configured")) == 2


def test_the_environment_reuses(gateway, monkeypatch):
    """`IMAGEGEN_REUSE=1` holds for Python too."""
    (first,) = asked("in the environment")
    monkeypatch.setenv("IMAGEGEN_REUSE", "1")
    assert asked("in the environment")[0].id == first.id
    assert asked("in the environment", reuse=False)[0].id != first.id


def test_both_at_once_are_refused(shell):
    """They contradict each other."""
    with pytest.raises(Exception, match="exclude each other"):
        _cell(shell, "both", " --reuse --fresh")
