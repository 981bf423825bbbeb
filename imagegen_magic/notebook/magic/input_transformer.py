"""Protects prompts from IPython's input transformations: dedenting, stripping of `>>>`, and help for words that end in `?`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from IPython.core.inputtransformer2 import HelpEnd, TokenTransformBase

NAME = "imagegen"
_PASTED = re.compile(rf"(\s*%{NAME})[^\S \t\r\n\f\v]+")  # with a space of a web page after the name, such as a no-break space
_WHOLE = re.compile(rf"%%{NAME}(?:\s(.*))?", re.DOTALL)


def first_line(lines: Sequence[str]) -> int:
    """Return the number of the first line that is neither blank nor a comment; the number of lines if there is none."""
    return next((number for number, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))


def whole_cell(lines: list[str]) -> list[str]:
    """Keep the body of `%%imagegen` verbatim, before other transformations; comments above it are allowed."""
    start = first_line(lines)
    if start == len(lines):
        return lines
    if pasted := _PASTED.match(lines[start]):
        return [*lines[:start], f"{pasted[1]} {lines[start][pasted.end() :]}", *lines[start + 1 :]]
    if (words := _WHOLE.fullmatch(lines[start].rstrip())) is None:
        return lines
    body = "".join(lines[start + 1 :])
    return [f"get_ipython().run_cell_magic({NAME!r}, {words[1] or ''!r}, {body!r})\n"]


whole_cell.has_side_effects = True  # type: ignore[attr-defined]  # left out where a terminal asks whether a cell is complete


class Question(TokenTransformBase):
    """Keeps `%imagegen is this a fox?` a prompt, which IPython would treat as a question; a tab after the name is a space."""

    priority = HelpEnd.priority - 1

    @classmethod
    def find(cls, tokens_by_line: Any) -> Any:
        """Find the first such line; `%imagegen?` itself stays a question."""
        for tokens in tokens_by_line:
            first = next((token for token in tokens if token.string.strip()), None)
            if first is not None and _is_misread(first.line[first.start[1] :]):
                return cls(first.start)
        return None

    def transform(self, lines: list[str]) -> list[str]:
        """Call the magic with the rest of the line, verbatim."""
        line = lines[self.start_line]
        prompt = line[self.start_col :].removeprefix(f"%{NAME}").strip()
        call = f"{line[: self.start_col]}get_ipython().run_line_magic({NAME!r}, {prompt!r})\n"
        return [*lines[: self.start_line], call, *lines[self.start_line + 1 :]]


def _is_misread(line: str) -> bool:
    prompt = line.strip().removeprefix(f"%{NAME} ").strip()
    asks = line.startswith(f"%{NAME} ") and prompt.endswith("?") and not prompt.startswith("?")
    return asks or line.startswith(f"%{NAME}\t")


def attach(shell: Any) -> None:
    """Register both with a shell."""
    detach(shell)
    manager = shell.input_transformer_manager
    manager.cleanup_transforms.insert(0, whole_cell)
    manager.token_transformers.append(Question)


def detach(shell: Any) -> None:
    """Remove both from a shell."""
    manager = shell.input_transformer_manager
    manager.cleanup_transforms[:] = [one for one in manager.cleanup_transforms if one is not whole_cell]
    manager.token_transformers[:] = [one for one in manager.token_transformers if one is not Question]
