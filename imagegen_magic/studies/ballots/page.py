"""The page of a ballot: one HTML file that needs no network, with pictures and random tokens, and nothing else of the study."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from imagegen_magic.engine.ledger.ballots import StoredBallot
from imagegen_magic.studies.ballots.results import FORMAT

_FOLDER = Path(__file__).parent


def page(ballot: StoredBallot, pictures: Mapping[int, str]) -> str:
    """Return the page; `pictures` has the data URL of each image by its id."""
    script, style, body = _parts()
    policy = f"default-src 'none'; img-src data:; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    values = {
        "format": FORMAT,
        "ballot": ballot.id,
        "pairs": list(ballot.pairs),
        "pictures": {token: pictures[number] for token, number in sorted(ballot.tokens.items())},
    }
    content = json.dumps(values).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n<meta name="referrer" content="no-referrer">\n'
        f'<link rel="icon" href="data:,">\n<title>Which picture is better?</title>\n<style>{style}</style>\n</head>\n<body>\n{body}'
        f'<script type="application/json" id="ballot">{content}</script>\n<script>{script}</script>\n</body>\n</html>\n'
    )


@functools.cache
def _parts() -> tuple[str, str, str]:
    script, style, body = ((_FOLDER / f"ballot.{suffix}").read_text(encoding="utf-8") for suffix in ("js", "css", "html"))
    return script, style, body


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
