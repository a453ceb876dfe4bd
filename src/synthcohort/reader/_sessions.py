"""Who is asking: sessions kept in the database, so that a restart of the server signs nobody out.

The browser holds a random token in a cookie that scripts cannot read and that no other site's page can send; the
database holds its digest only. The token against cross-site requests is derived from it, so that it needs no storage.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

import sqlalchemy as sa
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ._answers import METADATA, Answers

HOURS = 12
"""A session lasts a working day; the invitation opens the next."""

ADMINISTRATOR = ""
"""Stands for the administrator where a reader's name would; no reader has this name."""

SESSIONS = sa.Table(
    "sessions",
    METADATA,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("reader", sa.String(128), nullable=False),
    sa.Column("expires", sa.Double, nullable=False),
)


@dataclass(frozen=True)
class Session:
    """One signed-in browser.

    Attributes:
        reader: Name, or `ADMINISTRATOR`.
        digest: Of the token.
        csrf: What every request that changes something must carry.
    """

    reader: str
    digest: str
    csrf: str


class Sessions:
    """The sessions of one study.

    Args:
        answers: Whose database holds them.
        study: Digest of the study: two studies on one host have cookies of their own.
        secure: Whether the browser reaches the server over TLS.
    """

    def __init__(self, answers: Answers, study: str, *, secure: bool) -> None:
        self._answers, self._secure = answers, secure
        self._prefix = f"{'__Host-' if secure else ''}study-{study[:12]}"

    def open(self, response: Response, reader: str) -> None:
        """Make a session of `reader` and put its token into a cookie of `response`."""
        token = secrets.token_urlsafe(32)
        row = {"digest": digest(token), "reader": reader, "expires": time.time() + HOURS * 3600}
        with self._answers.writing() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires < time.time()))
            connection.execute(sa.insert(SESSIONS).values(row))
        response.set_cookie(
            self._cookie(reader == ADMINISTRATOR),
            token,
            max_age=HOURS * 3600,
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )

    def find(self, request: Request, *, administrator: bool = False) -> Session | None:
        """Return the session of `request`; None where there is none, or it is over."""
        token = request.cookies.get(self._cookie(administrator), "")
        if not 0 < len(token) <= 128:
            return None
        query = sa.select(SESSIONS.c.reader, SESSIONS.c.expires).where(SESSIONS.c.digest == digest(token))
        with self._answers.engine.connect() as connection:
            row = connection.execute(query).first()
        if row is None or row.expires < time.time() or (row.reader == ADMINISTRATOR) != administrator:
            return None
        return Session(row.reader, digest(token), hmac.new(token.encode(), b"csrf", "sha256").hexdigest())

    def close(self, response: Response, session: Session) -> None:
        """End `session`."""
        with self._answers.writing() as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.digest == session.digest))
        response.delete_cookie(
            self._cookie(session.reader == ADMINISTRATOR),
            path="/",
            secure=self._secure,
            httponly=True,
            samesite="strict",
        )

    def _cookie(self, administrator: bool) -> str:
        return f"{self._prefix}-{'administrator' if administrator else 'reader'}"


def digest(secret: str) -> str:
    """Return the SHA-256 of a code or a token, hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_csrf(session: Session, given: str) -> None:
    """Refuse a request that does not carry the session's token.

    Raises:
        HTTPException: 403.
    """
    if not hmac.compare_digest(session.csrf.encode(), given.encode("utf-8", "surrogatepass")):
        raise HTTPException(403)


def check_same_origin(request: Request) -> None:
    """Refuse a sign-in that another site's page sends; there is no session yet that could carry a token.

    Raises:
        HTTPException: 403.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        same = site == "same-origin"
    else:
        same = origin is None or origin.partition("://")[2] == request.headers.get("host", "")
    if not same:
        raise HTTPException(403)
