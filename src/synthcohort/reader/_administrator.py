"""The administrator's page: how far the readers are, close the study, download. It knows no truth either."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from . import _forms as forms
from ._answers import Answers
from ._limits import Rate, body
from ._pages import closed
from ._served import Served
from ._sessions import ADMINISTRATOR, Session, Sessions, check_csrf, check_same_origin
from ._study import Answer, code_digest
from ._texts import Templates
from ._trail import Event

PATH = "/administrator"


@dataclass(frozen=True)
class Progress:
    """How far one reader is.

    Attributes:
        reader: Name.
        answered: Images of the study proper.
        of: How many there are.
        begun: Whether the reader has left the instructions.
        last: Time of the last answer, UTC, to the minute; "" before.
    """

    reader: str
    answered: int
    of: int
    begun: bool
    last: str


class Administrator:
    """The administrator's pages.

    Args:
        served: The study.
        answers: Where answers are.
        sessions: Who is asking.
        templates: The pages.
        code_sha256: Digest of the administrator's code.
        failures: Wrong codes, of readers too.
    """

    def __init__(
        self,
        served: Served,
        answers: Answers,
        sessions: Sessions,
        templates: Templates,
        *,
        code_sha256: str,
        failures: Rate,
    ) -> None:
        self._served, self._answers, self._sessions, self._templates = served, answers, sessions, templates
        self._code_sha256, self._failures = code_sha256, failures

    def routes(self) -> list[Route]:
        """Return what the pages answer to."""
        return [
            Route(PATH, self.home),
            Route(f"{PATH}/sign-in", self.sign_in, methods=["POST"]),
            Route(f"{PATH}/sign-out", self.sign_out, methods=["POST"]),
            Route(f"{PATH}/close", self.close, methods=["POST"]),
            Route(f"{PATH}/reopen", self.reopen, methods=["POST"]),
            Route(f"{PATH}/answers.csv", self.answers),
            Route(f"{PATH}/trail.csv", self.trail),
        ]

    def home(self, request: Request) -> Response:
        """Return how far every reader is."""
        session = self._sessions.find(request, administrator=True)
        if session is None:
            return self._templates.page("administrator_sign_in", study=self._served.design.name, wrong=False)
        return self._templates.page(
            "administrator",
            design=self._served.design,
            csrf=session.csrf,
            readers=self._progress(),
            closed=closed(self._answers),
            seal=self._answers.seal(),
        )

    def _progress(self) -> list[Progress]:
        begun = {event.reader for event in self._answers.events(kinds=("begin",))}
        given: dict[str, list[Answer]] = {}
        for answer in self._answers.all():
            given.setdefault(answer.reader, []).append(answer)
        found = []
        for reader, order in self._served.orders.items():
            proper = {shown.id for shown in order.presentations if shown.block >= 0}
            done = [answer for answer in given.get(reader, []) if answer.presentation in proper]
            last = max((answer.answered_at for answer in given.get(reader, [])), default="")
            found.append(Progress(reader, len(done), len(proper), reader in begun, last[:16].replace("T", " ")))
        return found

    async def sign_in(self, request: Request) -> Response:
        """Open a session for who gives the administrator's code."""
        check_same_origin(request)
        raw = await body(request)
        return await run_in_threadpool(self._sign_in, request, raw)

    def _sign_in(self, request: Request, raw: bytes) -> Response:
        address = request.client.host if request.client else ""
        if self._failures.left(address) < 1:
            raise HTTPException(429)
        if code_digest(forms.fields(raw).get("code", "")) != self._code_sha256:
            self._failures.take(address)
            self._answers.record(ADMINISTRATOR, "sign-in-refused")
            return self._templates.page("administrator_sign_in", 401, study=self._served.design.name, wrong=True)
        self._answers.record(ADMINISTRATOR, "sign-in")
        response = RedirectResponse(PATH, 303)
        self._sessions.open(response, ADMINISTRATOR)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        session = await self._changing(request)
        response = RedirectResponse(PATH, 303)
        await run_in_threadpool(self._sessions.close, response, session)
        return response

    async def close(self, request: Request) -> Response:
        """Take no more answers."""
        return await self._set(request, "close", already=True)

    async def reopen(self, request: Request) -> Response:
        """Take answers again."""
        return await self._set(request, "reopen", already=False)

    async def _set(self, request: Request, kind: str, *, already: bool) -> Response:
        await self._changing(request)
        if await run_in_threadpool(closed, self._answers) != already:
            await run_in_threadpool(self._answers.record, ADMINISTRATOR, kind)
        return RedirectResponse(PATH, 303)

    def answers(self, request: Request) -> Response:
        """Return the newest answer of every presentation as CSV."""
        self._session(request)
        self._answers.record(ADMINISTRATOR, "download", what="answers")
        names = [field.name for field in fields(Answer)]
        return _csv("answers.csv", names, map(astuple, self._answers.all()))

    def trail(self, request: Request) -> Response:
        """Return the audit trail as CSV."""
        self._session(request)
        self._answers.record(ADMINISTRATOR, "download", what="trail")
        return _csv("trail.csv", [field.name for field in fields(Event)], map(astuple, self._answers.events()))

    def _session(self, request: Request) -> Session:
        session = self._sessions.find(request, administrator=True)
        if session is None:
            raise HTTPException(401)
        return session

    async def _changing(self, request: Request) -> Session:
        raw = await body(request)
        session = await run_in_threadpool(self._session, request)
        check_csrf(session, forms.fields(raw).get("csrf", ""))
        return session


def _csv(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=disposition)


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, tuple) else value
