"""One table of options: what it parses, what it refuses, and that help, traits and settings all come from it."""

import dataclasses
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest
from IPython.core.error import UsageError
from shells import a_shell

from imagegen_magic.notebook import subcommands
from imagegen_magic.notebook.arguments import parser
from imagegen_magic.options import OPTIONS, PARAMETERS, SETTINGS
from imagegen_magic.request import ImageRequest

EVERY_OPTION = [
    *("-p", "--provider", "-m", "--model", "-s", "--size", "-r", "--resolution", "-q", "--quality", "-n", "--n"),
    *("--seed", "--negative-prompt", "--partials"),
    *("--background", "--moderation", "--output-format", "--output-compression", "--callback-url", "--ref", "--mask"),
    *(
        "-o",
        "--out",
        "--score",
        "--save-dir",
        "--workers",
        "--name",
        "--preview",
        "--progress",
        "--timeout",
        "--no-wait",
        "--dry-run",
        "--sandbox",
        "--set",
        "--vars",
    ),
    *(
        "--fit",
        "--sweep",
        "--repeat",
        "--skip-impossible",
        "--yes",
        "--reuse",
        "--fresh",
        "--unchecked",
        "--keep-loop",
        "-h",
        "--help",
        "--version",
    ),
]
EVERY_COMMAND = [
    *("providers", "models", "plan", "resume", "jobs", "wait", "cancel", "history", "show", "star", "tag", "note", "recall", "tree"),
    *(
        "compare",
        "vote",
        "ballot",
        "votes",
        "drift",
        "mask",
        "cost",
        "balance",
        "conformance",
        "budget",
        "score",
        "scores",
        "effects",
        "scorers",
        "export",
        "slim",
        "forget",
        "delete",
        "login",
        "doctor",
        "config",
        "panel",
        "error",
        "version",
    ),
]


@pytest.fixture
def shell():
    """A shell with the extension loaded."""
    with a_shell() as shell:
        yield shell


def test_every_option_of_the_design_is_there():
    """All flags that are promised can be given, and none takes a key."""
    flags = {flag for option in OPTIONS for flag in option.flags}
    assert set(EVERY_OPTION) == flags
    assert not [flag for flag in flags if re.search("key|token|secret", flag)]


def test_every_subcommand_of_the_design_is_there():
    """All subcommands are listed, and each can be run."""
    assert sorted(command.name for command in subcommands.COMMANDS) == sorted(EVERY_COMMAND)
    for command in subcommands.COMMANDS:
        module, _, function = command.function.partition(".")
        assert callable(getattr(import_module(f"imagegen_magic.notebook.commands.{module}"), function))


def test_every_field_of_a_request_has_an_option():
    """What a request can say, a cell can say; the prompt is the body."""
    names = {option.name for option in OPTIONS if option.flags}
    assert {field.name for field in dataclasses.fields(ImageRequest)} - {"prompt", "parameters", "_"} <= names
    assert {name for name in PARAMETERS if name not in names} == set()


def test_each_setting_has_one_row():
    """A request's own settings are its fields, no other setting is one, and the help quotes the built-in values."""
    own = {option.name for option in SETTINGS.values() if option.setting == "request"}
    assert own == {field.name for field in dataclasses.fields(ImageRequest)} & set(SETTINGS)
    assert {option.setting for option in SETTINGS.values()} == {"request", "gateway", "engine", "notebook"}
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)
    for option in SETTINGS.values():
        if option.default not in (None, False):
            number = option.default if isinstance(option.default, str) else f"{option.default:g}"
            assert re.search(rf"default\b.* {number}\b", option.help), option.name


@pytest.mark.parametrize(
    ("line", "given", "text"),
    [
        ("", {}, ""),
        ("-p evolink --size 16:9 -n 2", {"provider": "evolink", "size": "16:9", "n": 2}, ""),
        ("--provider=evolink -n2 -q=high", {"provider": "evolink", "n": 2, "quality": "high"}, ""),
        ("--size 1536×1024", {"size": "1536×1024"}, ""),
        ("--name 'my castle' --save-dir \"a b\"", {"name": "my castle", "save_dir": "a b"}, ""),
        ("--name=' -x '", {"name": " -x "}, ""),
        ("--timeout 90 --preview 512", {"timeout": 90.0, "preview": 512}, ""),
        (
            "--ref https://a.example/1.png --ref https://a.example/2.png",
            {"references": ("https://a.example/1.png", "https://a.example/2.png")},
            "",
        ),
        (
            "--no-wait --dry-run --sandbox --keep-loop --vars",
            dict.fromkeys(("no_wait", "dry_run", "sandbox", "keep_loop", "vars"), True),
            "",
        ),
        ("a red fox", {}, "a red fox"),
        ("-n 2 a red fox", {"n": 2}, "a red fox"),
        ("a red fox -n 2", {"n": 2}, "a red fox"),
        ("a red fox -n 2 in the snow", {"n": 2}, "a red fox in the snow"),
        ('-n 1 it\'s a "red"  fox, {x} $y \\n', {"n": 1}, 'it\'s a "red"  fox, {x} $y \\n'),
        ("winter -5 degrees - or so", {}, "winter -5 degrees - or so"),
        ("a castle -- at night", {}, "a castle -- at night"),
        ("-- show -n 2 {x}", {}, "show -n 2 {x}"),
        ("-q low -- -x", {"quality": "low"}, "-x"),
    ],
)
def test_a_line_is_options_and_verbatim_text(line, given, text):
    """Options may stand anywhere; what is no option is kept as it stands."""
    read = parser.read(line, posix=True)
    assert (read.given, read.text) == (given, text)


def test_double_dash_forces_text():
    """`--` before the text says that it is text."""
    assert parser.read("-- resume").forced
    assert not parser.read("resume").forced


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("--set seed=7", 7),
        ("--set seed=7.5", 7.5),
        ("--set seed=true", True),
        ("""--set 'seed={"a": [1, 2]}'""", {"a": [1, 2]}),
        ('--set seed="7"', 7),
        ("""--set 'seed="7"'""", "7"),
        ("--set seed=blue", "blue"),
        ("--set seed=a=b", "a=b"),
        ("--set seed=NaN", "NaN"),
        ("--set seed=", ""),
    ],
)
def test_set_reads_json_else_text(line, value):
    """`--set KEY=VALUE` is JSON where it can be, and text where not."""
    assert parser.read(line, posix=True).given == {"extra": {"seed": value}}


def test_set_is_repeatable():
    """Several `--set` make several fields, and the same twice is refused rather than one dropped."""
    assert parser.read("--set a=1 --set b=2").given == {"extra": {"a": 1, "b": 2}}
    with pytest.raises(UsageError, match="--set gives a twice"):
        parser.read("--set a=1 --set a=2")


def test_windows_paths_keep_their_backslashes():
    """Where the backslash belongs to paths it is no escape."""
    assert parser.read(r"--save-dir C:\art\new -o x", posix=False).given == {"save_dir": r"C:\art\new", "out": "x"}
    assert parser.read(r'--save-dir "C:\my art" -o x', posix=False).given == {"save_dir": r"C:\my art", "out": "x"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--qualty high", "There is no option --qualty: did you mean --quality?"),
        ("--zzz", "%imagegen --help shows them all"),
        ("-x", "There is no option -x"),
        ("-n two", "--n takes a whole number, 1 or more, not 'two'"),
        ("-n", "--n needs a value: -n, --n COUNT"),
        ("-o --size 16:9", "--out needs a value"),
        ("-o 1x", "--out takes the name of a variable, not '1x'"),
        ("-o class", "--out takes the name of a variable"),
        ("-o a.b", "--out takes the name of a variable"),
        ("--timeout soon", "--timeout takes seconds, a number above 0, not 'soon'"),
        ("--timeout 0", "--timeout takes seconds"),
        ("--timeout nan", "--timeout takes seconds"),
        ("--timeout inf", "--timeout takes seconds"),
        ("--progress none", "--progress takes auto, widgets or text, not 'none'"),
        ("--preview 5000", "--preview takes pixels from 16 to 1024"),
        ("--set seed", "--set takes KEY=VALUE, not 'seed'"),
        ("--sandbox=1", "--sandbox is a switch and takes no value"),
        ("--name 'a b", "A quote is not closed"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(line, words):
    """A wrong option line says what is wrong and what would be right, in one line."""
    with pytest.raises(UsageError) as caught:
        parser.read(line)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_shows_every_option_and_subcommand(shell, capsys):
    """`%imagegen --help`, `%imagegen help` and `%imagegen` alone show all of it."""
    for code in ("%imagegen --help", "%imagegen help", "%imagegen", "%imagegen -p evolink -h", "%%imagegen --help\nwhatever"):
        shell.run(code)
        words = capsys.readouterr().out
        assert [flag for flag in EVERY_OPTION if flag not in words] == []
        assert [name for name in EVERY_COMMAND if f"%imagegen {name}" not in words] == []


def test_question_mark_shows_the_same_help(shell):
    """`%%imagegen?` and `%imagegen?` answer with the whole help."""
    for kind, mark in (("cell", "%%"), ("line", "%")):
        magic = shell.shell.find_magic("imagegen", kind)
        assert magic.__doc__ == subcommands.help_text()
        assert "--keep-loop" in shell.shell.inspector.info(magic, oname=f"{mark}imagegen")["docstring"]


def test_help_of_one_subcommand(shell, capsys):
    """`%imagegen login --help` tells of login."""
    shell.run("%imagegen login --help")
    assert "%imagegen login NAME [--save]" in capsys.readouterr().out


def test_every_default_is_a_trait(shell):
    """`%config ImageGenMagics.provider = …` works for every setting and is nearer than the environment."""
    for option in SETTINGS.values():
        assert shell.magics.traits(config=True)[option.name].help == option.help
    shell.run("%config ImageGenMagics.quality = 'low'")
    shell.run("%config ImageGenMagics.n = 3")
    settings = shell.context.settings()
    assert (settings.get("quality"), settings.origin("quality")) == ("low", "%config")
    assert settings.get("n") == 3


def test_nearest_to_the_cell_wins(shell, own_world, monkeypatch):
    """Environment, then pyproject.toml, then %config, then the cell's own option."""
    monkeypatch.setenv("IMAGEGEN_QUALITY", "low")
    monkeypatch.setenv("IMAGEGEN_RESOLUTION", "1k")
    monkeypatch.setenv("IMAGEGEN_SIZE", "1:1")
    assert shell.context.settings().get("quality") == "low"
    (own_world / "pyproject.toml").write_text('[tool.imagegen]\nquality = "medium"\nresolution = "2k"\n')
    assert shell.context.settings().get("quality") == "medium"
    shell.run("%config ImageGenMagics.quality = 'high'")
    settings = shell.context.settings()
    assert [settings.get(name) for name in ("quality", "resolution", "size")] == ["high", "2k", "1:1"]
    shell.run("%%imagegen --dry-run -p gccai -q auto\na fox")
    plan = shell.shown()[0]
    assert '"quality": "auto"' in plan
    assert '"resolution": "2k"' in plan


def test_a_wrong_default_names_its_place(shell, monkeypatch, capsys):
    """A setting that cannot be read is refused in one line that says where it stands."""
    monkeypatch.setenv("IMAGEGEN_TIMEOUT", "soon")
    with pytest.raises(ValueError, match="environment IMAGEGEN_TIMEOUT"):
        shell.run("%imagegen --sandbox a fox")
    monkeypatch.delenv("IMAGEGEN_TIMEOUT")
    monkeypatch.setenv("IMAGEGEN_PREVIEW", "5000")
    with pytest.raises(ValueError, match="preview = '5000' in environment IMAGEGEN_PREVIEW"):
        shell.run("%imagegen --sandbox a fox")


NEW_ROW = """
import os, sys
import imagegen_magic.options as table
from imagegen_magic import readers
row = table.Option("mood", "--mood WORD", "calm or wild; default calm", readers.text, "notebook", default="calm", values=("calm", "wild"))
table.OPTIONS += (row,)
table.SETTINGS["mood"] = table._BY_FLAG["--mood"] = row

from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.extension_manager.load_extension("imagegen_magic")
context = shell.magics_manager.registry["ImageGenMagics"].context

from imagegen_magic.notebook.arguments import mistakes, parser
from imagegen_magic.notebook.magic import completion
values = [context.settings().get("mood")]
os.environ["IMAGEGEN_MOOD"] = "from the environment"
values.append(context.settings().get("mood"))
Path("pyproject.toml").write_text('[tool.imagegen]\\nmood = "from the project"\\n')
values.append(context.settings().get("mood"))
shell.run_line_magic("config", "ImageGenMagics.mood = 'from the session'")
values.append(context.settings().get("mood"))
line = parser.read("--mood wild calm")
values.append(context.settings(line.given).get("mood"))
print(values)
print("--mood WORD" in shell.find_magic("imagegen", "cell").__doc__)
print(completion.complete("--mo", context, is_cell=True).words, completion.complete("--mood ", context, is_cell=True).words)
print(mistakes.on_line(line, "", Path()))
"""


def test_a_row_is_all_that_a_setting_needs(tmp_path):
    """With one more row: the parser, the help, TAB, the environment, pyproject.toml, %config and the hints know the option."""
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path), "IMAGEGEN_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", NEW_ROW], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-4:] == [
        "['calm', 'from the environment', 'from the project', 'from the session', 'wild']",
        "True",
        "('--model', '--moderation', '--mood') ('calm', 'wild')",
        "`calm` is not an option, and --mood takes one value: `%%imagegen --mood wild`.",
    ]
