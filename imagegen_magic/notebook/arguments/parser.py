"""Parses an option line: options like a shell, everything else verbatim."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from IPython.core.error import UsageError

from imagegen_magic.notebook.arguments import dashes
from imagegen_magic.notebook.arguments.other_tools import replacement
from imagegen_magic.notebook.subcommands import Command
from imagegen_magic.options import OPTIONS, Option, option_for
from imagegen_magic.readers import without_credentials


@dataclass(frozen=True, slots=True)
class Stray:
    """Text on an option line outside options: `text` verbatim, and the `option` and its `value` directly before it, if any."""

    text: str
    option: Option | None = None
    value: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A parsed option line: the options `given`, and the `text` outside them, verbatim.

    `forced` is whether a `--` precedes the text. `strays` are the parts of the text. `respelt` has each option that was written with
    other dashes, as written and as it was read, and `plain` the whole line with plain dashes. `ambiguous` is whether an option with
    typographic dashes has text on both sides, so that it may be text. `twice` says which option has two values; empty if none
    has.
    """

    given: Mapping[str, Any] = field(default_factory=dict)
    text: str = ""
    forced: bool = False
    strays: tuple[Stray, ...] = ()
    respelt: tuple[tuple[str, str], ...] = ()
    plain: str = ""
    ambiguous: bool = False
    twice: str = ""

    @property
    def note(self) -> str:
        """One sentence with the options that had other dashes; empty without any."""
        return f"Read {', '.join(f'{written} as {flag}' for written, flag in self.respelt)}." if self.respelt else ""


# a word of a shell; on Windows a backslash is part of a path
_POSIX_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:\\.|[^"\\])*"|'[^']*')+""", re.DOTALL)
_PLAIN_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
_QUOTED = re.compile(r"""(["'])(.*?)\1""")
_ALL_QUOTED = re.compile(r"""([^\s"'\\=]*=)?("(?:\\.|[^"\\])*"|'[^']*')""", re.DOTALL)
_SPACES = re.compile(r"\s*")
_PICTURE = re.compile(r"@?\d{1,18}|[^\W\d]\w*(?:\[-?\d{1,9}\])?")  # as image_selector reads it
_OPTION_LIKE = re.compile(r"-{1,2}[A-Za-z]")
_CURLY = re.compile(r"[“”„‟«»‘‚‹]")
_DASHES = re.compile(r"--(?=\s|$)")


class _Reader:
    """Parses a line from left to right: options like a shell, everything else verbatim."""

    def __init__(self, line: str, posix: bool) -> None:
        self.line, self.posix, self.at = line, posix, 0
        self.given: dict[str, Any] = {}
        self.pieces: list[str] = []
        self.strays: list[Stray] = []
        self.forced = False
        self.raw = ""  # the last word, with its quotes
        self.latest: tuple[Option | None, str] = None, ""  # the last option, with its value
        self.respelt: list[tuple[str, str]] = []
        self.twice = ""
        self.doubtful = 0  # pieces of text before the first option with typographic dashes

    def read(self) -> Line:
        while self._skip_spaces():
            if not self.pieces and _DASHES.match(self.line, self.at):
                self.pieces.append(self.line[self.at + 2 :])
                self.strays.append(Stray(self.line[self.at :]))
                self.forced = True
                break
            self._respell()
            if _OPTION_LIKE.match(self.line, self.at):
                self._option()
            else:
                self._piece()
        text = " ".join(piece.strip() for piece in self.pieces)
        ambiguous = 0 < self.doubtful < len(self.pieces)
        return Line(self.given, text, self.forced, tuple(self.strays), tuple(self.respelt), self.line, ambiguous, self.twice)

    def _skip_spaces(self) -> bool:
        self.at = _SPACES.match(self.line, self.at).end()  # type: ignore[union-attr]  # it matches nothing at least
        return self.at < len(self.line)

    def _respell(self) -> None:
        """Replace the dashes of the option at this position by plain ones."""
        if found := dashes.option_at(self.line, self.at):
            written, flag = found
            self.line = self.line[: self.at] + flag + self.line[self.at + len(written) :]
            self.respelt.append((written, flag))
            if not written.isascii():
                self.doubtful = self.doubtful or len(self.pieces)

    def _piece(self) -> None:
        options = (
            at for at in dashes.starts(self.line, self.at + 1) if _OPTION_LIKE.match(self.line, at) or dashes.option_at(self.line, at)
        )
        stop = next(options, len(self.line))
        piece = self.line[self.at : stop]
        self.pieces.append(piece.rstrip())
        self.strays.append(Stray(piece.rstrip(), *self.latest))
        self.latest = None, ""
        self.at = stop

    def _option(self) -> None:
        option, value = self._split(self._word())
        if option.name == "sweep" and value is not None:
            value = _listed(self.raw.partition("=")[2], value)
        if option.metavar is None:
            if value is not None:
                raise UsageError(f"{option.long} is a switch and takes no value.")
            self.given[option.name] = True
            self.latest = option, ""
            return
        if value is None:
            value = self._value_of(option)
        self._keep(option, value)
        self.latest = option, value

    def _split(self, word: str) -> tuple[Option, str | None]:
        flag, equals, value = word.partition("=")
        if option := option_for(flag):
            return option, value if equals else None
        if not word.startswith("--") and (option := option_for(word[:2])) and option.metavar:
            return option, word[2:]
        raise dashes.UnknownOption(_unknown(flag, value or _following(self.line, self.at)))

    def _value_of(self, option: Option) -> str:
        found = self._skip_spaces()
        self._respell()
        word = self._word() if found else ""
        if not self.raw or not found or option_for(word.partition("=")[0]):
            raise UsageError(f"{option.long} needs a value: {option.usage}.")
        if word == "=":
            value = _following(self.line, self.at) or option.metavar
            raise UsageError(f"{option.long} takes its value without spaces around the =: {option.long} {value}.")
        return _listed(self.raw, word) if option.name == "sweep" else word

    def _word(self) -> str:
        match = (_POSIX_WORD if self.posix else _PLAIN_WORD).match(self.line, self.at)
        following = self.line[match.end() : match.end() + 1] if match else "?"
        if match is None or following.strip():
            raise UsageError("A quote is not closed in the option line; the prompt itself needs none.")
        if _CURLY.match(match[0].rpartition("=")[2]):
            raise UsageError(f"{match[0]} begins with a typographic quote: write plain quotes, \" or '.")
        self.at, self.raw = match.end(), match[0]
        return shlex.split(self.raw)[0] if self.posix else _QUOTED.sub(r"\2", self.raw)

    def _keep(self, option: Option, text: str) -> None:
        if not text.strip():
            raise UsageError(f"{option.long} needs a value, and it is empty: {option.usage}.")
        try:
            value = option.read(text)
        except ValueError as error:
            raise UsageError(f"{option.long} takes {error}, not {without_credentials(text)!r}.") from None
        if option.name == "extra":
            fields = self.given.setdefault("extra", {})
            if value[0] in fields:
                raise UsageError(f"--set gives {value[0]} twice.")
            fields[value[0]] = value[1]
        elif option.repeat:
            self.given[option.name] = (*self.given.get(option.name, ()), value)
        else:
            before = self.given.get(option.name, value)
            if before != value:
                self.twice = self.twice or f"{option.long} is given twice, as {before} and as {value}: write it once."
            self.given[option.name] = value


def _listed(raw: str, word: str) -> str:
    """Return a list of values with the quotes of single values; quotes around the whole list are removed."""
    return word if _ALL_QUOTED.fullmatch(raw) or not re.search("[\"']", raw) else raw


def _following(line: str, at: int) -> str:
    """Return the word after a position of the line."""
    return next(iter(line[at:].split()), "")


def _unknown(flag: str, value: str) -> str:
    """Return the message for an unknown option, with the probable one; `value` is the word after it."""
    if advice := replacement(flag, value):
        return f"There is no option {flag}: {advice}"
    near = difflib.get_close_matches(flag.lower(), [one for option in OPTIONS for one in option.flags], n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "%imagegen --help shows them all."
    return f"There is no option {flag}: {hint}"


def read(line: str, *, posix: bool = os.name != "nt", prompt: bool = True) -> Line:
    """Parse an option line; raises UsageError, in one line, for an unknown option or a wrong value. `prompt`: it can contain the prompt."""
    try:
        return _Reader(line, posix).read()
    except dashes.UnknownOption as error:
        after = " A prompt that contains it goes after --." if prompt else ""
        raise UsageError(f"{error}{after}") from None


def command_words(rest: str, command: Command, *, posix: bool = os.name != "nt") -> tuple[list[str], dict[str, str]]:
    """Return a subcommand's words and its flags with their values (empty for a switch), parsed like a shell.

    Raises UsageError for an unknown flag, a missing value, and too many words.
    """
    words: list[str] = []
    flags: dict[str, str] = {}
    waiting = iter(_shell_words(rest, posix))
    for typed in waiting:
        word = dashes.flag_of(typed, (*command.valued, *command.flags, "-h", "--help"))
        flag, equals, value = word.partition("=")
        if flag in command.valued:
            given = value if equals else next(waiting, None)
            if given is None:
                raise UsageError(f"{flag} needs a value: {command.usage}.")
            if flags.setdefault(flag, given) != given:
                raise UsageError(f"{flag} is given twice, as {flags[flag]} and as {given}: {command.usage}.")
        elif word in (*command.flags, "-h", "--help"):
            flags[word] = ""
        elif _OPTION_LIKE.match(word) and not command.free_words:
            near = difflib.get_close_matches(word, (*command.valued, *command.flags), n=1)
            raise UsageError(f"{command.usage} has no {word}{f'; did you mean {near[0]}?' if near else '.'}")
        else:
            words.append(word)
    if len(words) > command.most:
        extra = words[command.most]
        flag = f"--{extra}" if f"--{extra}" in (*command.valued, *command.flags) else ""
        raise UsageError(f"{extra!r} is one word too many for {command.usage}{f'; did you mean {flag}?' if flag else '.'}")
    return words, flags


def fits(command: Command, rest: str, variables: Collection[str] = ()) -> bool:
    """Return whether the words after a subcommand's name fit it; false only if the name can begin a prompt.

    `variables` are the names of the notebook's variables.
    """
    if not command.may_be_prompt:
        return True
    try:
        words, _ = command_words(rest, command)
        if command.pictures_only:
            return _are_pictures(words, variables)
        several = bool(words) and max(len(words), command.least) > 1
        if (command.variable_first or command.suffixes) and several and not _names_one(words, command, variables):
            return False
        return not command.options_only or not read(shlex.join(words)).text
    except UsageError:
        return False


def _names_one(words: Sequence[str], command: Command, variables: Collection[str]) -> bool:
    """Return whether one of the words is a variable, or a file as the command takes them."""
    names = variables if command.variable_first else ()
    return any(word in names or word.lower().endswith(command.suffixes) for word in words)


def _are_pictures(words: Sequence[str], variables: Collection[str]) -> bool:
    """Return whether words name pictures; of several names, one at least has to exist. Whatever may name one is never sent as a prompt."""
    if not all(map(_PICTURE.fullmatch, words)):
        return False
    return len(words) < 2 or any(not word.isidentifier() or word in variables for word in words)


def _shell_words(text: str, posix: bool) -> list[str]:
    try:
        return shlex.split(text) if posix else [_QUOTED.sub(r"\2", word) for word in _PLAIN_WORD.findall(text)]
    except ValueError:  # an apostrophe in a note is not a quote
        return text.split()
