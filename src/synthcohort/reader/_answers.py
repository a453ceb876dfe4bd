"""Where answers are kept: SQLite beside the study, or PostgreSQL by URL; rows are added, never changed or removed.

One presentation has one answer per revision (a unique constraint), so a double click, a retry after a lost connection
and a second device cannot store two. An answer and its event of the audit trail are committed together before anybody
is told that the answer is stored.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ..errors import InputError, Mismatch, MissingDependency
from ._study import DATABASE, ORDERS, Answer, read_orders
from ._trail import START, Event, canonical, chain_problems, digest

METADATA = sa.MetaData()
STUDY = sa.Table("study", METADATA, sa.Column("identity", sa.String(64), primary_key=True))
ANSWERS = sa.Table(
    "answers",
    METADATA,
    sa.Column("presentation", sa.String(128), primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("reader", sa.String(128), nullable=False, index=True),
    sa.Column("choice", sa.String(16), nullable=False),
    sa.Column("confidence", sa.Integer, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("timed_out", sa.Boolean, nullable=False),
    sa.Column("findings", sa.Text, nullable=False),
    sa.Column("marks", sa.Text, nullable=False),
    sa.Column("answered_at", sa.String(32), nullable=False),
)
EVENTS = sa.Table(
    "events",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(32), nullable=False),
    sa.Column("reader", sa.String(128), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("presentation", sa.String(128), nullable=False, index=True),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Index("events_of_reader", "reader", "kind"),
)
_POOL: dict[str, Any] = {"pool_size": 8, "max_overflow": 32, "hide_parameters": True}
"""Parameters are ids, answers and sessions: no message of an error may hold them."""
_COLUMNS = ("revision", *(field.name for field in fields(Answer)))
_LOCK_KEY = 0x73796E7468
"""Of the advisory lock under which PostgreSQL adds to the trail; any constant will do."""


def now() -> str:
    """Return the time, UTC, ISO 8601 with microseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


class Answers:
    """The answers and the audit trail of one study.

    Args:
        engine: Of the database, as `open_answers` makes it.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self._lock = threading.Lock()  # writers of this process wait here, not in SQLite's polling

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction that may write, alone; committed at its end, rolled back on an exception."""
        with self._lock, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
            yield connection

    def add(self, answer: Answer, *, revision: int = 0, detail: Mapping[str, Any] | None = None) -> bool:
        """Store `answer`, and return after it is on disk.

        Args:
            answer: What the reader said.
            revision: 0 for a first answer, one more for each change.
            detail: More for the event: what the server measured.

        Returns:
            True; False where this presentation has an answer of this revision, which stays as it is.
        """
        row = _row(answer) | {"revision": revision}
        with self.writing() as connection:
            key = (ANSWERS.c.presentation == answer.presentation) & (ANSWERS.c.revision == revision)
            if connection.execute(sa.select(ANSWERS.c.reader).where(key)).first() is not None:
                self._append(connection, answer.reader, "repeat", answer.presentation, {"revision": revision})
                return False
            connection.execute(sa.insert(ANSWERS).values(row))
            event = {"answer": row, "server": dict(detail or {})}
            self._append(connection, answer.reader, "answer", answer.presentation, event)
        return True

    def record(self, reader: str, kind: str, presentation: str = "", **detail: Any) -> None:
        """Add one event to the trail, and return after it is on disk."""
        with self.writing() as connection:
            self._append(connection, reader, kind, presentation, detail)

    @staticmethod
    def _append(connection: sa.Connection, reader: str, kind: str, presentation: str, detail: object) -> None:
        newest = sa.select(EVENTS.c.number, EVENTS.c.digest).order_by(EVENTS.c.number.desc()).limit(1)
        number, before = connection.execute(newest).first() or (0, START)
        event: dict[str, Any] = {"number": number + 1, "at": now(), "reader": reader, "kind": kind}
        event |= {"presentation": presentation, "detail": canonical(detail)}
        connection.execute(sa.insert(EVENTS).values(**event, digest=digest(before, **event)))

    def of_reader(self, reader: str) -> dict[str, tuple[int, Answer]]:
        """Return presentation -> its newest revision and answer."""
        with self.engine.connect() as connection:
            return dict(_newest(connection, sa.select(ANSWERS).where(ANSWERS.c.reader == reader)))

    def answered(self, reader: str) -> dict[str, int]:
        """Return presentation -> newest revision; cheaper than `of_reader`."""
        query = sa.select(ANSWERS.c.presentation, sa.func.max(ANSWERS.c.revision)).where(ANSWERS.c.reader == reader)
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query.group_by(ANSWERS.c.presentation))}

    def events(self, *, reader: str | None = None, kinds: tuple[str, ...] = (), presentation: str = "") -> list[Event]:
        """Return the events of a reader, of some kinds, or of a presentation, oldest first."""
        query = sa.select(EVENTS).order_by(EVENTS.c.number)
        query = query.where(EVENTS.c.reader == reader) if reader is not None else query
        query = query.where(EVENTS.c.kind.in_(kinds)) if kinds else query
        query = query.where(EVENTS.c.presentation == presentation) if presentation else query
        with self.engine.connect() as connection:
            return [Event(*row) for row in connection.execute(query)]

    def seal(self) -> str:
        """Return the digest of the last event."""
        query = sa.select(EVENTS.c.digest).order_by(EVENTS.c.number.desc()).limit(1)
        with self.engine.connect() as connection:
            return connection.execute(query).scalar() or START

    def all(self) -> list[Answer]:
        """Return the newest answer of every presentation, in the order of their first answers."""
        with self.engine.connect() as connection:
            return [answer for _, (_, answer) in _newest(connection, sa.select(ANSWERS))]

    def problems(self) -> list[str]:
        """Return what shows that the database was changed behind the server's back; nothing when it was not."""
        events = self.events()
        told = {_key(json.loads(event.detail)["answer"]): event.detail for event in events if event.kind == "answer"}
        found = list(chain_problems(events))
        with self.engine.connect() as connection:
            stored = {_key(row): row for row in map(dict, connection.execute(sa.select(ANSWERS)).mappings())}
        found += [f"an answer to {key[0]} is missing" for key in sorted(told.keys() - stored.keys())]
        found += [f"an answer to {key[0]} was put in" for key in sorted(stored.keys() - told.keys())]
        both = sorted(stored.keys() & told.keys())
        changed = [key for key in both if json.loads(told[key])["answer"] != stored[key]]
        return found + [f"an answer to {key[0]} was changed" for key in changed]


def _key(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["presentation"], row["revision"]


def _row(answer: Answer) -> dict[str, Any]:
    return asdict(answer) | {"findings": canonical(answer.findings), "marks": canonical(answer.marks)}


def _newest(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[str, tuple[int, Answer]]]:
    """Yield presentation, newest revision and answer of the rows; columns by position, for a study has many rows."""
    order = (ANSWERS.c.answered_at, ANSWERS.c.presentation, ANSWERS.c.revision)
    newest: dict[str, tuple[int, Answer]] = {}
    rows = connection.execute(query.with_only_columns(*(ANSWERS.c[name] for name in _COLUMNS)).order_by(*order))
    for revision, reader, presentation, choice, confidence, seconds, timed_out, findings, marks, at in rows:
        if revision < newest.get(presentation, (0,))[0]:
            continue
        ticked = () if findings == "[]" else tuple(json.loads(findings))
        marked = () if marks == "[]" else tuple(tuple(mark) for mark in json.loads(marks))
        said = (choice, confidence, seconds, timed_out, ticked, marked, at)
        newest[presentation] = revision, Answer(reader, presentation, *said)
    yield from newest.items()


def read_answers(study_folder: Path, database_url: str | None = None) -> list[Answer]:
    """Return what every reader said of every presentation of the study, the training images left out.

    Where a presentation was answered again (`go_back`), its newest answer is returned.

    Args:
        study_folder: Of the study.
        database_url: Of PostgreSQL; None for answers.sqlite in the study's folder.

    Raises:
        InputError: There is no such database, or it cannot be reached.
        Mismatch: It holds the answers of another study.
    """
    training = {shown.id for order in read_orders(study_folder) for shown in order.presentations if shown.block < 0}
    answers = open_answers(study_folder, database_url, create=False)
    try:
        return [answer for answer in answers.all() if answer.presentation not in training]
    finally:
        answers.engine.dispose()


def trail_problems(study_folder: Path, database_url: str | None = None) -> list[str]:
    """Return what shows that answers were changed, removed or put in behind the server's back; normally nothing.

    Raises:
        InputError: There is no such database, or it cannot be reached.
        Mismatch: It holds the answers of another study.
    """
    answers = open_answers(study_folder, database_url, create=False)
    try:
        return answers.problems()
    finally:
        answers.engine.dispose()


def open_answers(study_folder: Path, database_url: str | None = None, *, create: bool) -> Answers:
    """Return the answers of the study; make their tables where there are none and `create` is set.

    Raises:
        InputError: There is no such database, or it cannot be reached.
        Mismatch: It holds the answers of another study.
        MissingDependency: PostgreSQL is asked for and psycopg is absent.
    """
    identity = hashlib.sha256((study_folder / "study.json").read_bytes() + (study_folder / ORDERS).read_bytes())
    path = study_folder / DATABASE
    if database_url is None and not create and not path.exists():
        raise InputError(
            "A study has answers", f"{path} does not exist", "Let readers answer: synthcohort reader serve"
        )
    answers = Answers(_engine(path, database_url))
    try:
        with _explained(path, database_url):
            _check_whole(answers.engine)
            if create:
                METADATA.create_all(answers.engine)
            _claim(answers, identity.hexdigest(), create)
    except BaseException:
        answers.engine.dispose()
        raise
    return answers


@contextmanager
def _explained(path: Path, database_url: str | None) -> Iterator[None]:
    try:
        yield
    except sa.exc.OperationalError as error:
        line = "it cannot be reached" if database_url else f"{path} is no SQLite database, or cannot be written"
        raise InputError("The answers need a database", line, "Check --database and whether its server runs") from error
    except sa.exc.ProgrammingError as error:
        raise InputError("A study has answers", "the database holds none", "Serve the study with it first") from error
    except sa.exc.DatabaseError as error:
        line = f"{path} is none, or damaged"
        raise InputError("The answers need a database", line, "Put a copy of it back, or move it away") from error


def _check_whole(engine: sa.Engine) -> None:
    """Raise DatabaseError where a part of a SQLite file is damaged; PostgreSQL sees to itself."""
    if engine.dialect.name == "sqlite":
        with engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if found != "ok":
            raise sa.exc.DatabaseError(None, None, ValueError("damaged"))


def _claim(answers: Answers, identity: str, create: bool) -> None:
    with answers.writing() as connection:
        found = connection.execute(sa.select(STUDY.c.identity)).scalar()
        if found is None and create:
            connection.execute(sa.insert(STUDY).values(identity=identity))
        elif found != identity:
            raise Mismatch(
                "A database holds the answers of one study", "this one holds another's", "Give another --database"
            )


def _engine(path: Path, url: str | None) -> sa.Engine:
    try:
        if url is not None:
            return _checked(sa.create_engine(url, pool_pre_ping=True, **_POOL))
    except sa.exc.ArgumentError as error:
        rule = "--database is a URL such as postgresql+psycopg://user@host/name"
        raise InputError(rule, "this one cannot be read", "Correct it") from error
    except ModuleNotFoundError as error:
        raise MissingDependency("PostgreSQL needs psycopg: pip install 'synthcohort[postgresql]'") from error
    engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": 30}, **_POOL)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _checked(engine: sa.Engine) -> sa.Engine:
    if engine.dialect.name != "postgresql":
        raise InputError("--database is PostgreSQL's", f"it names {engine.dialect.name}", "Leave it out for SQLite")
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy begins, not sqlite3, which would do so too late
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
