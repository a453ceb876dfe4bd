"""`reader serve`: the study's pages, on this machine or on a hospital's network.

One process serves one study. All that counts is in the database, so it may be killed and started again at any moment,
and readers go on where they were.
"""

from __future__ import annotations

import csv
import ipaddress
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from ..errors import InputError
from ._administrator import PATH as ADMINISTRATOR_PATH
from ._administrator import Administrator
from ._answers import open_answers
from ._limits import LOG, Guard
from ._pages import Pages
from ._served import read_served
from ._sessions import Sessions
from ._study import INVITATIONS, code_digest
from ._texts import FOLDER, Templates, read_texts

LOOPBACK = ("127.0.0.1", "localhost", "::1")
CONNECTIONS = 512
"""At once; more are told to come later."""

NOT_STORED = 507


@dataclass(frozen=True)
class Links:
    """Where people start. Each link holds a code; it opens the study to whoever has it.

    Attributes:
        readers: Name -> link; empty where invitations.csv was taken away.
        administrator: Good until the server stops.
        warning: "" or what is unsafe about this way of serving.
    """

    readers: Mapping[str, str]
    administrator: str
    warning: str


def application(
    study: Path,
    *,
    administrator_code: str,
    database_url: str | None = None,
    hosts: Collection[str] = LOOPBACK,
    secure: bool = False,
    texts: Path | None = None,
) -> Starlette:
    """Return the ASGI application of one study.

    Args:
        study: Folder of the study; its truth is never opened.
        administrator_code: What opens the administrator's page.
        database_url: Of PostgreSQL; None for answers.sqlite in the study's folder.
        hosts: Names under which the server answers.
        secure: Whether browsers reach it over TLS.
        texts: A translation of texts_en.json; None for English.

    Raises:
        NotAStudy: There is no study, or a damaged one.
        InputError: The database cannot be used, or the texts are no translation.
        Mismatch: The database holds the answers of another study.
    """
    served, templates = read_served(study), Templates(read_texts(texts))
    answers = open_answers(study, database_url, create=True)
    sessions = Sessions(answers, served.identity, secure=secure)
    pages = Pages(served, answers, sessions, templates)
    administrator = Administrator(
        served,
        answers,
        sessions,
        templates,
        code_sha256=code_digest(administrator_code),
        failures=pages.failures,
    )
    static = Mount("/static", StaticFiles(directory=FOLDER / "static"))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        answers.engine.dispose()

    return Starlette(
        lifespan=lifespan,
        routes=[*pages.routes(), *administrator.routes(), static],
        middleware=[Middleware(Guard, hosts=hosts, secure=secure)],
        exception_handlers={
            HTTPException: _error(templates),
            sa.exc.DatabaseError: _not_stored(templates),
            Exception: _error(templates),
        },
    )


def _error(templates: Templates) -> Callable[[Request, Exception], Response]:
    def answer(_request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        headers = dict(getattr(error, "headers", None) or {})
        page = templates.page("error", status, status=status)
        page.headers.update(headers)
        return page

    return answer


def _not_stored(templates: Templates) -> Callable[[Request, Exception], Response]:
    """Return what answers where the disk is full, or the database is locked, damaged or away; nothing was stored."""

    def answer(_request: Request, error: Exception) -> Response:
        said = str(getattr(error, "orig", None) or type(error).__name__).strip().splitlines()
        LOG.error("Nothing can be stored: the database says '%s'. Readers wait and try again.", *said[:1])
        return templates.page("error", NOT_STORED, status=NOT_STORED)

    return answer


def serve(
    study: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8400,
    database_url: str | None = None,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    behind_proxy: str | None = None,
    name: str | None = None,
    texts: Path | None = None,
    tell: Callable[[Links], None] = lambda links: None,
) -> None:
    """Serve the study until the process is ended.

    Args:
        study: Folder of the study.
        host: Address to listen at.
        port: To listen at; 0 for a free one.
        database_url: Of PostgreSQL; None for answers.sqlite in the study's folder.
        tls_cert: Certificate chain, PEM, for TLS without a proxy.
        tls_key: Its key, PEM.
        behind_proxy: Address of a TLS proxy before the server; its X-Forwarded-For and -Proto are believed.
        name: Under which readers reach the server, where it is not `host`; with ":port" where a proxy has another.
        texts: A translation of texts_en.json; None for English.
        tell: Called with the links when the server listens.

    Raises:
        InputError: The address cannot be used, or the options do not fit each other.
    """
    if (tls_cert is None) != (tls_key is None):
        raise InputError("TLS needs --tls-cert and --tls-key", "one of them is missing", "Give both")
    if name is None and (behind_proxy is not None or _any_address(host)):
        raise InputError("Readers need a name to reach the server by", f"--host {host}", "Give it with --name")
    secure = tls_cert is not None or behind_proxy is not None
    code = secrets.token_hex(16)
    known = {host, *LOOPBACK} if _loopback(host) else {host}
    hosts = known | ({name.rpartition(":")[0] or name} if name else set())
    config = uvicorn.Config(
        application(study, administrator_code=code, database_url=database_url, hosts=hosts, secure=secure, texts=texts),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=behind_proxy is not None,
        forwarded_allow_ips=behind_proxy,
        ssl_certfile=tls_cert,
        ssl_keyfile=tls_key,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
    _load_certificate(config)
    _log_to_stderr()
    with _listen(host, port) as listening:
        start = _start(host, listening.getsockname()[1], name, secure, proxied=behind_proxy is not None)
        readers = {reader: f"{start}/#code={invitation}" for reader, invitation in _invitations(study).items()}
        tell(Links(readers, f"{start}{ADMINISTRATOR_PATH}#code={code}", _warning(host, secure)))
        with suppress(KeyboardInterrupt):  # Ctrl-C is how serving ends
            uvicorn.Server(config).run(sockets=[listening])


def _load_certificate(config: uvicorn.Config) -> None:
    try:
        config.load()
    except OSError as error:  # ssl.SSLError is one
        raise InputError("TLS needs a certificate and its key, PEM", "they cannot be read", "Check both") from error


def _start(host: str, port: int, name: str | None, secure: bool, *, proxied: bool) -> str:
    shown = f"[{host}]" if ":" in host else host
    where = name if name and (":" in name or proxied) else f"{name or shown}:{port}"
    return f"{'https' if secure else 'http'}://{where}"


def _warning(host: str, secure: bool) -> str:
    return "" if secure or _loopback(host) else "Without TLS, codes and answers cross the network in plain text"


def _any_address(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise InputError("The address must be free", f"there is no port {port}", "Choose another")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # By name TCP: asyncio switches off the delay of small packets for such sockets only, and a page is two of them.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(256)
    except OSError as error:
        listening.close()
        reason = f"{host} port {port}: {error.strerror}"
        raise InputError("The address must be free", reason, "Choose another") from error
    return listening


def _invitations(study: Path) -> dict[str, str]:
    try:
        with (study / INVITATIONS).open(newline="", encoding="utf-8") as file:
            head, *rows = csv.reader(file)
            if head != ["reader", "code"]:
                raise ValueError
            return {reader: code for reader, code in rows}
    except FileNotFoundError:
        return {}  # taken away after they were sent: the server needs their digests only
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            "Invitations are a table of reader and code",
            f"{INVITATIONS} is none",
            "Put it back, or take it away: readers know their links",
        ) from error


def _log_to_stderr() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    LOG.addHandler(handler)
    LOG.setLevel(logging.INFO)
    LOG.propagate = False
