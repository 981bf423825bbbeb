"""`%imagegen vote`: blind pairs of images, one after another, and at the end the ranking as an output that stays."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import shlex
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError

from imagegen_magic.engine import api, loop
from imagegen_magic.engine.ledger.deletion import deleted_among
from imagegen_magic.engine.ledger.sweeps import combinations_of
from imagegen_magic.engine.ledger.votes import PERSON, Vote, add_vote, delete_vote, rater_name, votes_between
from imagegen_magic.errors import ImageGenError
from imagegen_magic.humanize import pluralize, truncate
from imagegen_magic.notebook.arguments import image_selector
from imagegen_magic.notebook.context import shows_widgets
from imagegen_magic.notebook.output.display import Bundle, Canvas, line, show_all, text_bundle, widget_bundle
from imagegen_magic.notebook.output.style import AS_TEXT, COMPACT, QUIET, hide_broken
from imagegen_magic.notebook.output.tables import Cell, Note, Page, Piece, Table
from imagegen_magic.notebook.output.thumbnails import thumbnail
from imagegen_magic.studies import ranking
from imagegen_magic.studies.ranking import RankedItem, Ranking
from imagegen_magic.studies.sweeps.result import short

if TYPE_CHECKING:
    from imagegen_magic.engine.ledger.ledger import Ledger
    from imagegen_magic.notebook.context import NotebookContext
    from imagegen_magic.notebook.widgets.vote import VoteWidget
    from imagegen_magic.result import GeneratedImage

_EDGE, _BYTES = 900, 120_000  # of a picture that is voted on: pixels, bytes
_SMALL_EDGE, _SMALL_BYTES = 112, 5_000  # of one in the ranking
_MAX_DRAWN = 40  # pictures of the ranking on a page


def vote(context: NotebookContext, arguments: list[str], flags: dict[str, str]) -> None:
    """Ask which of two images is better until there is a ranking, and show it; without widgets, show the ranking so far."""
    if arguments and not arguments[0].isidentifier():
        raise UsageError(f"{arguments[0]} is not a variable: %imagegen vote NAME takes the variable of a sweep or of a list of pictures.")
    name = arguments[0] if arguments else "_imagegen"
    images, value = image_selector.variable_images(context, name)
    deleted = loop.run(deleted_among(api.ledger(context.settings()), [image.id for image in images]))
    images = tuple(image for image in images if image.id not in deleted)
    if len(images) < 2:
        left = " that is not deleted" if deleted else ""
        raise UsageError(f"{name} holds {pluralize(len(images), 'picture')}{left}: a vote needs at least two.")
    if len(images) > ranking.MAX_IMAGES:
        raise UsageError(
            f"{name} holds {len(images)} pictures: a vote takes at most {ranking.MAX_IMAGES}. "
            "Bind a part of them to a variable, and vote on that."
        )
    session = VoteSession(context.shell, api.ledger(context.settings()), name, images, int(getattr(value, "study", 0) or 0))
    rater = rater_name(flags.get("--rater", ""))
    if "--rater" in flags and not rater:
        raise UsageError("--rater takes the name of the person who votes: --rater Ada.")
    loop.run(session.load(flags.get("--axis", ""), rater))
    if session.enough:
        session.show_ranking()
    elif shows_widgets(context.shell):
        session.open()
    else:
        again = f"%imagegen vote {name}{f' --rater {shlex.quote(rater)}' if rater else ''}"
        session.show_ranking(how=f"To vote, open the notebook in Jupyter and run {again}: a vote needs a page.")


class VoteSession:
    """A vote: its images, the votes so far, and the two outputs of its cell."""

    def __init__(self, shell: Any, ledger: Ledger, name: str, images: Sequence[GeneratedImage], study: int) -> None:
        self._shell, self._ledger, self._name, self._study = shell, ledger, name, study
        self._images = {image.id: image for image in images}
        self._ids = list(self._images)
        self._votes: list[Vote] = []
        self._session_votes: list[Vote] = []
        self._combinations: Mapping[int, Mapping[str, str]] = {}
        self._matched: Mapping[tuple[int, int], str] = {}
        self._axis = self._rater = ""
        self._previews: dict[int, str] = {}
        self._pair: tuple[int, int] = (0, 0)
        self._number = 0  # of the pair on the page
        self._kept = -1  # of the last pair with a recorded vote
        self._random = random.Random()
        self._shown: concurrent.futures.Future[list[str]] = concurrent.futures.Future()  # the display ids of both outputs
        self._widget: VoteWidget | None = None
        self._lock = asyncio.Lock()

    @property
    def enough(self) -> bool:
        """Whether the votes so far make a ranking."""
        return len(self._votes) >= ranking.votes_needed(len(self._ids))

    async def load(self, axis: str = "", rater: str = "") -> None:
        """Read the earlier votes on these images, and their combinations in a sweep; pairs of `axis` are asked first.

        The votes are those of one `rater`, or of all people. Raises UsageError if no two pictures differ in this axis alone.
        """
        votes = await votes_between(self._ledger, self._ids)
        self._rater = rater
        self._votes = [vote for vote in votes if vote.kind == PERSON and (not rater or vote.rater == rater)]
        self._study, self._combinations = await combinations_of(self._ledger, self._ids, self._study)
        self._matched, self._axis = ranking.matched_pairs(self._ids, self._combinations), axis
        if axis and axis not in self._matched.values():
            known = ", ".join(sorted(set(self._matched.values()))) or "none"
            raise UsageError(f"No two pictures of {self._name} differ in {axis} alone. Axes with such pairs: {known}.")

    def open(self) -> None:
        """Show the widget in the running cell; from then on everything runs on the engine's loop."""
        from imagegen_magic.notebook.widgets.vote import VoteWidget

        self._canvas = Canvas(self._shell)
        self._widget = VoteWidget(self._on_event, goal=ranking.votes_needed(len(self._ids)))
        loop.run(self._ask())
        bundles = [widget_bundle(self._widget, f"a vote on {self._name}"), self._static()]
        self._shown.set_result([self._canvas.show(bundle) for bundle in bundles])

    def _static(self) -> Bundle:
        text = f"A vote on {self._name}, {len(self._ids)} pictures. Each vote is saved at once: run the cell again to continue."
        hide = hide_broken("imagegen-vote", "imagegen-vote-line")
        html = f'{hide}<div class="imagegen-vote-line {AS_TEXT}" style="{COMPACT};{QUIET}">{escape(text)}</div>'
        return text_bundle(text, html)

    def _on_event(self, event: str, pair: int) -> None:
        loop.submit(self._report_errors(event, pair))

    # --- from here on, on the engine's loop

    async def _report_errors(self, event: str, pair: int) -> None:
        """Handle a message of the page, and show its error there: no cell would show it."""
        await asyncio.wrap_future(self._shown)  # the widget can be used before the cell has shown both outputs
        try:
            async with self._lock:
                await self._do(event, pair)
        except ImageGenError as error:
            self._show_error(str(error))
        except Exception as error:  # also an error of this package
            self._show_error(f"The vote itself failed: {type(error).__name__}: {error}")

    def _show_error(self, message: str) -> None:
        if self._widget is not None:
            self._widget.error = ""
            self._widget.error = message

    async def _do(self, event: str, pair: int) -> None:
        if self._widget is None or pair != self._number:
            return  # of an earlier pair: a key held down, or another page was quicker
        if event == "done":
            await self._close()
            return
        if event == "undo":
            await self._undo()
        elif self._kept == self._number:
            await self._ask()  # this pair's vote is recorded: showing the next pair had failed
        elif not self.enough:
            await self._choose(event)
            await self._ask()

    async def _choose(self, event: str) -> None:
        left, right = self._pair
        winner = {"left": left, "right": right}.get(event)
        given = await add_vote(self._ledger, Vote(left, right, winner, rater=self._rater), self._study)
        self._kept = self._number
        self._votes.append(given)
        self._session_votes.append(given)

    async def _undo(self) -> None:
        """Delete the last vote of this session, and show its pair again."""
        if self._session_votes:
            last = self._session_votes[-1]
            await delete_vote(self._ledger, last)
            self._session_votes.pop()
            self._votes = [vote for vote in self._votes if vote.id != last.id]
            self._pair = (last.left, last.right)
            await self._show_pair()

    async def _ask(self) -> None:
        """Show the next pair, or that there are enough votes."""
        if self.enough:
            self._number += 1
            self._put(enough=True)
        else:
            self._pair = ranking.matched_pair(self._ids, self._votes, self._matched, self._random, self._axis)
            await self._show_pair()

    async def _show_pair(self) -> None:
        left, right = [await self._preview(number) for number in self._pair]
        self._number += 1
        self._put(left=left, right=right, enough=False)

    def _put(self, **values: Any) -> None:
        if self._widget is not None:
            with self._widget.hold_sync():
                self._widget.set_trait("given", len(self._votes))
                for name, value in {**values, "undoable": bool(self._session_votes), "error": "", "pair": self._number}.items():
                    self._widget.set_trait(name, value)

    async def _preview(self, number: int) -> str:
        if number not in self._previews:
            self._previews[number] = await asyncio.to_thread(thumbnail, self._images[number], _EDGE, _BYTES)
        return self._previews[number]

    async def _close(self) -> None:
        """Replace the widget with the ranking."""
        widget, self._widget = self._widget, None
        for display_id, bundle in zip(self._shown.result(), await asyncio.to_thread(self._result), strict=True):
            self._canvas.update(display_id, bundle)
        if widget is not None:
            widget.close()

    # --- the ranking, in any thread

    def show_ranking(self, how: str = "") -> None:
        """Show the ranking by the votes so far, and `how` to give more."""
        show_all(self._shell, self._result(how))

    def _result(self, how: str = "") -> list[Bundle]:
        if not self._votes:
            text = f"There is no vote{f' of {self._rater}' if self._rater else ''} on {self._name} yet."
            return [line(f"{text} {how or 'Run the cell to vote.'}"), line(" ")] if not how else [line(f"{text} {how}")]
        found = ranking.ranking(self._ids, self._votes, self._combinations)
        goal = ranking.votes_needed(len(self._ids))
        more = (
            "" if self.enough else f" {len(self._votes)} of the {goal} votes for a good ranking. {how or 'Run the cell again to continue.'}"
        )
        html = page(found, self._drawn, _MAX_DRAWN).html("imagegen-ranking")
        return [text_bundle(str(page(found, self._label)), html), line(_EXPLAINED + (_of_axes(self._name) if found.axes else "") + more)]

    def _label(self, item: RankedItem) -> str:
        combination = self._combinations.get(item.picture) or {}
        text = " · ".join(f"{axis}={short(value)}" for axis, value in combination.items())
        return text or truncate(self._images[item.picture].request.prompt, 50)

    def _drawn(self, item: RankedItem) -> Cell:
        image = self._images[item.picture]
        return Cell(self._label(item), picture=thumbnail(image, _SMALL_EDGE, _SMALL_BYTES), alt=image.request.prompt)


_EXPLAINED = (
    "The probability that each is preferred to one of mean strength, with its 95 % interval (Bradley-Terry; a tie counts half for each). "
    "If intervals overlap much, more votes are needed to separate them."
)


def _of_axes(name: str) -> str:
    means = "The values of an axis are means over these pictures; they do not predict other pictures."
    return f" {means} %imagegen effects {name} votes estimates what a value does to new ones."


def page(found: Ranking, cell: Callable[[RankedItem], str | Cell], limit: int | None = None) -> Page:
    """Return a ranking as tables of its images, at most `limit`, and of the values of each axis.

    `cell` returns the name of an image. The means of an axis are of these images only, so they have no interval.
    """
    rows = []
    for rank, item in enumerate(found.pictures[:limit], 1):
        low, high = (f"{100 * bound:.0f}" for bound in item.win_probability[1:])
        interval = Cell(f"{low}–{high} %", interval=item.win_probability)
        rows.append((f"{rank}.", item.name, cell(item), _percent(item), interval, *_counts(item)))
    title = f"Ranking of {len(found.pictures)} pictures by {pluralize(found.votes, 'vote')}"
    pieces: list[Piece] = [Table(("", "id", "picture", "chance", "95 %", *_COUNTS), rows, title)]
    if (rest := len(found.pictures) - len(rows)) > 0:
        pieces.append(Note(f"… and {rest} more"))
    for axis, items in found.axes.items():
        values = [(short(item.name), _percent(item), *_counts(item)) for item in items]
        pieces.append(Table(("", "chance", *_COUNTS), values, f"{axis} in these pictures"))
    return Page(*pieces)


_COUNTS = ("won", "tied", "lost")


def _counts(item: RankedItem) -> tuple[str, str, str]:
    return str(item.won), str(item.tied), str(item.lost)


def _percent(item: RankedItem) -> str:
    return f"{100 * item.win_probability[0]:.0f} %"
