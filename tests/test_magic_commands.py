"""The subcommands: what each shows, as an escaped table with a plain twin, and that none of them submits anything."""

import asyncio
import re
from dataclasses import replace

import pytest
from IPython.core.error import UsageError
from shells import a_shell
from waiting import until

from imagegen_magic.engine import api, endpoints, loop
from imagegen_magic.engine.ledger.ledger import NewJob, NewTask
from imagegen_magic.errors import ImageGenError, UnknownProvider
from imagegen_magic.humanize import truncate
from imagegen_magic.notebook.commands.gateways import key_status
from imagegen_magic.notebook.output.tables import Cell, Code, Note, Page, Table
from imagegen_magic.notebook.panel.state import PanelState
from imagegen_magic.providers import registry
from imagegen_magic.request import ImageRequest
from imagegen_magic.result import Cost


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def run(awaitable):
    """Run something on the engine's loop."""
    return loop.run(awaitable)


def a_task_left_behind(state="submitted", prompt="a castle <i>left</i> behind"):
    """Put a task into the ledger as a dead kernel leaves it; return its row."""
    ledger = api.ledger()
    task = NewTask({"method": "POST", "path": "/v1/images/generations", "json": {}}, 1, "abcd-0")
    asked = {"prompt": prompt}
    job = NewJob(
        "evolink", "evolink", "http://sandbox.invalid/evolink", True, "gpt-image-2", "low", "1k", asked, asked,
        {"pixels": [], "mime_type": None, "alpha": None}, Cost(), "imagegen", None, [task],
    )  # fmt: skip
    ((_, (row,)),) = run(ledger.add([job]))
    run(ledger.set_state(row, state, task_id="task-1"))
    run(ledger.release([row]))
    return row


def test_providers_lists_every_gateway(shell, monkeypatch):
    """Each service with its models, whether a key is set and where to set it, its documents, what it can do; those with a key first."""
    monkeypatch.setenv("EVOLINK_API_KEY", "some-key-to-hide")
    shell.run("%imagegen providers")
    text, html = shell.shown()[0], shell.shown("text/html")[0]
    for provider in registry.all_providers():
        for words in (provider.name, provider.docs_url, *(model.name for model in provider.models[:4])):
            assert words in text
        assert f'href="{provider.docs_url}"' in html
    rows = text.splitlines()[2:]
    assert [row.split()[0] for row in rows[:4]] == ["evolink", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst", "apimart"]
    assert "and 6 more" in next(row for row in rows if row.startswith("fal "))
    assert "set (EVOLINK_API_KEY)" in text
    assert "not set: APIMART_API_KEY, or %imagegen login apimart" in text
    assert "some-key-to-hide" not in text + html
    assert "upstream until 2026-10-23" in text


def test_providers_lists_configured_gateway(shell, own_world):
    """A configured gateway is a gateway like any other."""
    (own_world / "pyproject.toml").write_text(
        '[tool.imagegen.providers.zeta]\nlike = "apimart"\nbase_url = "https://zeta.example"\nkey_variable = "ZETA_API_KEY"\n'
    )
    shell.run("%imagegen providers")
    assert "not set: ZETA_API_KEY, or %imagegen login zeta" in shell.shown()[0]


class TestABadLookAlike:
    """A gateway that is configured wrongly is named in one line, and hides no other."""

    @pytest.fixture(autouse=True)
    def configured(self, own_world, monkeypatch):
        """One that is broken before one that is whole."""
        (own_world / "pyproject.toml").write_text(
            '[tool.imagegen.providers.broken]\nlike = "apimart"\nbase_uri = "x"\n'
            '[tool.imagegen.providers.zeta]\nlike = "apimart"\nbase_url = "https://zeta.example"\nkey_variable = "ZETA_API_KEY"\n'
        )

    WRONG = "[tool.imagegen.providers.broken] in pyproject.toml has unknown keys base_uri"

    @pytest.mark.parametrize("command", ["providers", "models", "doctor"])
    def test_the_others_are_listed(self, shell, command):
        """With what is wrong with this one."""
        shell.run(f"%imagegen {command}")
        (text,) = shell.shown()
        assert text.count(self.WRONG) == 1
        for name in ("zeta", *registry.BUILT_IN):
            assert name in text

    def test_by_its_name(self, shell):
        """The error is shown for this gateway only."""
        with pytest.raises(UnknownProvider, match="has unknown keys base_uri"):
            shell.run("%imagegen models broken")
        shell.run("%imagegen models zeta")
        assert "broken" not in shell.shown()[0]

    def test_no_gateway_is_chosen_in_its_place(self, shell, monkeypatch):
        """One of this package comes before it; one behind it, or the sandbox, is not taken instead."""
        settings = shell.context.settings()
        monkeypatch.setenv("ZETA_API_KEY", "a-key-to-hide")
        with pytest.raises(UnknownProvider, match="has unknown keys base_uri"):
            endpoints.select_endpoint(settings)
        assert endpoints.select_endpoint(settings, provider="zeta").provider.name == "zeta"
        monkeypatch.setenv("EVOLINK_API_KEY", "a-key-to-hide")
        assert endpoints.select_endpoint(settings).provider.name == "evolink"
        assert endpoints.select_endpoint(settings, sandbox=True).sandbox

    def test_the_panel_opens(self, shell, monkeypatch):
        """With the gateways that can be used."""
        monkeypatch.setenv("EVOLINK_API_KEY", "a-key-to-hide")
        desk = PanelState(shell.context.settings(), ImageRequest(""), None, None)
        assert list(desk.providers) == [*registry.BUILT_IN, "zeta"]


def test_a_variable_that_sets_nothing_is_named(shell, monkeypatch):
    """By config and doctor, with the one that may be meant; never its value, which may be a key."""
    monkeypatch.setenv("IMAGEGEN_QUALTY", "high-and-secret")
    monkeypatch.setenv("IMAGEGEN_XYZZY", "also-secret")
    shell.run("%imagegen config")
    text = shell.shown()[0]
    assert re.search(r"IMAGEGEN_QUALTY +not used +environment; no setting has this name: did you mean IMAGEGEN_QUALITY\?", text)
    assert re.search(r"IMAGEGEN_XYZZY +not used +environment; no setting has this name", text)
    assert "secret" not in text
    shell.run("%imagegen doctor")
    text = shell.shown()[0]
    assert re.search(r"IMAGEGEN_QUALTY is in the environment and sets nothing +rename it to IMAGEGEN_QUALITY", text)
    assert re.search(r"IMAGEGEN_XYZZY is in the environment and sets nothing +remove it", text)
    assert "secret" not in text


def test_a_service_that_needs_no_key(shell):
    """Has none to set."""
    lab = type("Lab", (type(registry.get_provider("openai")),), {"name": "lab", "needs_key": False, "key_variable": ""})()
    assert key_status(lab, shell.context.settings()) == "none needed"


def test_what_is_not_known_of_a_server_is_shown_as_that(shell, own_world):
    """Not the sizes of other models, nor that it takes no references."""
    (own_world / "pyproject.toml").write_text(
        '[tool.imagegen.providers.lab]\nlike = "openai-compatible"\nbase_url = "http://127.0.0.1:9/v1"\nmodel = "flux-dev"\n'
    )
    shell.run("%imagegen providers")
    (row,) = [row for row in shell.shown()[0].splitlines() if row.startswith("lab ")]
    assert re.fullmatch(r"lab +none needed +flux-dev +not known; every option is sent, not checked *", row)
    shell.run("%imagegen models")
    assert re.search(r"^lab +flux-dev +not known; every option is sent, not checked +–$", shell.shown()[0], re.MULTILINE)
    shell.run("%imagegen models lab")
    assert "references" not in shell.shown()[0]
    shell.run("%imagegen doctor")
    assert re.search(r"key of lab +none needed\s+address of lab +http://127.0.0.1:9/v1 *$", shell.shown()[0], re.MULTILINE)


def test_models_shows_all_in_one_line_each(shell):
    """Without a name: service, model, what it can do, and when its page was read."""
    shell.run("%imagegen models")
    rows = shell.shown()[0].splitlines()[2:]
    expected = [(provider.name, model.name) for provider in registry.all_providers() for model in provider.models]
    assert [tuple(row.split()[:2]) for row in rows[: len(expected)]] == expected
    assert re.search(r"\n\ngemini +gemini-3-pro-image +10 ratios, 1k/2k/4k, .*14 references +read 2026-", "\n\n".join(rows))


def test_many_models_of_a_service_are_one_line_each(shell, monkeypatch):
    """As those that a service describes may be hundreds; each alone has its sizes."""
    provider = registry.get_provider("openrouter")
    many = tuple(replace(provider.models[0], name=f"lab/model-{number}") for number in range(40))
    monkeypatch.setattr(type(provider), "models", many)
    shell.run("%imagegen models openrouter")
    assert len(re.findall(r"openrouter +lab/model-\d+ +14 ratios", shell.shown()[0])) == 40
    shell.run("%imagegen models lab/model-7")
    assert "openrouter · lab/model-7" in shell.shown()[0]


def test_models_shows_parameters_and_how_the_answer_comes(shell):
    """The common parameters first; an answer that holds the pictures is lost with its connection."""
    shell.run("%imagegen models fal-ai/qwen-image")
    assert re.search(r"parameters +seed \(at least 0\), negative_prompt, steps \(at least 2\)", shell.shown()[0])
    assert "they are lost" not in shell.shown()[0]
    shell.run("%imagegen models gemini-3-pro-image")
    assert re.search(r"answer +holds the pictures: .* they are lost and may be charged", shell.shown()[0])


@pytest.mark.parametrize("name", [*registry.provider_names(), "gpt-image-2-r"])
def test_models_shows_every_size(shell, name):
    """Ratio by tier in pixels, qualities, formats, limits and the date, of one service or one model."""
    shell.run(f"%imagegen models {name}")
    text = shell.shown()[0]
    for provider in registry.all_providers():
        for model in provider.models:
            if name in (provider.name, model.name):
                assert f"{provider.name} · {model.name}" in text
                assert f"read {model.checked}" in text
                for tiers in model.sizes.values():
                    assert not [pair for pair in tiers.values() if f"{pair[0]}×{pair[1]}" not in text]


def test_models_of_an_unknown_name(shell):
    """The error for an unknown name lists the gateways."""
    with pytest.raises(UnknownProvider, match=r"apimart, azure-openai, evolink, .*xingchao"):
        shell.run("%imagegen models nothing")


def test_config_shows_the_origin_of_each_value(shell, own_world, monkeypatch):
    """Every setting with its value and origin."""
    monkeypatch.setenv("IMAGEGEN_SAVE_DIR", "/data/pictures")
    (own_world / "pyproject.toml").write_text('[tool.imagegen]\nquality = "low"\n')
    shell.run("%config ImageGenMagics.n = 2")
    shell.run("%imagegen config")
    text = shell.shown()[0]
    for pattern in (
        r"save_dir +/data/pictures +environment IMAGEGEN_SAVE_DIR",
        r"quality +low +pyproject\.toml",
        r"\bn +2 +%config",
        r"timeout +600\.0 +built in",
    ):
        assert re.search(pattern, text)


def test_nothing_is_there_yet(shell, capsys):
    """In a new session history, jobs, wait, cancel, resume and error report that there is nothing."""
    for command, words in {
        "history": "No picture yet.",
        "jobs": "No running or pending tasks.",
        "wait": "No job was started with --no-wait.",
        "cancel": "No job is running.",
        "resume": "Nothing is waiting.",
        "error": "No error yet.",
    }.items():
        shell.run(f"%imagegen {command}")
        assert capsys.readouterr().out.strip() == words


def test_show_without_an_id_shows_the_latest(shell, capsys):
    """What a person wants after a page was reloaded in the middle."""
    with pytest.raises(UsageError, match="There is no picture to show yet"):
        shell.run("%imagegen show")
    shell.run("%imagegen --sandbox --size 1:1 first")
    shell.run("%imagegen --sandbox --size 1:1 second")
    latest = shell.variables["_imagegen"][0]
    capsys.readouterr()
    shell.run("%imagegen show")
    assert latest.path.name in capsys.readouterr().out + "".join(shell.shown())


def test_history_and_show(shell, capsys):
    """A picture is listed with thumbnail, prompt, pixels, cost and file, and shown again by its id."""
    shell.run("%imagegen --sandbox -p gccai a red <b>fox</b>")
    image = shell.variables["_imagegen"][0]
    shell.run("%imagegen history")
    text, html = shell.shown()[0], shell.shown("text/html")[0]
    for words in (
        str(image.id),
        "a red <b>fox</b>",
        "gccai gpt-image-2-official (sandbox)",
        f"{image.width}×{image.height}",
        f"imagegen/{image.path.name}",
    ):
        assert words in text
    assert "&lt;b&gt;fox" in html
    assert "<b>fox" not in html
    assert 'src="data:image/' in html
    capsys.readouterr()
    shell.run(f"%imagegen show {image.id}")
    assert str(image.path.name) in capsys.readouterr().out + "".join(shell.shown())


def test_history_outlives_its_files(shell):
    """A picture that was moved is still listed, and showing it is no traceback."""
    shell.run("%imagegen --sandbox a fox")
    image = shell.variables["_imagegen"][0]
    image.path.unlink()
    shell.run("%imagegen history")
    assert f"imagegen/{image.path.name}" in shell.shown()[0]
    shell.run(f"%imagegen show {image.id}")


@pytest.mark.parametrize("code", ["%imagegen show", "%imagegen show 999", "%imagegen show fox"])
def test_show_of_nothing(shell, code):
    """Without an id, with an unknown one, or with a word, the error of show has its usage."""
    with pytest.raises(UsageError, match="history"):
        shell.run(code)


def test_jobs_lists_what_was_left_behind(shell):
    """A task that another kernel left at the gateway is listed with its state, escaped."""
    row = a_task_left_behind()
    shell.run("%imagegen jobs")
    text, html = shell.shown()[0], shell.shown("text/html")[0]
    for words in (f"task {row}", "evolink (sandbox)", "a castle <i>left</i> behind", "at the service (task-1)"):
        assert words in text
    assert "<i>left" not in html


def test_an_unknown_submission_is_listed(shell):
    """A submission of unknown outcome is listed as that."""
    a_task_left_behind(state="unknown")
    shell.run("%imagegen jobs")
    assert "it is unknown whether the service accepted it" in shell.shown()[0]


def test_waiting_pictures_are_told_once(shell):
    """The first cell of a session shows in one line that pictures are waiting; the second does not."""
    a_task_left_behind()
    shell.run("%imagegen --sandbox a fox")
    assert "1 picture is waiting: %imagegen resume" in shell.shown()
    shell.run("%imagegen --sandbox a fox")
    assert not [words for words in shell.shown() if "waiting: %imagegen" in words]


def test_nothing_waiting_is_no_line(shell):
    """A session with nothing to collect shows no reminder."""
    shell.run("%imagegen --sandbox a fox")
    assert not [words for words in shell.shown() if "waiting" in words]


def test_jobs_wait_and_cancel(shell, capsys):
    """A job started with --no-wait is listed, waited for, and can be cancelled by its id."""
    shell.run("%imagegen --sandbox --no-wait -o foxes a fox")
    job = shell.variables["foxes"]
    shell.run("%imagegen jobs")
    assert "a fox" in shell.shown()[0]
    shell.run("%imagegen wait")
    assert "1 job is done." in capsys.readouterr().out
    assert job.done
    assert shell.variables["_imagegen"][0].path.exists()
    shell.run("%imagegen cancel")
    assert "No job is running." in capsys.readouterr().out
    with pytest.raises(UsageError, match="Job 999 is not running"):
        shell.run("%imagegen cancel 999")


def test_jobs_lists_sweeps_and_what_was_collected(shell):
    """A job of several requests, at one gateway or at two, is listed with its gateways, its prompt and its pictures."""
    shell.run("%%imagegen --sandbox -p evolink --sweep quality=low,high --no-wait -o both\na striped fox")
    shell.run("%imagegen jobs")
    assert re.search(r"evolink \(sandbox\) .*a striped fox", shell.shown()[0])
    shell.run("%imagegen wait")
    shell.run("%imagegen jobs")
    assert "done, 2 pictures" in shell.shown()[0]
    shell.run("%%imagegen --sandbox --sweep provider=evolink,apimart --no-wait -q low\na fox")
    shell.run("%imagegen jobs")
    assert "evolink (sandbox), apimart (sandbox)" in shell.shown()[0]
    shell.run("%imagegen wait")


def test_jobs_counts_one_picture(shell):
    """One picture is one picture."""
    shell.run("%imagegen --sandbox --no-wait a fox")
    shell.run("%imagegen wait")
    shell.run("%imagegen jobs")
    assert re.search(r"done, 1 picture$", shell.shown()[0], re.MULTILINE)


def test_cancel_stops_the_waiting(shell, capsys, monkeypatch):
    """Cancelling ends the waiting and reports that the gateway continues; resume collects without a new submission."""
    monkeypatch.setenv("IMAGEGEN_POLL_SECONDS", "30")
    shell.run("%imagegen --sandbox --no-wait -o foxes a fox")
    job = shell.variables["foxes"]
    until(lambda: run(api.ledger().tasks(states=("submitted",))))
    shell.run(f"%imagegen cancel {job.id}")
    assert "Stopped waiting for 1 job. The services continue" in capsys.readouterr().out
    until(lambda: job.done)
    assert api.ledger().count_resumable() == 1
    monkeypatch.delenv("IMAGEGEN_POLL_SECONDS")
    shell.run("%imagegen resume")
    assert len(run(api.ledger().tasks())) == 1
    assert shell.variables["_imagegen"][0].path.exists()
    assert api.ledger().count_resumable() == 0


def test_doctor_finds_nothing_wrong(shell, monkeypatch):
    """Versions, front end, settings, ledger, folder, keys and addresses; no network and no key shown."""
    monkeypatch.setenv("EVOLINK_API_KEY", "some-key-to-hide")
    refuse_network(monkeypatch)
    shell.run("%imagegen doctor")
    text = shell.shown()[0]
    assert text.startswith("No problems found.")
    for words in (
        "httpx2",
        "ipywidgets",
        "ledger.sqlite",
        "complete and writable",
        "set (EVOLINK_API_KEY)",
        "https://api.evolink.ai",
        "waiting pictures",
    ):
        assert words in text
    assert "some-key-to-hide" not in text


def refuse_network(monkeypatch):
    """Make any connection fail the test."""

    async def connect(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(asyncio.BaseEventLoop, "create_connection", connect)


def test_doctor_shows_how_to_fix(shell, own_world, monkeypatch):
    """A key over http, an unwritable folder, waiting pictures: each with what to do."""
    a_task_left_behind()
    monkeypatch.setenv("EVOLINK_BASE_URL", "http://proxy.example")
    (own_world / "imagegen").write_text("a file is in the way")
    shell.run("%imagegen doctor")
    text = shell.shown()[0]
    assert re.match(r"\d problems found", text)
    assert "use https://, so that the key is encrypted" in text
    assert "Pictures cannot be saved in" in text
    assert "%imagegen resume collects them" in text


def test_doctor_reports_a_broken_ledger(shell, own_world):
    """A ledger that is no database is reported, and the rest of the report is complete."""
    home = own_world.parent / "home"
    home.mkdir()
    (home / "ledger.sqlite").write_text("this is not a database, but long enough to look like a file of one" * 20)
    shell.run("%imagegen doctor")
    text = shell.shown()[0]
    assert re.search(r"ledger +The ledger .* cannot be|another program|damaged", text)
    assert re.search(r"no key for +apimart, azure-openai, evolink, .*xingchao; %imagegen providers shows where to set one", text)


def test_doctor_reports_a_broken_configuration(shell, own_world):
    """A pyproject.toml that cannot be read, or a setting that does not exist, is named."""
    (own_world / "pyproject.toml").write_text("[tool.imagegen]\nspeed = 3\n")
    shell.run("%imagegen doctor")
    assert "an option 'speed' that does not exist" in shell.shown()[0]


def test_doctor_asks_the_network_only_on_request(shell, monkeypatch):
    """`doctor --network` checks whether each service that can be used answers; here none does, and the report has that."""
    for provider in registry.built_in():
        monkeypatch.setenv(endpoints.base_variable(provider), "http://127.0.0.1:9")
    shell.run("%imagegen doctor --network")
    assert len(re.findall(r"network to [\w-]+ +not reached", shell.shown()[0])) == len(registry.BUILT_IN)


def test_doctor_finds_no_fault_with_services_without_a_key(shell, monkeypatch):
    """They are named in one line, not requested and no problem; a resource without its address is one as soon as it has a key."""
    monkeypatch.setenv("FAL_KEY", "some-key-to-hide")
    monkeypatch.setenv("FAL_BASE_URL", "http://127.0.0.1:9")
    shell.run("%imagegen doctor --network")
    text = shell.shown()[0]
    assert re.findall(r"network to ([\w-]+)", text) == ["fal"]
    assert re.search(r"without -p +a cell asks once which makes its pictures: fal or the sandbox *$", text, re.MULTILINE)
    (line,) = [line for line in text.splitlines() if line.startswith("no key for")]
    assert line.split()[3:-7] == [f"{name}," for name in registry.BUILT_IN if name not in ("fal", "xingchao")] + ["xingchao;"]
    assert "azure-openai has no" not in text
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "some-key-to-hide")
    shell.run("%imagegen doctor")
    assert re.search(r"Azure OpenAI has no address of its own +set AZURE_OPENAI_ENDPOINT", shell.shown()[0])


def test_a_page_is_escaped_and_has_a_plain_twin():
    """Tables escape every cell, link only to the web, take pictures only inline, and line up wide characters as text."""
    nasty = '<img src=x onerror="alert(1)">'
    table = Table((nasty, "b"), [[nasty, Cell(nasty, address="javascript:alert(1)", picture="https://evil.example/x.png")]], title=nasty)
    page = Page(table, Note(nasty), Code(nasty))
    bundle = page._repr_mimebundle_()
    assert "<img" not in bundle["text/html"]
    assert "javascript" not in bundle["text/html"]
    assert "var(--jp-" in bundle["text/html"]
    assert bundle["text/plain"].count(nasty) == 6
    lines = Table(("a", "b"), [["水墨", "x"], ["abcd", "x"]]).text().splitlines()
    assert lines[2:] == ["水墨  x", "abcd  x"]
    assert truncate("a\n b " * 40, 10) == "a b a b a…"


def test_arguments_that_do_not_fit_are_refused(shell):
    """A flag or word too many is one line with the right form."""
    for code in ("%imagegen doctor --net", "%imagegen config x", "%imagegen cancel 1 2", "%imagegen resume here now"):
        with pytest.raises(UsageError, match=r"%imagegen (doctor|config|cancel|resume).* Nothing was sent"):
            shell.run(code)


def test_errors_of_commands_are_one_line(shell, own_world, monkeypatch):
    """A ledger that cannot be used stops history with one line, and `error` has the trace."""
    monkeypatch.setenv("IMAGEGEN_HOME", str(own_world / "a-file"))
    (own_world / "a-file").write_text("")
    with pytest.raises(ImageGenError) as caught:
        shell.run("%imagegen history")
    assert len(caught.value._render_traceback_()) == 1
    assert "Traceback" in shell.context.last_error
