"""The one table of options and settings: the parser, the help, TAB, the traits, the settings and the pages' tables come from it."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from imagegen_magic import readers


class Option(NamedTuple):
    """One option of a cell, with its setting if it has one, or a setting only.

    `name` is that of the setting, and of the field of a request. `usage` has the flags and the value as the help shows them; a switch has
    no value, and a setting only has no flags. `read` returns the value of a text or object, or raises ValueError with what is expected.

    `setting` says who needs the setting: the `request`, the choice of the `gateway`, the `engine` for every job, or the `notebook` alone;
    empty if there is no setting. `default` is the setting's built-in value; a request's own options have none, because the plan fills
    them in.

    `values` are the usual values, for messages about mistakes. `spaces` marks a value that may contain spaces, and `repeat` an option
    that can be given several times. `parameter` marks one that only some models have: a request holds it in `parameters`.
    """

    name: str
    usage: str
    help: str
    read: Callable[[Any], Any] = readers.text
    setting: str = ""
    default: Any = None
    values: tuple[str, ...] = ()
    spaces: bool = False
    repeat: bool = False
    parameter: bool = False

    @property
    def long(self) -> str:
        """The longest flag."""
        return self.flags[-1]

    @property
    def flags(self) -> tuple[str, ...]:
        """The flags of a cell's option line; none for a setting only."""
        return tuple(word.rstrip(",") for word in self.usage.split() if word.startswith("-"))

    @property
    def metavar(self) -> str | None:
        """What stands for the value in the help; None for a switch."""
        last = self.usage.split()[-1]
        return None if last.startswith("-") else last

    @property
    def variable(self) -> str:
        """The environment variable of the setting."""
        return f"IMAGEGEN_{self.name.upper()}"


# the lines of a row stand together, as in a table
# fmt: off
OPTIONS: tuple[Option, ...] = (
    Option("provider", "-p, --provider NAME",
           "service; default: the configured one, else the first gateway with a key, else your answer to a question, else the sandbox",
           readers.text, "gateway"),
    Option("model", "-m, --model NAME", "model; default: the service's first", readers.text, "request"),
    Option("size", "-s, --size SIZE", "ratio 16:9, pixels 1536x1024 (or ×), or auto", readers.text, "request"),
    Option("resolution", "-r, --resolution TIER", "1k, 2k or 4k, any case; not together with pixels", readers.text, "request",
           values=("1k", "2k", "4k")),
    Option("quality", "-q, --quality QUALITY", "auto, low, medium, high, xhigh or max", readers.text, "request",
           values=("auto", "low", "medium", "high", "xhigh", "max")),
    Option("n", "-n, --n COUNT", "number of pictures; above the service's limit, several tasks", readers.count, "request"),
    Option("background", "--background KIND", "auto, opaque or transparent", readers.text, "request",
           values=("auto", "opaque", "transparent")),
    Option("moderation", "--moderation STRENGTH", "auto or low", readers.text, "request", values=("auto", "low")),
    Option("output_format", "--output-format FORMAT", "png, jpeg or webp", readers.text, "request", values=("png", "jpeg", "webp")),
    Option("output_compression", "--output-compression 0-100", "for jpeg and webp", readers.compression, "request"),
    Option("seed", "--seed N", "seed, for models that have one; with -n it counts up: 7, 8, 9", readers.whole, parameter=True),
    Option("negative_prompt", "--negative-prompt TEXT", "what the picture must not show, for models that have it", spaces=True,
           parameter=True),
    Option("partials", "--partials 0-3", "first views while a picture is made, for models that have them; each is charged; default 0",
           readers.partials, parameter=True),
    Option("callback_url", "--callback-url ADDRESS", "public https address the service calls when a task ends"),
    Option("references", "--ref SOURCE",
           "reference picture: an address, a file (globs too), a variable, a picture of the history (@17); repeatable", spaces=True,
           repeat=True),
    Option("mask", "--mask SOURCE", "mask for the first reference, transparent where to paint: an address, a file, a variable, @17",
           spaces=True),
    Option("unchecked", "--unchecked", "send what the model's page refuses; the plan and the caption show it"),
    Option("fit", "--fit", "scale down references that are too large for the service, with a note"),
    Option("sweep", "--sweep AXIS=V1,V2,…",
           "all combinations: an option (quality=low,high) or a slot (style=oil|ink for {{style}}; style=@list); repeatable", readers.axis,
           spaces=True, repeat=True),
    Option("repeat", "--repeat COUNT", "number of pictures of each combination", readers.count),
    Option("skip_impossible", "--skip-impossible", "leave out impossible combinations, and list them"),
    Option("yes", "--yes", "do not ask for a confirmation before many pictures or a high price"),
    Option("reuse", "--reuse", "return the pictures of an identical earlier request; only missing ones are made and paid for",
           readers.flag, "engine", default=False),
    Option("fresh", "--fresh", "make new pictures even if reuse is configured"),
    Option("score", "--score SCORER,…", "measure the pictures: functions of the notebook, or built-in scorers (%imagegen scorers)",
           spaces=True),
    Option("out", "-o, --out NAME", "variable for the Generation; _imagegen always holds the last one", readers.variable),
    Option("save_dir", "--save-dir DIR", "folder of the originals, or its address in a store; default: imagegen/ beside the notebook",
           readers.save_dir, "engine", default="imagegen", spaces=True),
    Option("name", "--name STEM", "file name of the originals; default: words of the prompt", readers.text, "engine", spaces=True),
    Option("preview", "--preview PX", "longest edge of the picture in the notebook; default and maximum: 1024", readers.preview,
           "notebook", default=1024),
    Option("progress", "--progress KIND", "auto, widgets or text: text for a front end that does not show widgets; default auto",
           readers.progress, "notebook", default="auto", values=readers.PROGRESS),
    Option("timeout", "--timeout SECONDS", "how long to wait; default 600; then %imagegen resume collects the task", readers.seconds,
           "engine", default=600.0),
    Option("workers", "--workers N|ADDRESS", "processes that download and save the pictures, or a Dask scheduler; default: this process",
           readers.workers, "engine"),
    Option("no_wait", "--no-wait", "return at once; the output is updated later, the variable is a Job to .wait() or await"),
    Option("dry_run", "--dry-run", "show the plan: JSON, pixels, price, warnings; nothing is sent"),
    Option("sandbox", "--sandbox", "use the sandbox in place of the service: no key, no cost, drawn pictures", readers.flag, "engine",
           default=False),
    Option("extra", "--set KEY=VALUE",
           "a parameter of the model (steps=30), else an extra field of the request; VALUE is read as JSON, else as text; repeatable",
           readers.pair,
           spaces=True, repeat=True),
    Option("vars", "--vars", "replace {{name}} in the prompt by the variable of that name; all other text stays"),
    Option("keep_loop", "--keep-loop", "keep the kernel's own asyncio tasks running while this cell waits", readers.flag, "notebook",
           default=False),
    Option("help", "-h, --help", "show this"),
    Option("version", "--version", "show the version; nothing is sent"),
    Option("poll_seconds", "SECONDS", "minimum interval between polls; default: the service's own", readers.seconds, "engine"),
    Option("submits_at_once", "COUNT", "concurrent submissions per service; default 8", readers.count, "engine", default=8),
    Option("submits_per_minute", "COUNT", "submissions a minute per key; default: no bound but the service's own", readers.count, "engine"),
    Option("open_tasks", "COUNT", "tasks per key that are submitted and not finished; default: no bound", readers.count, "engine"),
    Option("submit_timeout", "SECONDS", "timeout of one submission; default 120", readers.seconds, "engine", default=120.0),
    Option("ask_above_pictures", "COUNT", "a cell or sweep of more pictures needs a confirmation; default 20", readers.count, "notebook",
           default=20),
    Option("ask_above_cost", "AMOUNT", "a cell or sweep above this price needs a confirmation; default 5", readers.amount, "notebook",
           default=Decimal("5")),
    Option("unknown_price", "AMOUNT", "what a picture of unknown price counts in a budget; without it such a request is refused",
           readers.amount, "engine"),
    Option("drift_above", "0-1", "share of a mask's protected pixels above which a caption reports a change; default 0.02", readers.share,
           "notebook", default=0.02),
    Option("uploader", "PACKAGE:FUNCTION", "your function (path) -> address, for services without an upload", readers.text, "engine"),
    Option("home", "DIR", "folder of the ledger; default: the user's data folder", readers.folder, "engine"),
)
# fmt: on

SETTINGS: dict[str, Option] = {option.name: option for option in OPTIONS if option.setting}
"""The options that can be configured, by name."""

PARAMETERS: tuple[str, ...] = tuple(option.name for option in OPTIONS if option.parameter)
"""The options that only some models have."""

_BY_FLAG: dict[str, Option] = {flag: option for option in OPTIONS for flag in option.flags}


def option_for(flag: str) -> Option | None:
    """Return the option of a flag."""
    return _BY_FLAG.get(flag)


def settings_for(user: str) -> tuple[str, ...]:
    """Return the names of the settings that the `request`, the `engine` or the `notebook` needs."""
    return tuple(option.name for option in SETTINGS.values() if option.setting == user)
