"""The reader's pages: the way through a study, what holds when connections fail, and what a hostile client gets."""

from __future__ import annotations

import asyncio
import csv
import html
import json
import os
import re
import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
import typer
from starlette.testclient import TestClient
from typer.testing import CliRunner

from reader_study import CODE, Study, make_study
from synthcohort._reader_serve_cli import reader_serve
from synthcohort.errors import InputError, Mismatch
from synthcohort.reader import serve as serving
from synthcohort.reader._answers import ANSWERS, EVENTS, Answers, open_answers, read_answers, trail_problems
from synthcohort.reader._limits import Rate
from synthcohort.reader._study import NotAStudy, write_study
from synthcohort.reader._texts import FOLDER, read_texts

START = "http://localhost"


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_study(tmp_path / "study")


class Reader:
    """A browser: signs in, begins, sees, answers."""

    def __init__(self, study: Study, name: str = "reader-01", *, begin: bool = True, app: Any = None) -> None:
        self.study, self.name = study, name
        self.order = study.orders[name].presentations
        self.app = app or serving.application(study.folder, administrator_code=CODE)
        self.client = TestClient(self.app, base_url=START, raise_server_exceptions=False)
        assert self.client.post("/sign-in", data={"code": study.codes[name]}).status_code == 200
        self.csrf = _csrf(self.client.get("/").text)
        if begin:
            self.form("/begin")

    def form(self, path: str, **fields: str) -> Any:
        return self.client.post(path, data={"csrf": self.csrf, **fields})

    def state(self) -> dict[str, Any]:
        return _data(self.client.get("/").text, "state")

    def pixels(self, presentation: str) -> Any:
        return self.client.get(f"/pixels/{presentation}")

    def post(self, path: str, content: object, **headers: str) -> Any:
        return self.client.post(path, json=content, headers={"x-csrf-token": self.csrf, **headers})

    def answer(self, presentation: str, see: bool = True, **fields: Any) -> Any:
        if see:
            assert self.pixels(presentation).status_code == 200
        return self.post("/answer", given(presentation, **fields))


def given(presentation: str, **fields: Any) -> dict[str, Any]:
    plain = {"revision": 0, "choice": "real", "confidence": 3, "seconds": 0.0, "timed_out": False}
    return {"presentation": presentation, **plain, "findings": [], "marks": [], **fields}


def _csrf(page: str) -> str:
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
    assert found
    return found.group(1)


def _data(page: str, name: str) -> Any:
    found = re.search(f'data-{name}="([^"]*)"', page)
    assert found, page
    return json.loads(html.unescape(found.group(1)))


def administrator(study: Study, app: Any) -> tuple[TestClient, str]:
    client = TestClient(app, base_url=START)
    page = client.post("/administrator/sign-in", data={"code": CODE})
    assert page.status_code == 200
    return client, _csrf(page.text)


# The way through.


def test_a_reader_goes_through_the_whole_study(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", images=8, training=2, blocks=2)
    reader = Reader(study, begin=False)
    assert "What you are asked to do" in reader.client.get("/").text
    reader.form("/begin")
    for number, shown in enumerate(reader.order):
        if number in (2, 5):
            page = reader.client.get("/").text
            assert ("The training is over" if number == 2 else "Part 1 of 2 is finished") in page
            assert reader.pixels(shown.id).status_code == 404
            reader.form("/continue", block=str(shown.block))
        state = reader.state()
        assert state["id"] == shown.id
        assert (state["number"], state["of"]) == ((number + 1, 2) if number < 2 else (number - 1, 6))
        values = np.frombuffer(reader.pixels(shown.id).content, "<u2").reshape(16, 16, 1)
        np.testing.assert_array_equal(values, study.images[shown.image])
        result = reader.answer(shown.id, confidence=number % 5 + 1).json()
        assert result["stored"]
        assert result["truth"] == shown.answer
        assert (result["next"] is None) == (number in (1, 4, 7))
    assert "You have read all images" in reader.client.get("/").text
    found = read_answers(study.folder)
    assert [one.presentation for one in found] == [shown.id for shown in reader.order[2:]]
    assert [one.confidence for one in found] == [3, 4, 5, 1, 2, 3]
    assert trail_problems(study.folder) == []


def test_everything_an_answer_holds_is_stored(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", findings=("Effusion", "Mass"), marks=True, time_limit_s=30.0)
    reader = Reader(study)
    first, second = reader.order[:2]
    more = {"findings": ["Mass", "Effusion"], "marks": [[0.25, 1], [0, 0.5]]}
    reader.answer(first.id, choice="synthetic", confidence=5, **more)
    reader.answer(second.id, timed_out=True)
    found = read_answers(study.folder)
    assert (found[0].reader, found[0].choice, found[0].confidence) == ("reader-01", "synthetic", 5)
    assert found[0].findings == ("Effusion", "Mass")
    assert found[0].marks == ((0.25, 1.0), (0.0, 0.5))
    assert [one.timed_out for one in found] == [False, True]


def test_no_image_is_seen_for_longer_than_since_it_was_sent(study: Study) -> None:
    reader = Reader(study)
    reader.answer(reader.order[0].id, seconds=5000.0)
    assert read_answers(study.folder)[0].seconds < 60
    event = next(one for one in open_answers(study.folder, create=False).events() if one.kind == "answer")
    assert json.loads(event.detail)["server"]["client_seconds"] == 5000


def test_time_seen_survives_a_change_of_device(study: Study) -> None:
    reader = Reader(study)
    shown = reader.order[0].id
    reader.pixels(shown)
    time.sleep(0.05)  # nobody has seen an image for longer than since it was sent
    reader.post("/viewing", {"presentation": shown, "kind": "pause", "seconds": 0.02})
    other = Reader(study, app=reader.app)
    assert (other.state()["seconds"], other.state()["paused"]) == (0.02, True)
    other.post("/viewing", {"presentation": shown, "kind": "resume", "seconds": 0.02})
    assert not reader.state()["paused"]


def test_an_image_whose_time_is_over_is_not_sent_again(tmp_path: Path) -> None:
    reader = Reader(make_study(tmp_path / "s", time_limit_s=0.001))
    shown = reader.order[0].id
    reader.pixels(shown)
    time.sleep(0.05)
    reader.post("/viewing", {"presentation": shown, "kind": "seen", "seconds": 0.002})
    assert reader.pixels(shown).status_code == 404
    assert reader.answer(shown, see=False, seconds=0.002).status_code == 200
    assert read_answers(reader.study.folder)[0].timed_out


def test_answers_may_be_changed_where_the_design_says_so(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", go_back=True)
    reader = Reader(study)
    first, second = reader.order[:2]
    reader.answer(first.id)
    assert reader.state()["back"] == first.id
    state = _data(reader.client.get(f"/?at={first.id}").text, "state")
    assert (state["revision"], state["earlier"]["choice"]) == (1, "real")
    assert reader.answer(first.id, revision=1, choice="synthetic").json()["next"]["id"] == second.id
    assert reader.answer(first.id, revision=3).status_code == 409
    (found,) = read_answers(study.folder)
    assert found.choice == "synthetic"
    with open_answers(study.folder, create=False).engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(ANSWERS)).scalar() == 2


def test_otherwise_they_may_not(study: Study) -> None:
    reader = Reader(study)
    first = reader.order[0].id
    reader.answer(first)
    assert _data(reader.client.get(f"/?at={first}").text, "state")["id"] == reader.order[1].id
    assert reader.pixels(first).status_code == 404
    assert reader.answer(first, see=False, revision=1, choice="synthetic").status_code == 400
    assert read_answers(study.folder)[0].choice == "real"


# Lost connections, double clicks, other devices, kills.


def test_an_answer_sent_again_is_stored_once(study: Study) -> None:
    reader = Reader(study)
    first = reader.order[0].id
    one, two = reader.answer(first), reader.answer(first, see=False, choice="synthetic")
    assert (one.json()["stored"], two.json()["stored"]) == (True, False)
    assert one.json()["next"]["id"] == two.json()["next"]["id"] == reader.order[1].id
    assert [answer.choice for answer in read_answers(study.folder)] == ["real"]


def test_the_same_answer_from_eight_sides_at_once_is_stored_once(study: Study) -> None:
    reader = Reader(study)
    first = reader.order[0].id
    reader.pixels(first)
    barrier = threading.Barrier(8)

    def send(_: int) -> bool:
        barrier.wait()
        return bool(reader.answer(first, see=False).json()["stored"])

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(send, range(8))) == [False] * 7 + [True]
    assert len(read_answers(study.folder)) == 1
    assert trail_problems(study.folder) == []


def test_an_answer_that_another_overtakes_is_no_error(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(study)
    first = reader.order[0].id
    reader.pixels(first)
    look = Answers.answered

    def overtaken(self: Answers, name: str) -> dict[str, int]:
        before = look(self, name)
        monkeypatch.setattr(Answers, "answered", look)
        reader.answer(first, see=False, choice="synthetic")  # a second device, between the look and the storing
        return before

    monkeypatch.setattr(Answers, "answered", overtaken)
    response = reader.answer(first, see=False)
    assert (response.status_code, response.json()["stored"]) == (200, False)
    assert [answer.choice for answer in read_answers(study.folder)] == ["synthetic"]


def test_another_device_and_another_server_go_on_at_the_same_image(study: Study) -> None:
    reader = Reader(study)
    for shown in reader.order[:3]:
        reader.answer(shown.id)
    assert Reader(study, app=reader.app, begin=False).state()["id"] == reader.order[3].id
    again = serving.application(study.folder, administrator_code="OTHER")
    restarted = TestClient(again, base_url=START, cookies=reader.client.cookies)
    assert _data(restarted.get("/").text, "state")["id"] == reader.order[3].id


def test_a_database_belongs_to_one_study(study: Study, tmp_path: Path) -> None:
    open_answers(study.folder, create=True).engine.dispose()
    other = make_study(tmp_path / "other", images=5)
    shutil.copy(study.folder / "answers.sqlite", other.folder)
    with pytest.raises(Mismatch, match="another"):
        open_answers(other.folder, create=True)


def test_a_change_behind_the_server_shows(study: Study) -> None:
    reader = Reader(study)
    for shown in reader.order[:3]:
        reader.answer(shown.id)
    answers = open_answers(study.folder, create=False)
    with answers.writing() as connection:
        key = ANSWERS.c.presentation == reader.order[1].id
        connection.execute(sa.update(ANSWERS).where(key).values(choice="synthetic"))
    assert trail_problems(study.folder) == [f"an answer to {reader.order[1].id} was changed"]
    with answers.writing() as connection:
        connection.execute(sa.update(EVENTS).where(EVENTS.c.number == 2).values(reader="reader-02"))
    assert trail_problems(study.folder)[0] == "event 2 was changed"
    with answers.writing() as connection:
        connection.execute(sa.delete(EVENTS).where(EVENTS.c.number == 1))
    assert trail_problems(study.folder)[0] == "event 1 is missing"


# Nothing betrays the answer.


def test_the_truth_is_never_opened(study: Study) -> None:
    (study.folder / "truth").mkdir()
    (study.folder / "truth" / "truth.parquet").write_bytes(b"truth")
    opened: list[str] = []
    listening = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if listening and event in ("open", "os.listdir", "os.scandir") and "truth" in Path(str(arguments[0])).parts:
            opened.append(str(arguments[0]))

    sys.addaudithook(hook)
    try:
        (study.folder / "truth" / "truth.parquet").read_bytes()
        assert len(opened) == 1  # the hook works
        reader = Reader(study)
        for shown in reader.order:
            reader.answer(shown.id)
        client, _ = administrator(study, reader.app)
        client.get("/administrator/answers.csv")
    finally:
        listening = False
    assert len(opened) == 1


def test_every_image_and_every_answer_is_the_same_to_the_wire(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", images=9, dtype="uint8", channels=3)
    study.images[::2] = 0  # every other image would compress to nothing
    np.save(study.folder / "served/images.npy", study.images)
    write_study(study.folder, study.design, tuple(study.orders.values()))
    reader = Reader(study)
    seen: Counter[str] = Counter()
    lengths = set()
    for shown in reader.order:
        page, pixels = reader.client.get("/"), reader.pixels(shown.id)
        answered = reader.answer(shown.id, see=False)
        for response in (pixels, page, answered):
            seen[str(sorted((k, v) for k, v in response.headers.items()))] += 1
        lengths.add((len(pixels.content), len(page.text) - 4 * len(str(reader.order.index(shown) + 1))))
        assert shown.id in page.text
        assert "label" not in page.headers
    assert {length for length, _ in lengths} == {16 * 16 * 3}
    # pages of one digit's numbers have one length, and so have their answers, but for the last, which has no next
    assert len({length for _, length in lengths}) == 1
    assert sorted(seen.values()) == [1, 8, 9, 9]


def test_no_page_says_how_many_are_synthetic_or_where_the_study_lies(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", images=40, synthetic=17)
    reader = Reader(study, begin=False)
    page = reader.client.get("/").text
    assert not re.search(r"\b(17|23)\b", re.sub(r'value="[^"]*"', "", page))
    reader.form("/begin")
    page = reader.client.get("/").text
    told = {**_data(page, "told"), **reader.state()}
    assert not {"synthetic", "margin", "seed", "cohorts", "answer", "image"} & told.keys()
    assert str(tmp_path) not in page


# Hostile clients.


def test_readers_see_only_their_own_images_and_only_the_one_they_stand_at(study: Study) -> None:
    first = Reader(study)
    second = Reader(study, "reader-02", app=first.app)
    theirs = second.order[0].id
    unknown = first.pixels("x" * 22)
    for foreign in (theirs, first.order[1].id, first.order[-1].id):
        assert first.pixels(foreign).status_code == 404
        assert first.pixels(foreign).text == unknown.text
    assert first.post("/answer", given(theirs)).status_code == 404
    assert first.post("/answer", given(first.order[1].id)).status_code == 409
    assert first.post("/answer", given(first.order[0].id)).status_code == 409  # never shown
    assert first.post("/viewing", {"presentation": theirs, "kind": "pause", "seconds": 1}).status_code == 404
    assert read_answers(study.folder) == []


def test_nothing_without_a_session(study: Study) -> None:
    client = TestClient(serving.application(study.folder, administrator_code=CODE), base_url=START)
    shown = study.orders["reader-01"].presentations[0].id
    assert client.get(f"/pixels/{shown}").status_code == 401
    for path in ("/answer", "/viewing", "/begin", "/continue", "/sign-out", "/administrator/close"):
        assert client.post(path, content=b"").status_code in (400, 401)
    for path in ("/administrator/answers.csv", "/administrator/trail.csv"):
        assert client.get(path).status_code == 401
    assert "Enter the administrator" in client.get("/administrator").text


def test_a_reader_is_no_administrator(study: Study) -> None:
    reader = Reader(study)
    assert reader.client.get("/administrator/answers.csv").status_code == 401
    assert reader.form("/administrator/close").status_code == 401
    (name,) = reader.client.cookies.keys()
    reader.client.cookies.set(name.replace("reader", "administrator"), reader.client.cookies[name])
    assert reader.client.get("/administrator/answers.csv").status_code == 401


def test_requests_from_other_sites_are_refused(study: Study) -> None:
    reader = Reader(study)
    reader.pixels(reader.order[0].id)
    for token in ("", "0" * 64, reader.csrf[:-1], "é"):
        headers = {"x-csrf-token": token.encode("latin-1")}
        assert reader.client.post("/answer", json=given(reader.order[0].id), headers=headers).status_code == 403
        assert reader.client.post("/sign-out", data={"csrf": token}).status_code in (400, 403)
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        code = {"code": study.codes["reader-01"]}
        assert reader.client.post("/sign-in", data=code, headers=headers).status_code == 403
    assert reader.client.get("/", headers={"host": "evil.example"}).status_code == 400
    assert read_answers(study.folder) == []


BAD = [
    pytest.param(b"", id="empty"),
    pytest.param(b"\xff\xfe", id="no text"),
    pytest.param(b"[" * 60_000, id="deep"),
    pytest.param(b"[1]", id="a list"),
    pytest.param({"choice": "fake"}, id="choice"),
    pytest.param({"choice": ["real"]}, id="choice as list"),
    pytest.param({"choice": "real'; DROP TABLE answers;--"}, id="sql"),
    pytest.param({"confidence": 0}, id="confidence 0"),
    pytest.param({"confidence": 6}, id="confidence 6"),
    pytest.param({"confidence": True}, id="confidence true"),
    pytest.param({"confidence": 3.0}, id="confidence float"),
    pytest.param({"revision": 1}, id="revision"),
    pytest.param({"revision": -1}, id="revision -1"),
    pytest.param({"seconds": -1}, id="seconds"),
    pytest.param({"seconds": "1"}, id="seconds text"),
    pytest.param({"seconds": 10**400}, id="seconds huge"),
    pytest.param({"timed_out": 1}, id="timed out"),
    pytest.param({"findings": ["<script>alert(1)</script>"]}, id="html"),
    pytest.param({"findings": "Mass"}, id="findings text"),
    pytest.param({"findings": [["Mass"]]}, id="findings nested"),
    pytest.param({"marks": [[0.5, 1.5]]}, id="mark outside"),
    pytest.param({"marks": [[0.5]]}, id="mark short"),
    pytest.param({"marks": [[0.5, "x"]]}, id="mark text"),
    pytest.param({"marks": [[0.5, 0.5]] * 51}, id="marks many"),
    pytest.param({"presentation": ""}, id="no id"),
    pytest.param({"presentation": {"a": 1}}, id="id object"),
    pytest.param({"presentation": "x" * 129}, id="id long"),
    pytest.param({"truth": "real"}, id="a field more"),
]


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A reader with findings and marks at their first image."""
    study = make_study(tmp_path_factory.mktemp("patient") / "s", findings=("Mass",), marks=True)
    reader = Reader(study)
    reader.pixels(reader.order[0].id)
    yield reader
    assert read_answers(study.folder) == []
    assert reader.answer(reader.order[0].id, findings=["Mass"]).json()["stored"]


@pytest.mark.parametrize("content", BAD)
def test_what_is_no_answer_is_refused(patient: Reader, content: Any) -> None:
    whole = content if isinstance(content, bytes) else json.dumps(given(patient.order[0].id) | content).encode()
    response = patient.client.post("/answer", content=whole, headers={"x-csrf-token": patient.csrf})
    assert response.status_code == 400
    assert "Traceback" not in response.text
    assert "<script>alert" not in response.text


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(patient: Reader, value: str) -> None:
    text = json.dumps(given(patient.order[0].id)).replace('"seconds": 0.0', f'"seconds": {value}')
    response = patient.client.post("/answer", content=text, headers={"x-csrf-token": patient.csrf})
    assert response.status_code == 400


def test_a_connection_that_breaks_in_mid_answer_is_no_error(study: Study) -> None:
    app, sent = serving.application(study.folder, administrator_code=CODE), list[Any]()
    parts = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(parts)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/answer", "headers": [(b"host", b"localhost")]}
    scope |= {"query_string": b"", "client": ("127.0.0.1", 1), "root_path": "", "scheme": "http", "http_version": "1.1"}
    asyncio.run(app(scope, receive, send))  # uvicorn makes eighty lines of log of an exception
    assert sent[0]["status"] == 400


def test_bodies_have_a_limit(patient: Reader) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    headers = {"x-csrf-token": patient.csrf}
    assert patient.client.post("/answer", content=b"x" * 70_000, headers=headers).status_code == 413
    assert patient.client.post("/answer", content=parts(), headers=headers).status_code == 413
    assert patient.client.post("/sign-in", content=b"code=" + b"x" * 70_000).status_code == 413


PATHS = [
    "/static/../serve.py",
    "/static/%2e%2e/serve.py",
    "/static/..%2f..%2fetc/passwd",
    "/static//etc/passwd",
    "/pixels/../../truth/truth.parquet",
    "/pixels/%2e%2e%2ftruth",
    "/truth/truth.parquet",
    "/served/orders.json",
    "/invitations.csv",
    "/study.json",
    "/%00",
    "/static/%00",
    "/pixels/%00",
    "/pixels/" + "x" * 5000,
]


@pytest.mark.parametrize("path", PATHS)
def test_path_tricks_get_nothing(patient: Reader, path: str) -> None:
    response = patient.client.get(path)
    assert response.status_code in (400, 404)
    assert "root:" not in response.text
    assert "def " not in response.text


@pytest.mark.parametrize("code", ["' OR 1=1 --", "<script>alert(1)</script>", "\x00", "é" * 100, "x" * 60_000])
def test_forged_codes_open_nothing(study: Study, code: str) -> None:
    client = TestClient(serving.application(study.folder, administrator_code=CODE), base_url=START)
    for path in ("/sign-in", "/administrator/sign-in"):
        response = client.post(path, data={"code": code})
        assert response.status_code in (400, 401)
        assert "<script>alert" not in response.text
    assert not client.cookies


def test_guessing_codes_ends_after_twenty(study: Study) -> None:
    client = TestClient(serving.application(study.folder, administrator_code=CODE), base_url=START)
    statuses = [client.post("/sign-in", data={"code": f"GUESS{i}"}).status_code for i in range(25)]
    assert statuses == [401] * 20 + [429] * 5
    assert client.post("/administrator/sign-in", data={"code": CODE}).status_code == 429


def test_a_flood_is_held_back_and_harms_nobody_else(study: Study) -> None:
    reader = Reader(study)
    statuses = Counter(reader.client.get(f"/pixels/{i}").status_code for i in range(500))
    assert statuses[429] > 200
    assert set(statuses) <= {404, 429}
    assert Reader(study, "reader-02", app=reader.app).answer(study.orders["reader-02"].presentations[0].id).is_success


def test_buckets_fill_again_and_are_forgotten() -> None:
    rate = Rate(1e9, 2)
    assert all(rate.take("a") for _ in range(100))
    slow = Rate(1e-9, 2)
    assert [slow.take("a") for _ in range(3)] == [True, True, False]
    for i in range(20_000):
        slow.take(str(i))
    assert len(slow._buckets) <= 10_001


def test_headers_and_cookies(study: Study) -> None:
    app = serving.application(study.folder, administrator_code=CODE, secure=True)
    client = TestClient(app, base_url="https://localhost")
    response = client.post("/sign-in", data={"code": study.codes["reader-01"]}, follow_redirects=False)
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("__Host-")
    for part in ("HttpOnly", "SameSite=strict", "Secure", "Path=/", "Max-Age=43200"):
        assert part in cookie
    for path in ("/", "/static/read.js", "/nothing", "/pixels/x"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
        assert "max-age" in headers["strict-transport-security"]
        assert "server" not in headers
        assert "etag" not in headers or "static" in path


def test_a_session_ends(study: Study) -> None:
    reader = Reader(study)
    cookies = dict(reader.client.cookies)
    reader.form("/sign-out")
    client = TestClient(reader.app, base_url=START, cookies=cookies)
    assert "Enter the code" in client.get("/").text


def test_the_log_holds_neither_codes_nor_ids(study: Study, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="synthcohort.reader"):
        reader = Reader(study)
        reader.answer(reader.order[0].id)
        reader.client.get(f"/?at={reader.order[0].id}&code={study.codes['reader-01']}")
        reader.client.get("/made-up-by-a-stranger")
    text = caplog.text
    assert "GET /pixels 200" in text
    secrets = [reader.order[0].id, study.codes["reader-01"], "stranger", "reader-01", reader.csrf]
    assert not [word for word in secrets if word in text]


def test_an_error_inside_shows_a_plain_page(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(study)
    monkeypatch.setattr("synthcohort.reader._pages.standing", lambda *_: 1 / 0)
    response = reader.client.get("/")
    assert response.status_code == 500
    assert "The server could not do this" in response.text
    assert "Division" not in response.text


def test_no_page_holds_scripts_styles_or_other_addresses() -> None:
    for path in [*(FOLDER / "templates").iterdir(), *(FOLDER / "static").iterdir()]:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|url\(|innerHTML|eval\(", text), path
        assert not re.search(r"<script(?![^>]*src=)|<style|style=|\son\w+=|\|\s*safe", text), path


# The administrator.


def test_the_administrator_sees_progress_closes_reopens_and_downloads(study: Study) -> None:
    reader = Reader(study)
    reader.answer(reader.order[0].id)
    client, csrf = administrator(study, reader.app)
    page = client.get("/administrator").text
    assert "1 / 6" in page
    assert page.count("not begun") == 1
    client.post("/administrator/close", data={"csrf": csrf})
    assert "The study is closed" in reader.client.get("/").text
    assert reader.pixels(reader.order[1].id).status_code == 423
    assert reader.answer(reader.order[1].id, see=False).status_code == 423
    client.post("/administrator/reopen", data={"csrf": csrf})
    assert reader.answer(reader.order[1].id).json()["stored"]
    lines = client.get("/administrator/answers.csv").text.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("reader,presentation,choice,confidence,seconds")
    trail = client.get("/administrator/trail.csv").text
    assert trail.splitlines()[-1].split(",")[3] == "download"
    assert open_answers(study.folder, create=False).seal() in client.get("/administrator").text


def test_downloaded_findings_and_marks_are_json(tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", findings=("Effusion", "Mass"), marks=True)
    reader = Reader(study)
    reader.answer(reader.order[0].id, findings=["Mass"], marks=[[0.5, 0.25]])
    reader.answer(reader.order[1].id)
    client, _ = administrator(study, reader.app)
    first, second = csv.DictReader(client.get("/administrator/answers.csv").text.splitlines())
    assert [json.loads(first[name]) for name in ("findings", "marks")] == [["Mass"], [[0.5, 0.25]]]
    assert [second[name] for name in ("findings", "marks")] == ["[]", "[]"]


def test_the_study_name_is_text_not_html(study: Study) -> None:
    reader = Reader(study)
    for page in (reader.client.get("/").text, administrator(study, reader.app)[0].get("/administrator").text):
        assert "A &lt;b&gt;study&lt;/b&gt;" in page
        assert "<b>study" not in page


# Texts, addresses, links.


def test_a_translation_must_be_whole(tmp_path: Path) -> None:
    texts = read_texts()
    path = tmp_path / "texts_de.json"
    path.write_text(json.dumps({**texts, "sign_in.submit": "Beginnen"}))
    assert read_texts(path)["sign_in.submit"] == "Beginnen"
    path.write_text(json.dumps({**texts, "instructions.task": "{m} Bilder"}))
    with pytest.raises(InputError, match=r"instructions\.task"):
        read_texts(path)
    path.write_text(json.dumps({"language": "de"}))
    with pytest.raises(InputError, match="keys"):
        read_texts(path)


def test_every_text_is_used_and_every_used_text_exists() -> None:
    sources = [path.read_text() for folder in ("templates", "static") for path in (FOLDER / folder).iterdir()]
    used = {key for text in sources for key in re.findall(r"t\('([\w.]+)'", text)}
    scripts = "".join(path.read_text() for path in (FOLDER / "static").glob("*.js"))
    for key in read_texts():
        name = key.removeprefix("script.")
        spoken = f'"{name}"' in scripts or name.startswith(("truth_", "said_"))
        assert key in used or (key != name and spoken) or key.startswith("error."), key
    assert used <= read_texts().keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tls_cert": Path("a.pem")}, "--tls-key"),
        ({"host": "0.0.0.0"}, "--name"),
        ({"behind_proxy": "127.0.0.1"}, "--name"),
        ({"port": 70000}, "address"),
        ({"host": "203.0.113.9"}, "address"),
        ({"tls_cert": Path("a.pem"), "tls_key": Path("b.pem"), "port": 0}, "certificate"),
        ({"database_url": "mysql://x/y"}, "--database|psycopg|PostgreSQL"),
    ],
)
def test_mistakes_in_options_are_one_line(study: Study, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        serving.serve(study.folder, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "link", "warned"),
    [
        ({}, "http://127.0.0.1:", False),
        ({"host": "0.0.0.0", "name": "reading.example"}, "http://reading.example:", True),
        ({"behind_proxy": "127.0.0.1", "name": "reading.example"}, "https://reading.example/#code=", False),
    ],
)
def test_links(study: Study, monkeypatch: pytest.MonkeyPatch, options: Any, link: str, warned: bool) -> None:
    told: list[serving.Links] = []

    class Server:
        def __init__(self, _config: object) -> None: ...

        def run(self, sockets: list[Any]) -> None:
            sockets[0].close()

    monkeypatch.setattr(serving.uvicorn, "Server", Server)
    serving.serve(study.folder, port=0, tell=told.append, **options)
    (links,) = told
    assert links.readers.keys() == study.codes.keys()
    assert all(one.startswith(link) for one in links.readers.values())
    assert links.readers["reader-01"].endswith(f"#code={study.codes['reader-01']}")
    assert bool(links.warning) == warned


@pytest.mark.slow
@pytest.mark.skipif("READER_TEST_DATABASE" not in os.environ, reason="READER_TEST_DATABASE names no PostgreSQL")
def test_postgresql_keeps_the_same_promises(study: Study) -> None:
    url = os.environ["READER_TEST_DATABASE"]
    app = serving.application(study.folder, administrator_code=CODE, database_url=url)
    reader = Reader(study, app=app)
    first = reader.order[0].id
    reader.pixels(first)
    with ThreadPoolExecutor(8) as pool:
        stored = list(pool.map(lambda _: reader.answer(first, see=False).json()["stored"], range(8)))
    assert sorted(stored) == [False] * 7 + [True]
    assert [answer.presentation for answer in read_answers(study.folder, url)] == [first]
    assert trail_problems(study.folder, url) == []
    with pytest.raises(InputError, match="another"):
        serving.application(
            make_study(study.folder.parent / "other", images=3).folder, administrator_code="x", database_url=url
        )
    with pytest.raises(InputError, match="reached"):
        read_answers(study.folder, "postgresql+psycopg://nobody@127.0.0.1:1/none")
    with TestClient(app, base_url=START):
        pass  # its end closes the connections


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1, 16]},
        {"shape": ["1", "16", "16"]},
        {"dtype": "nonsense"},
        {"window": [1]},
        {"window": [5, 5]},
        {"window": [0, float("nan")]},
        {"images": "6"},
        {"blocks": 0},
        {"training": -1},
        {"findings": [1]},
        {"findings": "Mass"},
        {"readers": "reader-01"},
        {"marks": "no"},
        {"time_limit_s": "5"},
        {"time_limit_s": float("inf")},
        {"margin": None},
        {"alpha": 2},
        {"name": 5},
        {"cohorts": []},
        {"files": {"served/images.npy": 1}},
        {"another": 1},
    ],
)
def test_a_damaged_design_is_one_line(study: Study, change: dict[str, Any]) -> None:
    path = study.folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(NotAStudy, match=r"readable study\.json"):
        serving.application(study.folder, administrator_code=CODE)
    assert not (study.folder / "answers.sqlite").exists()


@pytest.mark.parametrize("name", ["served/images.npy", "served/orders.json"])
@pytest.mark.parametrize("damage", ["empty", "half", "other", "turned", "gone", "folder"])
def test_damaged_files_are_one_line(study: Study, name: str, damage: str) -> None:
    path = study.folder / name
    whole = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "turned" and name.endswith("npy"):
        np.save(path, study.images[::-1])  # fits in every way, and every image has another's truth
    elif damage != "gone":
        path.write_bytes(
            {"empty": b"", "half": whole[: len(whole) // 2], "other": b"PK\x03\x04", "turned": b"[]"}[damage]
        )
    with pytest.raises(NotAStudy) as caught:
        serving.application(study.folder, administrator_code=CODE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 9, b"\xff", b"reader\na\n", b"reader,code\na\n", b"reader,code\na,b,c\n"]
)
def test_damaged_invitations_are_one_line(study: Study, content: bytes) -> None:
    (study.folder / "invitations.csv").write_bytes(content)
    with pytest.raises(InputError, match="Invitations are a table"):
        serving.serve(study.folder, port=0)


def test_a_half_written_study_is_none(study: Study) -> None:
    half = study.folder.rename(study.folder.with_name("study.partial-0123456789ab"))
    with pytest.raises(NotAStudy, match="half-written"):
        serving.application(half, administrator_code=CODE)


def test_a_damaged_database_is_one_line(study: Study) -> None:
    reader = Reader(study)
    for shown in reader.order:
        reader.answer(shown.id)
    path = study.folder / "answers.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for act in (lambda: serving.application(study.folder, administrator_code=CODE), lambda: read_answers(study.folder)):
        with pytest.raises(InputError, match="damaged"):
            act()


def test_a_full_disk_is_told_and_nothing_stored_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synthcohort.reader._pages.SESSION_BURST", 1e9)
    study = make_study(tmp_path / "s", images=60)
    reader, stored, most = Reader(study), list[str](), 1  # as many pages as there are: SQLite's own full disk

    def limit(connection: Any, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {most}")

    sa.event.listen(sa.pool.Pool, "checkout", limit)
    try:
        for shown in reader.order:
            seen = reader.pixels(shown.id)
            response = reader.answer(shown.id, see=False) if seen.status_code == 200 else seen
            if response.status_code != 200:
                break
            stored.append(shown.id)
        assert response.status_code == serving.NOT_STORED
        assert "cannot store" in response.text
        told = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert told == [
            "Nothing can be stored: the database says 'database or disk is full'. Readers wait and try again."
        ]
        most = 1_000_000
        for shown in reader.order[len(stored) :]:
            reader.answer(shown.id)
    finally:
        sa.event.remove(sa.pool.Pool, "checkout", limit)
    assert stored
    assert {answer.presentation for answer in read_answers(study.folder)} == {shown.id for shown in reader.order}
    assert trail_problems(study.folder) == []


def test_a_file_that_is_no_database_is_one_line(study: Study) -> None:
    (study.folder / "answers.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(InputError, match="none"):
        serving.application(study.folder, administrator_code=CODE)
    (study.folder / "answers.sqlite").unlink()
    with pytest.raises(InputError, match="does not exist"):
        read_answers(study.folder)


def test_the_command_prints_the_links(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer()
    app.command()(reader_serve)
    monkeypatch.setattr(serving.uvicorn.Server, "run", lambda self, sockets: sockets[0].close())
    done = CliRunner().invoke(app, [str(study.folder), "--port", "0"])
    assert done.exit_code == 0, done.output
    *links, after = done.stdout.splitlines()
    assert [line.split()[0].strip(",") for line in links] == [*study.codes, "administrator"]
    assert f"synthcohort reader analyse {study.folder} --out" in after
    (study.folder / "invitations.csv").unlink()
    done = CliRunner().invoke(app, [str(study.folder), "--port", "0", "--host", "0.0.0.0", "--name", "a.example"])
    assert "taken away" in done.stdout
    assert "Without TLS" in done.stderr
