"""Uploaded input images: their URLs at a gateway or storage service, and when these expire."""

from __future__ import annotations

from imagegen_magic.engine.ledger.file import LedgerFile
from imagegen_magic.engine.ledger.records import iso, now
from imagegen_magic.humanize import seconds_of
from imagegen_magic.providers.uploads import Uploaded

_FIND = "SELECT url, expires_at FROM uploads WHERE sha256 = ? AND host = ?"
_ENDS = "SELECT expires_at FROM uploads WHERE url = ?1 UNION ALL SELECT expires_at FROM pictures WHERE url = ?1"
_RECORD = """INSERT INTO uploads (sha256, host, url, expires_at, size, created) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (sha256, host)
    DO UPDATE SET url = excluded.url, expires_at = excluded.expires_at, size = excluded.size, created = excluded.created"""


async def find_upload(ledger: LedgerFile, sha256: str, host: str) -> Uploaded | None:
    """Return the latest upload of these bytes to a host."""
    rows = await ledger.fetch(_FIND, (sha256, host))
    return _upload(*rows[0]) if rows else None


def find_upload_now(ledger: LedgerFile, sha256: str, host: str) -> Uploaded | None:
    """Return the latest upload of these bytes to a host, in the calling thread; None also if no ledger can be read."""
    rows = ledger.read(_FIND, (sha256, host), wait=False)
    return _upload(*rows[0]) if rows else None


def _upload(url: str, expires_at: str | None) -> Uploaded:
    return Uploaded(url, seconds_of(expires_at) if expires_at else None)


def expiry_now(ledger: LedgerFile, url: str) -> float | None:
    """Return when the URL of an upload or a result expires (epoch seconds), in the calling thread; None if that is unknown."""
    return max((seconds_of(end) for (end,) in ledger.read(_ENDS, (url,), wait=False) if end), default=None)


async def record_upload(ledger: LedgerFile, sha256: str, host: str, size: int, upload: Uploaded) -> None:
    """Store the latest upload of these bytes to a host; `size` is in bytes."""
    end = None if upload.expires_at is None else iso(upload.expires_at)
    await ledger.run(lambda connection: connection.execute(_RECORD, (sha256, host, upload.url, end, size, now())))


async def forget_upload(ledger: LedgerFile, sha256: str, host: str) -> None:
    """Delete the upload of these bytes to a host."""
    await ledger.run(lambda connection: connection.execute("DELETE FROM uploads WHERE sha256 = ? AND host = ?", (sha256, host)))
