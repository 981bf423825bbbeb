"""Mistakes on the line of `%%imagegen` and in its prompt: messages that quote them and show how to write it. Changes nothing."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from IPython.core.error import UsageError

from imagegen_magic import readers
from imagegen_magic.formats import EXTENSIONS
from imagegen_magic.humanize import truncate
from imagegen_magic.notebook.arguments import dashes, other_tools, parser
from imagegen_magic.notebook.arguments.parser import Line, Stray
from imagegen_magic.notebook.subcommands import COMMANDS, command_for
from imagegen_magic.options import option_for
from imagegen_magic.request import Size

_PICTURE = re.compile(rf"(?i)\S.*\.(?:{'|'.join(EXTENSIONS)})|https?://\S+|@\d+")
_UNDASHED = re.compile(rf"([-{dashes.DASHES}]*)\s*([A-Za-z][\w-]*)(?:\s*=\s*|\s+|$)(\S*)")
_MAX_SHOWN = 60  # characters of a quoted word or prompt
_MAX_STRAY = 2  # words after a value that may belong to it; more are a prompt
_MAX_FLAGS = 3  # options of a prompt that a warning names


def on_line(line: Line, body: str, folder: Path) -> str:
    """Return what the first text on a cell's option line probably means, and what to write instead. Paths are relative to `folder`."""
    return _Explained(line, line.strays[0], body, folder).sentence()


def misspelt(word: str) -> str | None:
    """Return the subcommand (or help) that a word is similar to; a picture of a typing error would cost money."""
    names = ["help", *(command.name for command in COMMANDS if not command.may_be_prompt)]
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.7)
    near = near or difflib.get_close_matches(word.lower(), [command.name for command in COMMANDS], n=1, cutoff=0.85)
    return near[0] if near else None


def continued(line: str, body: str, *, posix: bool = os.name != "nt") -> str:
    """Return the message for an option line that ends in a backslash; empty if it does not."""
    line = line.rstrip()
    if not re.search(r"(?:^|[^\\])(?:\\\\)*\\$" if posix else r"(?:^|\s)\\$", line):
        return ""
    following = body.split("\n")[0].strip().removesuffix("\\").strip()
    joined = " ".join(f"%%imagegen {line[:-1]} {following if _only_options(following) else ''}".split())
    return f"The backslash at the end does not continue the line. Write all options on one line: `{joined}`."


class _Explained:
    """A text on the option line, and the checks for what it may mean."""

    def __init__(self, line: Line, stray: Stray, body: str, folder: Path) -> None:
        self.line, self.body, self.folder = line, body, folder
        self.text, self.option, self.value = stray.text, stray.option, stray.value
        self.name = stray.option.name if stray.option else ""
        self.quoted = f"`{truncate(stray.text, _MAX_SHOWN)}`"
        comment = next((f" {each.text}" for each in line.strays if each.text.startswith("#") and each is not stray), "")
        self.plain = line.plain.split(comment)[0] if comment else line.plain

    def sentence(self) -> str:
        guesses = (self._comment, self._size, self._several_pictures, self._unquoted, self._switch, self._second_value)
        return next(filter(None, (guess() for guess in (*guesses, self._undashed, self._command, self._picture))), "") or self._prompt()

    def _corrected(self, replacement: str, instead_of: str = "") -> str:
        """Return the whole line with these words (default: the text) replaced, regardless of spaces."""
        pattern = r"(?<!\S)" + r"\s+".join(map(re.escape, (instead_of or self.text).split()))
        line = re.sub(pattern, lambda _: replacement, self.plain, count=1)
        return f"`{' '.join(f'%%imagegen {line}'.split())}`"

    def _joined(self, words: int) -> tuple[str, str]:
        """Return the preceding value joined with the first words of the text: as written, and as one value."""
        first = " ".join(self.text.split()[:words])
        line = " ".join(self.plain.split())
        written = next((value for value in (self.value, _quoted(self.value)) if f"{value} {first}" in line), self.value)
        return f"{written} {first}", f"{self.value} {first}"

    def _comment(self) -> str:
        if not self.text.startswith("#"):
            return ""
        return f"{self.quoted} is not an option. Write the comment in a line above: {self._corrected('')}."

    def _size(self) -> str:
        """Return the message for a size or resolution with spaces: `1024 x 1024`, `2 k`."""
        if self.option and self.name == "resolution":
            written, joined = self._joined(1)
            tier = re.sub(r"\s", "", joined)
            message = f"{self.quoted} is not an option. A resolution has no spaces: {self._corrected(tier, written)}."
            return message if tier.lower() in self.option.values else ""
        for count in range(len(self.text.split()), 0, -1) if self.name == "size" else ():
            written, joined = self._joined(count)
            size = re.sub(r"\s+", "", joined).replace("*", "x")
            if _is_size(size) and (not _is_size(self.value) or re.search(r"[x×*:]", joined, re.IGNORECASE)):
                return f"{self.quoted} is not an option. A size has no spaces: {self._corrected(size, written)}."
        return ""

    def _several_pictures(self) -> str:
        words = [_quoted(self.text)] if self._exists(self.text) and " " in self.text else self.text.split()
        pictures = (self.value, *(word.strip('"') for word in words))
        if self.name != "references" or not all(map(self._is_picture, pictures)):
            return ""
        written, _ = self._joined(len(self.text.split()))
        several = " --ref ".join([_quoted(self.value) if " " in self.value else self.value, *words])
        return f"{self.quoted} is not an option. Each picture takes its own --ref: {self._corrected(several, written)}."

    def _unquoted(self) -> str:
        """Return the message for a value with spaces and without quotes; a path takes as many words as name an existing file."""
        if self.option is None or not self.option.spaces:
            return ""
        count = len(self.text.split())
        if self.name in ("references", "mask", "save_dir"):
            count = next((number for number in range(count, 0, -1) if self._exists(self._joined(number)[1])), count)
        written, joined = self._joined(count)
        exists = self.option.metavar != "SOURCE" or self._exists(joined)
        if not exists and not _PICTURE.fullmatch(joined):
            return ""
        missing = "" if exists else f" (there is no file {joined!r})"
        return f"{self.quoted} is not an option{missing}. A value with spaces takes quotes: {self._corrected(_quoted(joined), written)}."

    def _switch(self) -> str:
        """Return the message for a value of a switch."""
        if self.option is None or self.option.metavar is not None:
            return ""
        try:
            is_on = readers.flag(self.text)
        except ValueError:
            return ""
        line = self._corrected(self.option.long if is_on else "", f"{self.option.long} {self.text}")
        return f"{self.quoted} is not an option, and {self.option.long} is a switch without a value: {line}."

    def _second_value(self) -> str:
        words = self.text.replace(",", " ").replace(";", " ").split()
        if self.option is None or self.option.metavar is None or not 0 < len(words) <= 3 or not all(map(self._is_value, words)):
            return ""
        axis = f"{self.name}={','.join([self.value, *words])}"
        several = f" For pictures of each: --sweep {axis}." if self.option.setting == "request" else ""
        return f"{self.quoted} is not an option, and {self.option.long} takes one value: {self._corrected('')}.{several}"

    def _is_value(self, word: str) -> bool:
        """Whether a word can be another value of the option before it."""
        assert self.option is not None
        if self.name == "size":
            return _is_size(word)
        if self.option.read in readers.NUMBERS:
            return re.fullmatch(r"\d+(\.\d+)?", word) is not None
        return word.lower() in self.option.values

    def _undashed(self) -> str:
        """Return the message for an option without dashes, or with a space after them: `size 16:9`, `quality=high`, `- n 2`."""
        found = _UNDASHED.match(self.text)
        if found is None:
            return ""
        name, value = found[2].lower().replace("_", "-"), found[3]
        option = option_for(f"--{name}") or (option_for(f"-{name}") if found[1] else None)
        rest = self.text[found.end() if option and option.metavar else found.end(2) :].split()
        if option is None or (option.metavar is not None and not value) or rest:
            return ""
        flag = f"--{name}" if len(name) > 1 else f"-{name}"
        return f"{self.quoted} lacks the dashes of an option: {self._corrected(f'{flag} {value}' if option.metavar else flag)}."

    def _command(self) -> str:
        if self.line.given or command_for(self.text.split()[0]) is None:
            return ""
        return f"{self.quoted} is a subcommand, which takes one percent sign: `%imagegen {truncate(self.text, _MAX_SHOWN)}`."

    def _picture(self) -> str:
        if " " in self.text or not self._is_picture(self.text):
            return ""
        return f"{self.quoted} is not an option. A reference picture takes --ref: {self._corrected(f'--ref {self.text}')}."

    def _prompt(self) -> str:
        given = self.plain
        for stray in self.line.strays:
            given = given.replace(stray.text, " ", 1)
        if self.option is not None and self.option.metavar is not None and len(self.text.split()) <= _MAX_STRAY:
            step = f"Write {self._corrected('')}, and a prompt in the lines below."
            return f"{self.quoted} is not an option, and {self.option.long} takes one word. {step}"
        one_line = truncate(f"%imagegen {given} {'-- ' if self.line.forced else ''}{self.line.text}", 2 * _MAX_SHOWN)
        return (
            f"{self.quoted} is not an option, and the line of %%imagegen takes options only. "
            f"Write a prompt in the lines below, or in one line with one percent sign: `{one_line}`."
        )

    def _is_picture(self, word: str) -> bool:
        return bool(_PICTURE.fullmatch(word)) or self._exists(word)

    def _exists(self, text: str) -> bool:
        try:
            return (self.folder / Path(text).expanduser()).exists()
        except (OSError, ValueError, RuntimeError):  # not a path, or the home of an unknown user
            return False


def _is_size(text: str) -> bool:
    try:
        return bool(Size.parse(text))
    except ValueError:
        return False


def _quoted(text: str) -> str:
    return shlex.quote(text) if '"' in text or "\\" in text else f'"{text}"'


_COMMENT = re.compile(r"(?:^|\s)(#(?:\s.*)?)$", re.DOTALL)


def comment_in(text: str) -> str:
    """Return a warning about a comment after the prompt of `%imagegen`; empty if there is none."""
    found = _COMMENT.search(text)
    return (
        f"The prompt contains `{truncate(found[1], _MAX_SHOWN)}`, which is sent as words. A comment goes in a line above." if found else ""
    )


_FLAG = re.compile(rf"(?<!\S)([-{dashes.DASHES}]{{1,3}})([A-Za-z][\w-]*)(?:[ \t=]+(\S+))?")
_MAGIC_LINE = re.compile(r"(?m)^[ \t]*(%{1,2}imagegen\b.*)$")


def in_prompt(body: str) -> str:
    """Return a warning about options in a prompt, which is sent unchanged; empty if there are none.

    It covers lines of options only, options of this magic with two dashes, options of other tools (`--ar 16:9`), and further
    lines that begin with `%imagegen`.
    """
    if found := _MAGIC_LINE.search(body):
        return f"The prompt contains the line `{truncate(found[1], _MAX_SHOWN)}`, which is sent as words: give it a cell of its own."
    own: list[str] = []
    foreign: list[str] = []
    for line in body.split("\n"):
        if _only_options(line):
            own.append(line.strip())
            continue
        for match in _FLAG.finditer(line):
            if words := _own(match):
                own.append(words)
            elif advised := _foreign(match):
                foreign.append(advised)
    return " ".join(_warnings(own, foreign))


def _own(match: re.Match[str]) -> str:
    """Return an option of this magic with two dashes, with its value; empty if it is not one."""
    run, name, value = match[1], match[2], match[3] or ""
    option = option_for(f"--{name}") if len(run) > 1 and not (name == "version" and value[:1].isdigit()) else None
    return "" if option is None else f"{run}{name} {value if option.metavar else ''}".strip()


def _foreign(match: re.Match[str]) -> str:
    """Return an option of another tool, with the replacement; empty if it is not one."""
    run, name, value = match[1], match[2], match[3] or ""
    value = "" if value[:1] in ("-", *dashes.DASHES) else value
    advice = other_tools.replacement(f"--{name}", value)
    certain = len(run) > 1 or other_tools.has_a_number(name, value)
    return f"`{truncate(f'{run}{name} {value}', _MAX_SHOWN)}`, which is sent as words: {advice}" if advice and certain else ""


def _warnings(own: list[str], foreign: list[str]) -> Iterator[str]:
    if own:
        words = truncate(" ".join(own[:_MAX_FLAGS]), _MAX_SHOWN)
        step = f"Options belong on the line of %%imagegen: `%%imagegen {_plain(words)}`."
        yield f"The prompt contains `{words}`, which is sent as words. {step}"
    yield from (f"The prompt contains {words}" for words in foreign[:_MAX_FLAGS])


def _plain(words: str) -> str:
    try:
        return parser.read(words).plain
    except UsageError:
        return dashes.plain(words)


def _only_options(line: str) -> bool:
    """Whether a line has only options of this magic."""
    if not re.match(rf"\s*[-{dashes.DASHES}]", line):
        return False
    try:
        found = parser.read(line)
    except UsageError:
        return False
    return bool(found.given) and not found.text
