"""The one table of options and subcommands, from which the parser, the help, the traits, TAB and the README's tables are made."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

LEAST_PREVIEW, MOST_PREVIEW = 16, 1024  # pixels; a larger picture would swell the notebook


def _text(text: str) -> str:
    return text


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("seconds, a number above 0")
    return number


def _preview(text: str) -> int:
    edge = _whole(text)
    if not LEAST_PREVIEW <= edge <= MOST_PREVIEW:
        raise ValueError(f"pixels from {LEAST_PREVIEW} to {MOST_PREVIEW} (the original on disk keeps its own size)")
    return edge


def _variable(text: str) -> str:
    import keyword

    if not text.isidentifier() or keyword.iskeyword(text):
        raise ValueError("the name of a variable")
    return text


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ValueError("KEY=VALUE")
    return key.strip(), _json_else_text(value)


def _json_else_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json)
    except ValueError:
        return text


def _no_json(word: str) -> Any:
    raise ValueError(word)  # NaN and Infinity are Python's own: a gateway could not read them


class Option(NamedTuple):
    """One option: its `name` in requests and settings, its `flags` (none: a setting only), what it takes and what it means.

    `metavar` None marks a switch; `read` turns the word into a value or raises ValueError with what is expected;
    `setting` says that it has a default of its own in `%config`, pyproject.toml and the environment; `choices` names
    where TAB finds its values.
    """

    name: str
    flags: tuple[str, ...]
    metavar: str | None
    help: str
    read: Callable[[str], Any] = _text
    setting: bool = True
    repeat: bool = False
    choices: str = ""

    @property
    def long(self) -> str:
        """The flag that says most."""
        return self.flags[-1]

    @property
    def usage(self) -> str:
        """All flags, with what they take."""
        return ", ".join(self.flags) + (f" {self.metavar}" if self.metavar else "")


OPTIONS: tuple[Option, ...] = (
    Option(
        "provider",
        ("-p", "--provider"),
        "NAME",
        "gateway; default: the configured one, else the first with a key, else the sandbox, which says so",
        choices="providers",
    ),
    Option("model", ("-m", "--model"), "NAME", "model; default: the gateway's first", choices="models"),
    Option("size", ("-s", "--size"), "SIZE", "ratio 16:9, pixels 1536x1024 (or ×), or auto", choices="sizes"),
    Option("resolution", ("-r", "--resolution"), "TIER", "1k, 2k or 4k, any case; not together with pixels", choices="resolutions"),
    Option("quality", ("-q", "--quality"), "QUALITY", "auto, low, medium or high", choices="qualities"),
    Option("n", ("-n", "--n"), "COUNT", "how many pictures; more than the gateway's limit becomes several tasks", _whole),
    Option("background", ("--background",), "KIND", "auto, opaque or transparent", choices="backgrounds"),
    Option("moderation", ("--moderation",), "STRENGTH", "auto or low", choices="moderations"),
    Option("output_format", ("--output-format",), "FORMAT", "png, jpeg or webp", choices="formats"),
    Option("output_compression", ("--output-compression",), "0-100", "for jpeg and webp", _whole),
    Option("callback_url", ("--callback-url",), "ADDRESS", "public https address the gateway calls when a task ends", setting=False),
    Option(
        "references",
        ("--ref",),
        "SOURCE",
        "reference picture: an address (https://…); repeat it for several; files and variables are not possible yet",
        setting=False,
        repeat=True,
    ),
    Option(
        "mask",
        ("--mask",),
        "SOURCE",
        "mask for the first reference, transparent where to paint: an address; files and variables are not possible yet",
        setting=False,
    ),
    Option("out", ("-o", "--out"), "NAME", "variable for the Generation; _imagegen always holds the last one", _variable, setting=False),
    Option("save_dir", ("--save-dir",), "DIR", "where originals go; default: imagegen/ beside the notebook"),
    Option("name", ("--name",), "STEM", "what originals are called; default: words of the prompt"),
    Option("preview", ("--preview",), "PX", "longest edge of the picture in the notebook; default and most: 1024", _preview),
    Option("timeout", ("--timeout",), "SECONDS", "patience; default 600; then the task stays in the ledger for %imagegen resume", _seconds),
    Option(
        "no_wait",
        ("--no-wait",),
        None,
        "return at once; the output lives on, the variable is a Job to .wait() or await",
        setting=False,
    ),
    Option("dry_run", ("--dry-run",), None, "show the plan: JSON, pixels, price, warnings; nothing is sent", setting=False),
    Option("sandbox", ("--sandbox",), None, "the gateway's dialect, spoken by the sandbox: no key, no cost, drawn pictures"),
    Option(
        "extra",
        ("--set",),
        "KEY=VALUE",
        "a further field for the wire; VALUE is read as JSON, else as text; repeatable",
        _pair,
        setting=False,
        repeat=True,
    ),
    Option("vars", ("--vars",), None, "replace {{name}} in the prompt by the variable of that name; anything else stays", setting=False),
    Option("keep_loop", ("--keep-loop",), None, "keep the kernel's own asyncio tasks running while this cell waits"),
    Option("help", ("-h", "--help"), None, "show this", setting=False),
    Option("poll_seconds", (), "SECONDS", "least interval between looks and before the first; default: the gateway's own", _seconds),
    Option("submits_at_once", (), "COUNT", "submissions on the way at the same time, per gateway; default 8", _whole),
    Option("submit_timeout", (), "SECONDS", "patience with the answer to one submission; default 120", _seconds),
    Option("home", (), "DIR", "folder of the ledger; default: the user's data folder"),
)


class Command(NamedTuple):
    """One subcommand of `%imagegen`: its `name`, the `arguments` it takes as shown in help, what it does and its own `flags`."""

    name: str
    arguments: str
    help: str
    most: int = 0
    flags: tuple[str, ...] = ()


COMMANDS: tuple[Command, ...] = (
    Command("providers", "", "the gateways: models, whether a key is set, what each can do"),
    Command("models", "[NAME]", "the models of a gateway or of all: sizes in pixels, qualities, formats, limits", 1),
    Command("resume", "[DIR]", "collect the pictures that are waiting at the gateways, into DIR if given; submits nothing", 1),
    Command("jobs", "", "what is under way or waiting"),
    Command("wait", "", "wait for the jobs this session started with --no-wait"),
    Command("cancel", "[ID]", "stop waiting for a job, or for all; the gateway goes on, and resume collects", 1),
    Command("history", "", "the latest pictures, with their prompts and costs"),
    Command("show", "[ID]", "show a picture of the history again; without an id, the latest", 1),
    Command("login", "NAME [--save]", "ask for a gateway's key, unseen; --save puts it into the system keyring", 1, ("--save",)),
    Command("doctor", "[--network]", "what is installed, configured and reachable, and how to mend what is not", 0, ("--network",)),
    Command("config", "", "every setting, its value and who said so"),
    Command("panel", "", "explore by hand: every option as a knob, with what will happen before it costs anything"),
    Command("error", "", "the trace of the last error"),
)

_BY_FLAG: dict[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}
_BY_NAME: dict[str, Command] = {command.name: command for command in COMMANDS}


def option_for(flag: str) -> Option | None:
    """Return the option that a flag stands for."""
    return _BY_FLAG.get(flag)


def command_for(word: str) -> Command | None:
    """Return the subcommand of that name."""
    return _BY_NAME.get(word)


def misspelt(word: str) -> str | None:
    """Return the subcommand (or help) that a word is nearly; a picture would cost money, asking does not."""
    near = difflib.get_close_matches(word.lower(), [*_BY_NAME, "help"], n=1, cutoff=0.7)
    return near[0] if near else None


def settings() -> Iterator[Option]:
    """Yield the options that have a default of their own, to be configured."""
    return (option for option in OPTIONS if option.setting)


def traits() -> dict[str, Any]:
    """Return a trait for every setting; None means that it is not said here."""
    from traitlets import Bool, Float, Int, Unicode

    kinds: dict[Any, Any] = {_text: Unicode, _whole: Int, _preview: Int, _seconds: Float}
    return {
        option.name: (kinds[option.read] if option.metavar else Bool)(None, allow_none=True, help=option.help).tag(config=True)
        for option in settings()
    }


def help_text() -> str:
    """Return all that `%imagegen --help` and `%%imagegen?` show."""
    options = [(option.usage, option.help) for option in OPTIONS if option.flags]
    commands = [(f"%imagegen {command.name} {command.arguments}".rstrip(), command.help) for command in COMMANDS]
    return "\n".join(
        [
            "Ask for pictures in plain words.",
            "",
            "%%imagegen [options]                     the cell's body is the prompt, taken verbatim",
            "%imagegen [options] a prompt in words    the same in one line; -- before it where it begins like a subcommand or option",
            "",
            "Options (each a default, too: %config ImageGenMagics, [tool.imagegen] in pyproject.toml, IMAGEGEN_… in the environment):",
            "",
            *_columns(options, 34),
            "",
            "Subcommands:",
            "",
            *_columns(commands, 34),
            "",
            "Examples:",
            "",
            "    %%imagegen -p evolink --size 16:9 --resolution 2k --quality high -n 2 -o castles",
            "    An ancient castle beneath a starry sky",
            "",
            "    %imagegen --sandbox a red fox in the snow",
        ]
    )


def _columns(rows: list[tuple[str, str]], width: int) -> list[str]:
    return [f"  {left:<{width}} {right}" if len(left) <= width else f"  {left}\n  {'':<{width}} {right}" for left, right in rows]


def markdown_table() -> str:
    """Return the README's table of options."""
    rows = [f"| {' '.join(f'`{flag}`' for flag in option.flags)} | {_markdown(option)} |" for option in OPTIONS if option.flags]
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def _markdown(option: Option) -> str:
    takes = f"`{option.metavar}`: " if option.metavar else ""
    return takes + option.help.replace("|", "\\|")


def command_table() -> str:
    """Return the README's table of subcommands."""
    rows = [f"| `{f'%imagegen {command.name} {command.arguments}'.rstrip()}` | {command.help} |" for command in COMMANDS]
    return "\n".join(["| command | does |", "|---|---|", *rows])
