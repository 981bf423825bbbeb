"""Errors of tasks that earlier versions stored as a sentence only: read here once, when the ledger is migrated or opened, and nowhere else.

Version 0.1.0 wrote: WHAT. CAUSE, CHARGE: HINT. Here CAUSE is `Your move`, `A network problem`, `The gateway's doing` or
`Moderation's decision`, and CHARGE is `nothing was charged`, `it was charged` or `it may have been charged`.
"""

from __future__ import annotations

import json
import re

from imagegen_magic.errors import Blame, Charge, ImageGenError

_BLAME: dict[str, Blame] = {
    "Your move": "you",
    "A network problem": "network",
    "The gateway's doing": "gateway",
    "Moderation's decision": "moderation",
}
_CHARGE: dict[str, Charge] = {"nothing was charged": "no", "it was charged": "yes", "it may have been charged": "unknown"}
# the last such sentence is this program's; the text before it may be a gateway's
_SENTENCE = re.compile(rf"(?P<what>.*)\. (?P<blame>{'|'.join(_BLAME)}), (?P<charge>{'|'.join(_CHARGE)}): (?P<hint>.*)\.", re.DOTALL)


def old_error(text: str) -> ImageGenError:
    """Return the error of a sentence; of any other text an error whose charge is unknown."""
    found = _SENTENCE.fullmatch(text)
    if found is None:
        return ImageGenError(text)
    return ImageGenError(found["what"], blame=_BLAME[found["blame"]], charge=_CHARGE[found["charge"]], hint=found["hint"])


def old_error_record(text: str) -> str:
    """Return `old_error` as a JSON record, for SQL."""
    return json.dumps(old_error(text).to_record())
