"""One reader for each option, wherever its value comes from: it takes a value as it is or refuses it; a bad setting breaks no more."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from fractions import Fraction

import numpy
import pytest
from ledgers import a_png
from shells import a_shell
from traitlets import TraitError
from traitlets.config import Config
from webserver import web

from imagegen_magic import ImageRequest, Panel, generate, readers, run, stream, sweep
from imagegen_magic.engine import api
from imagegen_magic.engine.settings import load
from imagegen_magic.errors import TaskTimeout, UnsupportedOption
from imagegen_magic.options import SETTINGS

PNG = a_png(size=(1024, 1024))
ONE = {"provider": "evolink", "size": "1024x1024"}

REFUSED = {
    "n": [2.7, True, False, 0, -1, math.nan, math.inf, "1e400", "2.7", "two", "", None, [2], numpy.bool_(True), Decimal(2)],
    "output_compression": [79.9, -1, 101, True, "79.9", math.nan],
    "timeout": [True, 0, -3, math.nan, math.inf, -math.inf, 10**400, "1e400", "soon", "true", [5], numpy.bool_(True), 1j],
    "submit_timeout": [True, 0, "nan"],
    "poll_seconds": [True, 0, "inf"],
    "workers": [-1, 2.5, 257, True, "", "four", "http://10.0.0.5:8786", "tcp://user:secret@10.0.0.5:8786", object()],
    "submits_at_once": [0.5, "0.5", 0, -8, True, math.inf, 8.5],
    "preview": [15, 1025, 5000, True, 100.5, "big", "inf"],
    "ask_above_pictures": [0, 2.5, True],
    "ask_above_cost": [True, -1, math.nan, "snan", "much", math.inf, "1e400"],
    "unknown_price": [True, "-0.01", "inf"],
    "progress": [True, "", "widget", "TEXT"],
    "drift_above": [True, -0.1, 1.1, "nan"],
    "sandbox": ["maybe", 2, 0.5],
    "save_dir": [3, True, 2.5, ["a"], b"a"],
    "home": [3, True],
    "name": [3, True, 2024.5],
    "model": [3, ["a"]],
    "size": [1, (1024, 1024)],
    "quality": [True],
    "uploader": [1],
}
TAKEN = {
    "n": [(2, 2), ("2", 2), (" 2 ", 2), (2.0, 2), ("2.0", 2), (numpy.int64(2), 2), (numpy.float64(2.0), 2)],
    "output_compression": [(0, 0), (100, 100), ("80", 80), (numpy.uint8(80), 80)],
    "timeout": [(5, 5.0), ("5", 5.0), (" 5.5 ", 5.5), (0.1, 0.1), (Decimal("0.5"), 0.5), (Fraction(1, 2), 0.5), (numpy.float32(2), 2.0)],
    "workers": [(0, 0), (4, 4), ("4", 4), ("tcp://10.0.0.5:8786", "tcp://10.0.0.5:8786"), (" tls://dask:1 ", "tls://dask:1")],
    "submits_at_once": [(8, 8), ("8", 8), (8.0, 8)],
    "preview": [(16, 16), ("1024", 1024)],
    "ask_above_cost": [
        (5, Decimal(5)),
        (0.2, Decimal("0.2")),
        ("0.20", Decimal("0.20")),
        (0, Decimal(0)),
        (Decimal("1.10"), Decimal("1.10")),
    ],
    "progress": [("auto", "auto"), ("widgets", "widgets"), ("text", "text")],
    "drift_above": [(0, 0.0), ("0.02", 0.02), (1, 1.0)],
    "sandbox": [(True, True), ("yes", True), (0, False), ("off", False), (numpy.bool_(True), True), (1, True)],
    "save_dir": [("3", "3"), ("~/x", "~/x")],
    "name": [("2024", "2024")],
}


def _cases(table):
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), [case for case in _cases(REFUSED) if case[1] is not None])
def test_what_would_have_to_be_changed_is_refused(name, value):
    """In one line that names the setting, where it stands and what it takes."""
    with pytest.raises(UnsupportedOption) as caught:
        load().replace("%config", **{name: value})
    text = str(caught.value)
    assert text.startswith(f"{name} = ")
    assert " in %config cannot be used. Nothing was charged. " in text
    assert f"{name} takes " in text
    assert len(text) < 260
    assert "\n" not in text


@pytest.mark.parametrize(("name", "value", "read"), [(name, *each) for name, values in TAKEN.items() for each in values])
def test_what_says_the_same_is_taken(name, value, read):
    """Also as text, as a whole float, as numpy's."""
    found = load().replace("x", **{name: value}).get(name)
    assert (found, type(found)) == (read, type(read))


def test_a_switch_with_a_setting_reads_yes_and_no():
    """And the built-in value of each setting is what its reader returns for it."""
    for option in SETTINGS.values():
        assert (option.metavar is None) == (option.read is readers.flag), option.name
        assert option.default is None or (option.read(option.default), type(option.read(option.default))) == (
            option.default,
            type(option.default),
        )


@pytest.mark.parametrize(
    ("line", "name"), [("n = 2.7", "n"), ("n = true", "n"), ("output_compression = 79.9", "output_compression"),
                       ("save_dir = 3", "save_dir"), ("n = []", "n"),
                       ("timeout = true", "timeout"), ("timeout = inf", "timeout"), ("ask_above_cost = nan", "ask_above_cost")]
)  # fmt: skip
def test_the_project_file_is_read_so_and_named_with_its_path(own_world, line, name):
    """The path, as there may be several above one another."""
    (own_world / "pyproject.toml").write_text(f"[tool.imagegen]\n{line}\n")
    with pytest.raises(UnsupportedOption, match=f"^{name} = .* in {own_world}/pyproject.toml cannot be used"):
        load().get(name)


def test_a_misspelt_setting_is_named_with_the_nearest(own_world):
    """It may have meant money."""
    (own_world / "pyproject.toml").write_text('[tool.imagegen]\nqualty = "low"\n')
    with pytest.raises(UnsupportedOption, match=r"'qualty' that does not exist.*Try quality"):
        run(generate("fox", sandbox=True))


PYTHON = [
    {"timeout": True}, {"timeout": "soon"}, {"timeout": math.nan}, {"save_dir": 3}, {"name": 3}, {"n": 2.7}, {"n": True}, {"n": 0},
    {"reuse": "maybe"}, {"output_compression": 79.9, "output_format": "jpeg"},
]  # fmt: skip


@pytest.mark.parametrize("given", PYTHON, ids=str)
def test_python_is_refused_alike(own_world, given):
    """generate(), stream() and sweep(), before anything is made or recorded."""

    async def streamed():
        return [event async for event in stream("fox", sandbox=True, **given)]

    for way in (lambda: generate("fox", sandbox=True, **given), streamed, lambda: sweep("{{a}}", {"a": ["x", "y"]}, sandbox=True, **given)):
        with pytest.raises(UnsupportedOption) as caught:
            run(way())
        assert caught.value.charge == "no"
    assert api.ledger(load()).count_resumable() == 0
    assert list(own_world.iterdir()) == []


@pytest.mark.parametrize("repeat", [2.7, True, 0, "two", math.nan])
def test_repeat_is_a_whole_number(repeat):
    """Of Python's sweep."""
    with pytest.raises(UnsupportedOption, match="repeat takes a whole number, 1 or more"):
        run(sweep("fox", {}, repeat=repeat, sandbox=True))


@pytest.mark.parametrize("n", [2, 2.0, numpy.int64(2)])
def test_the_same_number_is_the_same_request(n):
    """On the wire and in its fingerprint: `--reuse` finds it."""
    call = api.plan(ImageRequest("fox", n=n), provider="evolink", sandbox=True).calls[0]
    assert json.dumps(call.json["n"]) == json.dumps(api.plan(ImageRequest("fox", n=2), provider="evolink", sandbox=True).calls[0].json["n"])


def test_an_axis_and_a_preset_of_the_panel_are_read_alike():
    """A value of an axis, and a knob's."""
    with pytest.raises(UnsupportedOption, match=r"2\.7"):
        run(sweep("fox", {"n": [1, 2.7]}, sandbox=True))
    with pytest.raises(UnsupportedOption, match="2 twice"):
        run(sweep("fox", {"n": [2, 2.0]}, sandbox=True))
    panel = Panel(prompt="fox", sandbox=True, **ONE)
    for value, read in (("2", 2), (" 2.0 ", 2), ("2.7", "2.7")):
        panel._state.choose("n", _control("n", value))
        assert panel.request.n == read
    assert panel._state.validation.problems


def _control(option, value):
    from imagegen_magic.notebook.panel.state import read

    return read(option, value)


def test_the_number_of_submissions_at_once_can_hang_no_job(monkeypatch):
    """0.5 became 0, and the job waited past its own timeout."""
    monkeypatch.setenv("IMAGEGEN_SUBMITS_AT_ONCE", "0.5")
    with pytest.raises(UnsupportedOption, match=r"submits_at_once = '0\.5' in environment IMAGEGEN_SUBMITS_AT_ONCE"):
        run(generate("fox", sandbox=True))


# %config


@pytest.fixture
def notebook():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


@pytest.mark.parametrize(
    ("name", "value"), [("timeout", True), ("n", 2.7), ("n", True), ("n", 0), ("save_dir", 3), ("preview", 5000), ("sandbox", "maybe")]
)
def test_config_refuses_at_once(notebook, name, value):
    """Where it is typed, and keeps what was there."""
    with pytest.raises(TraitError, match=f"^{name} takes .*, not "):
        setattr(notebook.magics, name, value)
    notebook.shell.run_cell(f"%config ImageGenMagics.{name} = {value!r}")
    assert getattr(notebook.magics, name) is None


def test_config_takes_what_a_cell_takes(notebook):
    """And help still says what kind it is."""
    notebook.shell.run_cell("%config ImageGenMagics.timeout = 5")
    notebook.shell.run_cell("%config ImageGenMagics.n = '2'")
    settings = notebook.context.settings()
    assert (settings.get("timeout"), settings.get("n"), settings.origin("n")) == (5.0, 2, "%config")
    assert "<Float>" in type(notebook.magics).class_get_help()


def test_a_configuration_file_with_a_bad_value_does_not_keep_the_extension_from_loading():
    """Else nothing could be collected; the next cell says what is wrong."""
    from imagegen_magic.notebook.magic.magics import ImageGenMagics

    with a_shell() as shell:
        magics = ImageGenMagics(shell.shell)
        magics.loaded = False
        magics.update_config(Config({"ImageGenMagics": {"timeout": True, "n": 2.7}}))
        settings = magics.context.settings()
        assert sorted(settings.errors) == ["n", "timeout"]
        with pytest.raises(UnsupportedOption, match=r"n = 2\.7 in %config"):
            settings.get("n")


# one bad setting breaks what needs it, and nothing else

BAD = {
    "IMAGEGEN_TIMEOUT": "abc", "IMAGEGEN_N": "2.7", "IMAGEGEN_SUBMITS_AT_ONCE": "0.5", "IMAGEGEN_POLL_SECONDS": "-1",
    "IMAGEGEN_PREVIEW": "big",
    "IMAGEGEN_DRIFT_ABOVE": "7", "IMAGEGEN_UNKNOWN_PRICE": "much", "IMAGEGEN_ASK_ABOVE_COST": "x", "IMAGEGEN_KEEP_LOOP": "maybe",
    "IMAGEGEN_REUSE": "perhaps", "IMAGEGEN_OUTPUT_COMPRESSION": "79.9",
}  # fmt: skip
PROJECTS = ['[tool.imagegen]\nqualty = "low"\nsave_dir = 3\nmodel = 4\n', "[tool.imagegen\n"]
COMMANDS = ["config", "doctor", "history", "jobs", "cost", "budget", "cancel", "providers", "models", "resume", "error", "wait", "--help"]


@pytest.fixture(params=PROJECTS)
def bad(request, own_world, monkeypatch):
    """Everything that can be set is set wrongly."""
    for name, value in BAD.items():
        monkeypatch.setenv(name, value)
    (own_world / "pyproject.toml").write_text(request.param)


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_work_with_bad_settings(notebook, command):
    """Whatever is wrong with them."""
    notebook.run(f"%imagegen {command}")


@pytest.mark.usefixtures("bad")
def test_config_and_doctor_say_what_is_wrong(notebook):
    """Each with its place."""
    for command in ("config", "doctor"):
        notebook.run(f"%imagegen {command}")
        page = "".join(notebook.shown())
        assert "timeout = 'abc' in environment IMAGEGEN_TIMEOUT cannot be used" in page
        assert "n = '2.7' in environment IMAGEGEN_N" in page
        assert "pyproject.toml" in page


@pytest.mark.usefixtures("bad")
def test_signing_in_works_with_bad_settings(notebook, monkeypatch):
    """A key is no option."""
    monkeypatch.setattr("getpass.getpass", lambda prompt: "sk-a-key-of-some-length")
    notebook.run("%imagegen login evolink")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "")


@pytest.mark.parametrize("variable", BAD)
def test_a_request_that_needs_it_is_refused(notebook, monkeypatch, own_world, variable):
    """Before anything is recorded; if the cell has a valid option, it is made."""
    monkeypatch.setenv(variable, BAD[variable])
    name = variable.removeprefix("IMAGEGEN_").lower()
    with pytest.raises(UnsupportedOption, match=f"^{name} = .*{variable}"):
        notebook.run("%%imagegen --sandbox -s 1:1 --dry-run\nA fox" if name not in _NOTEBOOK else "%%imagegen --sandbox -s 1:1\nA fox")
    with pytest.raises(UnsupportedOption, match=f"^{name} = .*{variable}"):
        notebook.run("%%imagegen --sandbox -s 1:1 --repeat 2\nA fox")
    assert list(own_world.iterdir()) == []
    nearer = {"timeout": "--timeout 60", "n": "-n 1", "preview": "--preview 64", "reuse": "--fresh"}.get(name)
    if nearer:
        notebook.run(f"%%imagegen --sandbox -s 1:1 -q low {nearer} -o fox\nA fox")
        assert len(notebook.variables["fox"]) == 1


_NOTEBOOK = ("preview", "drift_above", "ask_above_cost", "keep_loop")


def test_a_nearer_value_is_what_counts(own_world, monkeypatch):
    """A valid value replaces an invalid one below it; an invalid one above a valid one is an error."""
    monkeypatch.setenv("IMAGEGEN_TIMEOUT", "abc")
    (own_world / "pyproject.toml").write_text("[tool.imagegen]\ntimeout = 30\n")
    assert (load().get("timeout"), dict(load().errors)) == (30.0, {})
    monkeypatch.setenv("IMAGEGEN_TIMEOUT", "40")
    (own_world / "pyproject.toml").write_text("[tool.imagegen]\ntimeout = true\n")
    with pytest.raises(UnsupportedOption):
        load().get("timeout")
    assert load().without_errors.get("timeout") == 40.0


def test_what_was_paid_for_is_collected_with_any_bad_setting(notebook, monkeypatch, own_world):
    """By resume, which says what it left out."""
    status = ["processing"]

    def answer(seen):
        if seen.path.endswith(".png"):
            return 200, {}, PNG
        if seen.path.startswith("/v1/images"):
            return 200, {}, b'{"id": "task-1", "status": "pending"}'
        return 200, {}, json.dumps({"data": [{"id": "task-1", "status": status[0], "results": [f"{server.origin}/p.png"]}]}).encode()

    with web(answer) as server:
        for name, value in {"EVOLINK_BASE_URL": server.origin, "EVOLINK_API_KEY": "k", "IMAGEGEN_POLL_SECONDS": "0.05"}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(TaskTimeout):
            run(generate("fox", timeout=0.3, **ONE))
        status[0] = "completed"
        for name, value in {**BAD, "IMAGEGEN_POLL_SECONDS": "-1"}.items():
            monkeypatch.setenv(name, value)
        (own_world / "pyproject.toml").write_text(PROJECTS[0])
        notebook.run("%imagegen resume")
    assert "timeout = 'abc' in environment IMAGEGEN_TIMEOUT cannot be used, so it was left out here" in "".join(notebook.shown())
    assert [path.suffix for path in sorted((own_world / "imagegen").iterdir())] == [".json", ".png"]


@pytest.mark.parametrize("home", ["~nobody-of-that-name/x", "3"])
def test_a_ledger_that_cannot_be_found_is_said_and_not_another_one_taken(notebook, own_world, monkeypatch, home):
    """Nothing is sent, resume takes up no other ledger, and config still shows what is wrong."""
    monkeypatch.delenv("IMAGEGEN_HOME")
    (own_world / "pyproject.toml").write_text(f"[tool.imagegen]\nhome = {home if home == '3' else json.dumps(home)}\n")
    for line in ("%%imagegen --sandbox\nA fox", "%imagegen resume", "%imagegen history"):
        with pytest.raises(UnsupportedOption, match=r"home|user"):
            notebook.run(line)
    for command in ("config", "doctor", "--help"):
        notebook.run(f"%imagegen {command}")
