"""The table of subcommands, and the help, which shows them with the options."""

from __future__ import annotations

from typing import NamedTuple

from imagegen_magic.options import OPTIONS


class Command(NamedTuple):
    """One subcommand of `%imagegen`: its `name`, its `function` (as `module.name` in `commands`), its `arguments` and its `help`.

    `most` and `least` are the maximum and minimum number of words; of its flags, `flags` are switches and `valued` take a value.
    `may_be_prompt` marks a name that may begin a prompt: it is the subcommand only with words that it takes. `choices` names the words
    for TAB. `free_words` marks words that may begin with a dash; `options_only` takes the options of a request, and no other words.
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
    choices: str = ""
    free_words: bool = False
    options_only: bool = False

    @property
    def usage(self) -> str:
        """The line that calls it."""
        return f"%imagegen {self.name} {self.arguments}".rstrip()


_MANY = 1_000  # words

# the lines of a row stand together, as in a table
# fmt: off
COMMANDS: tuple[Command, ...] = (
    Command("providers", "gateways.providers", "", "the services: models, whether a key is set, what each can do"),
    Command("models", "gateways.models", "[NAME]",
            "the models of a service, or one: sizes in pixels, qualities, formats, limits; without a name, all in a line each", 1,
            choices="providers"),
    Command("plan", "gateways.plan", "[OPTIONS] [--all]",
            "which services with a key can make such a picture, in which pixels, for how much; --all: those without a key too", _MANY,
            ("--all",), may_be_prompt=True, free_words=True, options_only=True),
    Command("resume", "jobs.resume", "[ID] [DIR] [--ask-again]",
            "collect the pictures that are waiting at the services, or those of task ID again, into DIR if given; --ask-again: send "
            "submissions without an answer again with the same key, which makes and charges only what never arrived", 2, ("--ask-again",)),
    Command("jobs", "jobs.jobs", "", "the running and pending tasks"),
    Command("wait", "jobs.wait", "", "wait for the jobs this session started with --no-wait"),
    Command("cancel", "jobs.cancel", "[ID] [--at-service]",
            "stop waiting for a job, or for all; the service continues, and resume collects; --at-service: stop the tasks of a job, or "
            "task ID, at the service too, and show what was charged", 1, ("--at-service",), choices="jobs"),
    Command("history", "history.history", "[WORDS] [--model NAME] [--since 7d] [--stars N] [--tag TAG]",
            "the latest pictures, or those whose prompt has the words", _MANY, valued=("--model", "--since", "--stars", "--tag")),
    Command("show", "history.show", "[ID]", "show a picture of the history again; without an id, the latest", 1),
    Command("star", "history.star", "ID|NAME N", "give a picture 0 to 5 stars", 2, least=1),
    Command("tag", "history.tag", "ID|NAME [TAG …]", "tag a picture; -TAG removes one; without tags, show them", _MANY, least=1,
            free_words=True),
    Command("note", "history.note", "ID|NAME [WORDS]", "write a note to a picture; without words, show it", _MANY, least=1,
            free_words=True),
    Command("recall", "recall.recall", "ID|NAME|FILE", "write the cell that made a picture into the next cell", 1, least=1),
    Command("tree", "recall.tree", "ID|NAME", "which picture was made from which", 1, least=1),
    Command("compare", "compare.compare", "A B",
            "two pictures (ids, variables, files): slider, what differs in prompt, settings and numbers", 2, least=2),
    Command("vote", "vote.vote", "[NAME]",
            "choose between blind pairs of a sweep, by keyboard; then the ranking, and each value's mean in these pictures", 1),
    Command("drift", "drift.run", "ID|NAME", "what an edit changed that its mask protects, as a heat map", 1, least=1),
    Command("mask", "mask.run", "NAME|FILE [-o NAME] [--from MASK]", "paint a mask on a picture", 1, valued=("-o", "--out", "--from"),
            least=1),
    Command("cost", "spending.cost", "[--since 7d] [--by model]",
            "what was spent: measured, calculated, reserved, estimated, unknown; each currency by itself", valued=("--since", "--by")),
    Command("balance", "spending.balance", "[NAME]", "what the account has at a service, in its own unit", 1, may_be_prompt=True),
    Command("conformance", "conformance.report", "[--by model|provider|quality] [--since 30d]",
            "how often each service and model delivered what was requested, how fast, and at which price", valued=("--by", "--since"),
            may_be_prompt=True),
    Command("budget", "spending.budget", "[AMOUNT|off] [--per day|session|month] [--unit USD]",
            "refuse requests that would exceed an amount; without one, show what is left", 1, valued=("--per", "--unit")),
    Command("export", "export.export", "DIR|ZIP [NAME|ID …] [--metadata full|minimal|none]",
            "pictures with a page that shows them anywhere, and a table", _MANY, valued=("--metadata",), least=1),
    Command("slim", "slim.run", "NOTEBOOK.ipynb [--all]",
            "reduce the generated pictures in a notebook's outputs to previews; --all: every picture", 1, ("--all",), least=1),
    Command("forget", "jobs.forget", "ID",
            "give up a task that has no picture: only resume ID still collects it, and --reuse may send it again", 1),
    Command("login", "settings.login", "NAME [--save]",
            "ask for a service's key without showing it; --save stores it in the system keyring", 1, ("--save",), choices="providers"),
    Command("doctor", "doctor.doctor", "[--network]", "what is installed, configured and reachable, and how to fix what is not", 0,
            ("--network",)),
    Command("config", "settings.config", "[NAME=VALUE]",
            "every setting with its value and its source; with NAME=VALUE, keep one for all your notebooks", 1, choices="settings"),
    Command("panel", "settings.panel", "", "every option as a widget, with the plan and its price before anything is sent"),
    Command("error", "settings.error", "", "the traceback of the last error"),
    Command("version", "settings.version", "", "the version of this package", may_be_prompt=True),
)
# fmt: on

_BY_NAME: dict[str, Command] = {command.name: command for command in COMMANDS}


def command_for(word: str) -> Command | None:
    """Return the subcommand of that name."""
    return _BY_NAME.get(word)


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
