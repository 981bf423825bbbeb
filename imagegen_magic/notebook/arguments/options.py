"""The table of options and subcommands: the parser, the help, the traits, TAB and the README's tables come from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from imagegen_magic import readers


def _axis(text: str) -> tuple[str, str]:
    axis, equals, values = text.partition("=")
    if not equals or not axis.strip() or not values.strip():
        raise ValueError("AXIS=V1,V2,…")
    return axis.strip(), values


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
    raise ValueError(word)  # NaN and Infinity are not JSON: a gateway could not read them


class Option(NamedTuple):
    """One option: its `name` in requests and settings, its `flags` (none: a setting only), its value and its `help`.

    `metavar` None marks a switch; `read` turns text into a value or raises ValueError with what is expected;
    `setting` marks a default in `%config`, pyproject.toml and the environment; `choices` names
    the values for TAB.
    """

    name: str
    flags: tuple[str, ...]
    metavar: str | None
    help: str
    read: Callable[[Any], Any] = readers.text
    setting: bool = True
    repeat: bool = False
    choices: str = ""

    @property
    def long(self) -> str:
        """The longest flag."""
        return self.flags[-1]

    @property
    def usage(self) -> str:
        """All flags, with their value."""
        return ", ".join(self.flags) + (f" {self.metavar}" if self.metavar else "")


OPTIONS: tuple[Option, ...] = (
    Option(
        "provider",
        ("-p", "--provider"),
        "NAME",
        "gateway; default: the configured one, else the first with a key, else the sandbox, with a note",
        choices="providers",
    ),
    Option("model", ("-m", "--model"), "NAME", "model; default: the gateway's first", choices="models"),
    Option("size", ("-s", "--size"), "SIZE", "ratio 16:9, pixels 1536x1024 (or ×), or auto", choices="sizes"),
    Option("resolution", ("-r", "--resolution"), "TIER", "1k, 2k or 4k, any case; not together with pixels", choices="resolutions"),
    Option("quality", ("-q", "--quality"), "QUALITY", "auto, low, medium or high", choices="qualities"),
    Option("n", ("-n", "--n"), "COUNT", "number of pictures; above the gateway's limit, several tasks", readers.count),
    Option("background", ("--background",), "KIND", "auto, opaque or transparent", choices="backgrounds"),
    Option("moderation", ("--moderation",), "STRENGTH", "auto or low", choices="moderations"),
    Option("output_format", ("--output-format",), "FORMAT", "png, jpeg or webp", choices="formats"),
    Option("output_compression", ("--output-compression",), "0-100", "for jpeg and webp", readers.compression),
    Option("callback_url", ("--callback-url",), "ADDRESS", "public https address the gateway calls when a task ends", setting=False),
    Option(
        "references",
        ("--ref",),
        "SOURCE",
        "reference picture: an address, a file (globs too), a variable, a picture of the history (@17); repeatable",
        setting=False,
        repeat=True,
    ),
    Option(
        "mask",
        ("--mask",),
        "SOURCE",
        "mask for the first reference, transparent where to paint: an address, a file, a variable, @17",
        setting=False,
    ),
    Option("fit", ("--fit",), None, "scale down references that are too large for the gateway, with a note", setting=False),
    Option(
        "sweep",
        ("--sweep",),
        "AXIS=V1,V2,…",
        "all combinations: an option (quality=low,high) or a slot (style=oil|ink for {{style}}; style=@list); repeatable",
        _axis,
        setting=False,
        repeat=True,
    ),
    Option("repeat", ("--repeat",), "COUNT", "number of pictures of each combination", readers.count, setting=False),
    Option("skip_impossible", ("--skip-impossible",), None, "leave out impossible combinations, and list them", setting=False),
    Option("yes", ("--yes",), None, "do not ask for a confirmation before many pictures or a high price", setting=False),
    Option("reuse", ("--reuse",), None, "return the pictures of an identical earlier request; only missing ones are made and paid for"),
    Option("fresh", ("--fresh",), None, "make new pictures even if reuse is configured", setting=False),
    Option("out", ("-o", "--out"), "NAME", "variable for the Generation; _imagegen always holds the last one", _variable, setting=False),
    Option("save_dir", ("--save-dir",), "DIR", "folder of the originals; default: imagegen/ beside the notebook", readers.folder),
    Option("name", ("--name",), "STEM", "file name of the originals; default: words of the prompt"),
    Option("preview", ("--preview",), "PX", "longest edge of the picture in the notebook; default and maximum: 1024", readers.preview),
    Option(
        "timeout",
        ("--timeout",),
        "SECONDS",
        "how long to wait; default 600; then %imagegen resume collects the task",
        readers.seconds,
    ),
    Option(
        "no_wait",
        ("--no-wait",),
        None,
        "return at once; the output is updated later, the variable is a Job to .wait() or await",
        setting=False,
    ),
    Option("dry_run", ("--dry-run",), None, "show the plan: JSON, pixels, price, warnings; nothing is sent", setting=False),
    Option("sandbox", ("--sandbox",), None, "use the sandbox in place of the gateway: no key, no cost, drawn pictures"),
    Option(
        "extra",
        ("--set",),
        "KEY=VALUE",
        "an extra field of the request; VALUE is read as JSON, else as text; repeatable",
        _pair,
        setting=False,
        repeat=True,
    ),
    Option("vars", ("--vars",), None, "replace {{name}} in the prompt by the variable of that name; all other text stays", setting=False),
    Option("keep_loop", ("--keep-loop",), None, "keep the kernel's own asyncio tasks running while this cell waits"),
    Option("help", ("-h", "--help"), None, "show this", setting=False),
    Option("version", ("--version",), None, "show the version; nothing is sent", setting=False),
    Option("poll_seconds", (), "SECONDS", "minimum interval between polls; default: the gateway's own", readers.seconds),
    Option("submits_at_once", (), "COUNT", "concurrent submissions per gateway; default 8", readers.count),
    Option("submit_timeout", (), "SECONDS", "timeout of one submission; default 120", readers.seconds),
    Option("ask_above_pictures", (), "COUNT", "a cell or sweep of more pictures needs a confirmation; default 20", readers.count),
    Option(
        "ask_above_cost",
        (),
        "AMOUNT",
        "a cell or sweep above this price needs a confirmation; default 5",
        readers.amount,
    ),
    Option(
        "unknown_price",
        (),
        "AMOUNT",
        "what a picture of unknown price counts in a budget; without it such a request is refused",
        readers.amount,
    ),
    Option(
        "drift_above", (), "0-1", "share of a mask's protected pixels above which a caption reports a change; default 0.02", readers.share
    ),
    Option("uploader", (), "PACKAGE:FUNCTION", "your function (path) -> address, for gateways without an upload"),
    Option("home", (), "DIR", "folder of the ledger; default: the user's data folder", readers.folder),
)


class Command(NamedTuple):
    """One subcommand of `%imagegen`: its `name`, its `function` (as `module.name` in `commands`), its `arguments` and its `help`.

    `most` and `least` are the maximum and minimum number of words; of its flags, `flags` are switches and `valued` take a value.
    `may_be_prompt` marks a name that may begin a prompt: it is the subcommand only with words that it takes.
    """

    name: str
    function: str
    arguments: str
    help: str
    most: int = 0
    flags: tuple[str, ...] = ()
    valued: tuple[str, ...] = ()
    may_be_prompt: bool = False
    least: int = 0

    @property
    def usage(self) -> str:
        """The line that calls it."""
        return f"%imagegen {self.name} {self.arguments}".rstrip()


_MANY = 1_000  # words

COMMANDS: tuple[Command, ...] = (
    Command("providers", "gateways.providers", "", "the gateways: models, whether a key is set, what each can do"),
    Command("models", "gateways.models", "[NAME]", "the models of a gateway or of all: sizes in pixels, qualities, formats, limits", 1),
    Command(
        "resume",
        "jobs.resume",
        "[ID] [DIR]",
        "collect the pictures that are waiting at the gateways, or those of task ID again, into DIR if given; submits nothing",
        2,
    ),
    Command("jobs", "jobs.jobs", "", "the running and pending tasks"),
    Command("wait", "jobs.wait", "", "wait for the jobs this session started with --no-wait"),
    Command("cancel", "jobs.cancel", "[ID]", "stop waiting for a job, or for all; the gateway continues, and resume collects", 1),
    Command(
        "history",
        "history.history",
        "[WORDS] [--model NAME] [--since 7d] [--stars N] [--tag TAG]",
        "the latest pictures, or those whose prompt has the words",
        _MANY,
        valued=("--model", "--since", "--stars", "--tag"),
    ),
    Command("show", "history.show", "[ID]", "show a picture of the history again; without an id, the latest", 1),
    Command("star", "history.star", "ID|NAME N", "give a picture 0 to 5 stars", 2, least=1),
    Command("tag", "history.tag", "ID|NAME [TAG …]", "tag a picture; -TAG removes one; without tags, show them", _MANY, least=1),
    Command("note", "history.note", "ID|NAME [WORDS]", "write a note to a picture; without words, show it", _MANY, least=1),
    Command("recall", "recall.recall", "ID|NAME|FILE", "write the cell that made a picture into the next cell", 1, least=1),
    Command("tree", "recall.tree", "ID|NAME", "which picture was made from which", 1, least=1),
    Command(
        "compare",
        "compare.compare",
        "A B",
        "two pictures (ids, variables, files): slider, what differs in prompt, settings and numbers",
        2,
        least=2,
    ),
    Command(
        "vote",
        "vote.vote",
        "[NAME]",
        "choose between blind pairs of a sweep, by keyboard; then the ranking, and each value's mean in these pictures",
        1,
    ),
    Command("drift", "drift.run", "ID|NAME", "what an edit changed that its mask protects, as a heat map", 1, least=1),
    Command(
        "mask", "mask.run", "NAME|FILE [-o NAME] [--from MASK]", "paint a mask on a picture", 1, valued=("-o", "--out", "--from"), least=1
    ),
    Command(
        "cost",
        "spending.cost",
        "[--since 7d] [--by model]",
        "what was spent: measured, reserved, estimated, unknown; each currency by itself",
        valued=("--since", "--by"),
    ),
    Command(
        "budget",
        "spending.budget",
        "[AMOUNT|off] [--per day|session|month] [--unit USD]",
        "refuse requests that would exceed an amount; without one, show what is left",
        1,
        valued=("--per", "--unit"),
    ),
    Command(
        "export",
        "export.export",
        "DIR|ZIP [NAME|ID …] [--metadata full|minimal|none]",
        "pictures with a page that shows them anywhere, and a table",
        _MANY,
        valued=("--metadata",),
        least=1,
    ),
    Command(
        "slim",
        "slim.run",
        "NOTEBOOK.ipynb [--all]",
        "reduce the generated pictures in a notebook's outputs to previews; --all: every picture",
        1,
        ("--all",),
        least=1,
    ),
    Command(
        "forget",
        "jobs.forget",
        "ID",
        "give up a task that has no picture: only resume ID still collects it, and --reuse may send it again",
        1,
    ),
    Command(
        "login",
        "settings.login",
        "NAME [--save]",
        "ask for a gateway's key without showing it; --save stores it in the system keyring",
        1,
        ("--save",),
    ),
    Command(
        "doctor",
        "doctor.doctor",
        "[--network]",
        "what is installed, configured and reachable, and how to fix what is not",
        0,
        ("--network",),
    ),
    Command("config", "settings.config", "", "every setting with its value and its source"),
    Command("panel", "settings.panel", "", "every option as a widget, with the plan and its price before anything is sent"),
    Command("error", "settings.error", "", "the traceback of the last error"),
    Command("version", "settings.version", "", "the version of this package", may_be_prompt=True),
)

_BY_FLAG: dict[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}
_BY_NAME: dict[str, Command] = {command.name: command for command in COMMANDS}


def option_for(flag: str) -> Option | None:
    """Return the option of a flag."""
    return _BY_FLAG.get(flag)


def command_for(word: str) -> Command | None:
    """Return the subcommand of that name."""
    return _BY_NAME.get(word)


def misspelt(word: str) -> str | None:
    """Return the subcommand (or help) that a word is similar to; a picture of a typing error would cost money."""
    import difflib  # late: the extension loads few modules

    names = [name for name, command in _BY_NAME.items() if not command.may_be_prompt]
    near = difflib.get_close_matches(word.lower(), [*names, "help"], n=1, cutoff=0.7)
    near = near or difflib.get_close_matches(word.lower(), list(_BY_NAME), n=1, cutoff=0.85)
    return near[0] if near else None


def settings() -> Iterator[Option]:
    """Yield the options that can be configured."""
    return (option for option in OPTIONS if option.setting)


def traits() -> dict[str, Any]:
    """Return a trait for every setting; None is an unset value."""
    return {option.name: _trait(option) for option in settings()}


def _trait(option: Option) -> Any:
    """Return a trait that refuses what the option's reader refuses, and keeps the value as it was given.

    An invalid value of a configuration file is kept until a cell needs it: the extension must load, or nothing could be collected.
    """
    from traitlets import Bool, Float, Int, TraitError, Unicode

    kinds: dict[Any, Any] = {readers.text: Unicode, readers.folder: Unicode, readers.seconds: Float, readers.amount: Float}
    kind = kinds.get(option.read, Float if option.read is readers.share else Int) if option.metavar else Bool
    read = option.read if option.metavar else readers.flag

    def validate(trait: Any, magics: Any, value: Any) -> Any:
        try:
            read(value)
        except ValueError as error:
            if getattr(magics, "loaded", False):
                raise TraitError(f"{option.name} takes {error}, not {value!r}") from None
        return value

    made = type(kind.__name__, (kind,), {"validate": validate})
    return made(None, allow_none=True, help=option.help).tag(config=True)


def help_text() -> str:
    """Return the text of `%imagegen --help` and `%%imagegen?`."""
    options = [(option.usage, option.help) for option in OPTIONS if option.flags]
    commands = [(command.usage, command.help) for command in COMMANDS]
    return "\n".join(
        [
            "Make pictures from a prompt.",
            "",
            "%%imagegen [options]                     the cell's body is the prompt, taken verbatim",
            "%imagegen [options] a prompt in words    the same in one line; -- before it if it begins like a subcommand or option",
            "",
            "Options (defaults: %config ImageGenMagics, [tool.imagegen] in pyproject.toml, IMAGEGEN_… in the environment):",
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
    return _escaped(takes + option.help)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def command_table() -> str:
    """Return the README's table of subcommands."""
    rows = [f"| `{_escaped(command.usage)}` | {_escaped(command.help)} |" for command in COMMANDS]
    return "\n".join(["| command | does |", "|---|---|", *rows])
