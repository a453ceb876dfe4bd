"""What a reader's browser asks for. Nothing here knows which image is real, but for the training images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from . import _forms as forms
from ._answers import Answers, now
from ._flow import Looking, Standing, before, looking, position, standing
from ._limits import FAILURE_BURST, FAILURE_RATE, SESSION_BURST, SESSION_RATE, Rate, body
from ._served import Served
from ._sessions import Session, Sessions, check_csrf, check_same_origin
from ._study import Answer, Presentation, code_digest
from ._texts import Templates

CLOSED = 423


class Pages:
    """The reader's pages.

    Args:
        served: The study.
        answers: Where answers go.
        sessions: Who is asking.
        templates: The pages.
    """

    def __init__(self, served: Served, answers: Answers, sessions: Sessions, templates: Templates) -> None:
        self._served, self._answers, self._sessions, self._templates = served, answers, sessions, templates
        self._rate, self.failures = Rate(SESSION_RATE, SESSION_BURST), Rate(FAILURE_RATE, FAILURE_BURST)

    def routes(self) -> list[Route]:
        """Return what the pages answer to."""
        return [
            Route("/", self.home),
            Route("/sign-in", self.sign_in, methods=["POST"]),
            Route("/sign-out", self.sign_out, methods=["POST"]),
            Route("/begin", self.begin, methods=["POST"]),
            Route("/continue", self.go_on, methods=["POST"]),
            Route("/pixels/{presentation}", self.pixels),
            Route("/answer", self.answer, methods=["POST"]),
            Route("/viewing", self.viewing, methods=["POST"]),
        ]

    def home(self, request: Request) -> Response:
        """Return the page for where the reader stands."""
        session = self._sessions.find(request)
        if session is None:
            return self._templates.page("sign_in", study=self._served.design.name, wrong=False)
        self._take(session)
        stands = self._standing(session.reader)
        if "at" in request.query_params and self._served.design.go_back:
            stands = self._back_at(session.reader, request.query_params["at"], stands)
        if stands.place != "done" and closed(self._answers):
            return self._page("closed", session)
        if stands.place == "image":
            return self._image_page(session, stands)
        return self._page(
            stands.place, session, stands=stands, last=self._served.orders[session.reader].presentations[-1]
        )

    async def sign_in(self, request: Request) -> Response:
        """Open a session for who gives an invitation code."""
        check_same_origin(request)
        raw = await body(request)
        return await run_in_threadpool(self._sign_in, request, raw)

    def _sign_in(self, request: Request, raw: bytes) -> Response:
        address = request.client.host if request.client else ""
        if self.failures.left(address) < 1:
            raise HTTPException(429)
        reader = self._served.readers.get(code_digest(forms.fields(raw).get("code", "")))
        if reader is None:
            self.failures.take(address)
            self._answers.record("", "sign-in-refused")
            return self._templates.page("sign_in", 401, study=self._served.design.name, wrong=True)
        self._answers.record(reader, "sign-in")
        response = RedirectResponse("/", 303)
        self._sessions.open(response, reader)
        return response

    async def sign_out(self, request: Request) -> Response:
        """End the session."""
        session, _ = await self._form(request)
        response = RedirectResponse("/", 303)
        await run_in_threadpool(self._sessions.close, response, session)
        return response

    async def begin(self, request: Request) -> Response:
        """Remember that the reader has read the instructions."""
        session, _ = await self._form(request)
        await run_in_threadpool(self._pass, session, "instructions", "begin", {})
        return RedirectResponse("/", 303)

    async def go_on(self, request: Request) -> Response:
        """Remember that the reader goes on to the next block."""
        session, fields = await self._form(request)
        await run_in_threadpool(self._pass, session, "rest", "continue", {"block": fields.get("block", "")})
        return RedirectResponse("/", 303)

    def _pass(self, session: Session, place: str, kind: str, detail: dict[str, str]) -> None:
        stands = self._standing(session.reader)
        block = str(stands.presentation.block) if stands.presentation else ""
        if stands.place == place and detail.get("block", block) == block and not closed(self._answers):
            self._answers.record(session.reader, kind, **detail)

    def pixels(self, request: Request) -> Response:
        """Return the values of the image that the reader stands at; of no other."""
        session = self._session(request)
        shown = self._own(session, request.path_params["presentation"])
        self._check_open(session)
        if not self._may_see(session.reader, shown):
            self._refuse(session, 404)
        self._answers.record(session.reader, "shown", shown.id)
        return Response(self._served.pixels(shown), media_type="application/octet-stream")

    async def answer(self, request: Request) -> Response:
        """Store an answer; say so after it is on disk, and what comes next."""
        raw = await body(request)
        return await run_in_threadpool(self._answer, request, raw)

    def _answer(self, request: Request, raw: bytes) -> Response:
        session = self._changing(request)
        given = forms.given(raw, self._served.design)
        shown = self._own(session, given.presentation)
        self._check_open(session)
        answered, looked = self._answers.answered(session.reader), self._looking(shown)
        self._check_turn(session, shown, given.revision, answered, looked)
        stored = given.revision > answered.get(shown.id, -1) and self._store(session, given, looked)
        truth = shown.answer if shown.block < 0 else None
        return JSONResponse({"stored": stored, "truth": truth, "next": self._next(session)})

    def _check_turn(
        self, session: Session, shown: Presentation, revision: int, answered: Mapping[str, int], looked: Looking
    ) -> None:
        """Refuse an answer out of turn. Judged by one look: another answer may come in meanwhile."""
        newest = answered.get(shown.id, -1)
        changes = newest >= 0 and shown.block >= 0 and self._served.design.go_back
        stands = self._standing(session.reader, answered)
        turn = newest < 0 and stands.place == "image" and stands.presentation == shown
        if not looked.shown or revision > newest + 1 or not (revision <= newest or changes or turn):
            self._refuse(session, 409)

    def _store(self, session: Session, given: forms.Given, looked: Looking) -> bool:
        """Store an answer; no image was seen for longer than since it was sent."""
        limit, seconds = self._served.design.time_limit_s, min(given.seconds, looked.wall)
        answer = Answer(
            reader=session.reader,
            presentation=given.presentation,
            choice=given.choice,
            confidence=given.confidence,
            seconds=round(seconds, 3),
            timed_out=limit is not None and (given.timed_out or seconds >= limit),
            findings=given.findings,
            marks=given.marks,
            answered_at=now(),
        )
        detail = {"client_seconds": given.seconds, "since_shown": round(looked.wall, 3)}
        return self._answers.add(answer, revision=given.revision, detail=detail)

    async def viewing(self, request: Request) -> Response:
        """Remember for how long the reader has seen an image, and whether they pause."""
        raw = await body(request)
        return await run_in_threadpool(self._viewing, request, raw)

    def _viewing(self, request: Request, raw: bytes) -> Response:
        session = self._changing(request)
        viewing = forms.viewing(raw)
        shown = self._own(session, viewing.presentation)
        seconds = min(viewing.seconds, self._looking(shown).wall)
        if self._standing(session.reader).presentation == shown:
            self._answers.record(session.reader, viewing.kind, shown.id, seconds=round(seconds, 3))
        return Response(status_code=204)

    def _standing(self, reader: str, answered: Mapping[str, int] | None = None) -> Standing:
        passed = self._answers.events(reader=reader, kinds=("begin", "continue"))
        names = {json.loads(one.detail)["block"] if one.kind == "continue" else "begin" for one in passed}
        given = self._answers.answered(reader) if answered is None else answered
        return standing(self._served.orders[reader], given, names)

    def _back_at(self, reader: str, presentation: str, otherwise: Standing) -> Standing:
        shown = self._served.find(reader, presentation)
        if shown is None or shown.block < 0 or shown.id not in self._answers.answered(reader):
            return otherwise
        return Standing("image", shown, *position(self._served.orders[reader], shown))

    def _looking(self, shown: Presentation) -> Looking:
        return looking(self._answers.events(presentation=shown.id))

    def _may_see(self, reader: str, shown: Presentation) -> bool:
        stands = self._standing(reader)
        again = self._served.design.go_back and shown.block >= 0 and shown.id in self._answers.answered(reader)
        limit = self._served.design.time_limit_s
        over = limit is not None and self._looking(shown).seconds >= limit
        return not over and (again or (stands.place == "image" and stands.presentation == shown))

    def _next(self, session: Session) -> dict[str, Any] | None:
        stands = self._standing(session.reader)
        return self._state(session.reader, stands) if stands.place == "image" else None

    def _state(self, reader: str, stands: Standing) -> dict[str, Any]:
        """Return all that the browser is told of an image. No value of it depends on the image."""
        shown, design = stands.presentation, self._served.design
        assert shown is not None
        looked, earlier = self._looking(shown), None
        if design.go_back:
            earlier = self._answers.of_reader(reader).get(shown.id)
        return {
            "id": shown.id,
            "number": stands.number,
            "of": stands.of,
            "training": shown.block < 0,
            "block": shown.block + 1,
            "seconds": round(looked.seconds, 3),
            "paused": looked.paused,
            "revision": earlier[0] + 1 if earlier else 0,
            "earlier": _shown_again(earlier[1]) if earlier else None,
            "back": before(self._served.orders[reader], shown) if design.go_back and shown.block >= 0 else None,
        }

    def _image_page(self, session: Session, stands: Standing) -> Response:
        design = self._served.design
        told = {
            "shape": design.shape,
            "dtype": design.dtype,
            "window": design.window,
            "timeLimit": design.time_limit_s,
            "findings": design.findings,
            "marks": design.marks,
            "goBack": design.go_back,
            "blocks": design.blocks,
        }
        state = self._state(session.reader, stands)
        return self._page(
            "read",
            session,
            stands=stands,
            state=json.dumps(state),
            told=json.dumps(told),
            texts=json.dumps(self._templates.for_scripts()),
        )

    def _page(self, name: str, session: Session, **values: object) -> Response:
        common = {"design": self._served.design, "csrf": session.csrf, "reader": session.reader}
        return self._templates.page(name, **common, **values)

    def _session(self, request: Request) -> Session:
        session = self._sessions.find(request)
        if session is None:
            raise HTTPException(401)
        self._take(session)
        return session

    def _take(self, session: Session) -> None:
        if not self._rate.take(session.digest):
            raise HTTPException(429, headers={"retry-after": "2"})

    def _changing(self, request: Request) -> Session:
        session = self._session(request)
        check_csrf(session, request.headers.get("x-csrf-token", ""))
        return session

    async def _form(self, request: Request) -> tuple[Session, Any]:
        raw = await body(request)
        session = await run_in_threadpool(self._session, request)
        fields = forms.fields(raw)
        check_csrf(session, fields.get("csrf", ""))
        return session, fields

    def _own(self, session: Session, presentation: str) -> Presentation:
        shown = self._served.find(session.reader, presentation)
        if shown is None:
            self._refuse(session, 404)
        return shown

    def _check_open(self, session: Session) -> None:
        if closed(self._answers):
            self._refuse(session, CLOSED)

    def _refuse(self, session: Session, status: int) -> NoReturn:
        self._answers.record(session.reader, "refused", status=status)
        raise HTTPException(status)


def closed(answers: Answers) -> bool:
    """Return whether the administrator has closed the study."""
    return [event.kind for event in answers.events(reader="", kinds=("close", "reopen"))][-1:] == ["close"]


def _shown_again(answer: Answer) -> dict[str, Any]:
    names = ("choice", "confidence", "seconds", "timed_out", "findings", "marks")
    return {name: getattr(answer, name) for name in names}
