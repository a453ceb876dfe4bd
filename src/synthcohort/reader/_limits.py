"""What no request may exceed: rates, body size, host names; and the headers that every response carries."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Collection

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY = 64 * 1024
"""Bytes; an answer with all its marks has a tenth of it."""

BODY_SECONDS = 20
ADDRESS_RATE, ADDRESS_BURST = 400.0, 800.0
"""Requests of one address a second: a whole hospital may come through one proxy."""

SESSION_RATE, SESSION_BURST = 20.0, 100.0
"""Of one reader: an image is three requests, and nobody reads seven images a second."""

FAILURE_RATE, FAILURE_BURST = 1 / 15, 20.0
"""Wrong codes of one address: twenty, then four a minute."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
LOG = logging.getLogger("synthcohort.reader")
_STATIC = "/static/"


class Rate:
    """Token buckets, one for each key.

    Args:
        rate: Tokens a second that a bucket gains.
        burst: That it holds at most.
    """

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def left(self, key: str) -> float:
        """Return how many tokens `key` has."""
        with self._lock:
            return self._left(key, time.monotonic())

    def take(self, key: str) -> bool:
        """Take one token of `key`; return whether there was one."""
        now = time.monotonic()
        with self._lock:
            left = self._left(key, now)
            self._buckets[key] = (left - 1 if left >= 1 else left, now)
            if len(self._buckets) > 10_000:
                self._forget(now)
        return left >= 1

    def _left(self, key: str, now: float) -> float:
        left, then = self._buckets.get(key, (self._burst, now))
        return min(self._burst, left + (now - then) * self._rate)

    def _forget(self, now: float) -> None:
        full = [key for key in self._buckets if self._left(key, now) >= self._burst]
        for key in full or list(self._buckets)[:5000]:
            del self._buckets[key]


class Guard:
    """ASGI middleware: host names, the rate of an address, headers, and an access log without ids or codes.

    Args:
        app: What it guards.
        hosts: Names under which the server answers; others are refused (DNS rebinding).
        secure: Whether browsers come over TLS, and should from now on.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], secure: bool) -> None:
        self._app, self._hosts, self._secure = app, frozenset(host.lower() for host in hosts), secure
        self._rate = Rate(ADDRESS_RATE, ADDRESS_BURST)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        if scope["type"] != "http":
            return
        start, status = time.perf_counter(), 500

        async def outwards(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(scope["path"], MutableHeaders(scope=message))
            await send(message)

        try:
            await self._chosen(scope)(scope, receive, outwards)
        finally:
            seconds = time.perf_counter() - start
            LOG.info("%s %s %d %.0f ms", scope["method"], _place(scope["path"]), status, 1000 * seconds)

    def _chosen(self, scope: Scope) -> ASGIApp:
        if _name(Headers(scope=scope).get("host", "")) not in self._hosts:
            return PlainTextResponse("This server does not answer under this name.\n", 400)
        if not self._rate.take((scope.get("client") or ("",))[0]):
            return PlainTextResponse("Too many requests.\n", 429, {"retry-after": "2"})
        return self._app

    def _add_headers(self, path: str, headers: MutableHeaders) -> None:
        headers.update(HEADERS)
        headers["cache-control"] = "no-cache" if path.startswith(_STATIC) else "no-store"
        if self._secure:
            headers["strict-transport-security"] = "max-age=31536000"


def _name(host: str) -> str:
    return re.sub(r":\d*$", "", host).strip("[]").lower()


def _place(path: str) -> str:
    """Return what may stand in a log: the route, never an id; nothing of what a stranger made up."""
    known = re.match(r"/(answer|begin|continue|pixels|viewing|sign-in|sign-out|static|administrator)(?=/|$)", path)
    return known.group() if known else "/" if path == "/" else "(none)"


async def body(request: Request) -> bytes:
    """Return the body of `request`.

    Raises:
        HTTPException: 413, it is too long; 408, it does not come; 400, the connection broke, and nobody hears it.
    """
    parts, length = [], 0
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for part in request.stream():
                parts.append(part)
                length += len(part)
                if length > MAX_BODY:
                    raise HTTPException(413)
    except TimeoutError as error:
        raise HTTPException(408) from error
    except ClientDisconnect as error:
        raise HTTPException(400) from error
    return b"".join(parts)
