"""The reader's pages in a real browser: keyboard alone, a narrow screen, lost connections, pixels, accessibility."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reader_study import Server, Study, make_study
from synthcohort.reader._answers import read_answers, trail_problems

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")]
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
IMAGES = 100
READY = "body[data-phase=reading]"
SETTLED_MS = 230


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)


@pytest.fixture(scope="module")
def hundred(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Study, Server]]:
    study = make_study(tmp_path_factory.mktemp("hundred") / "s", images=IMAGES, readers=3, side=64)
    with Server(study) as server:
        yield study, server


def plan(presentation: str) -> tuple[str, int]:
    """Return what a reader of these tests answers: something else for every image."""
    number = sum(map(ord, presentation))
    return ("real", "synthetic")[number % 2], number // 2 % 5 + 1


def enter(page: Any, link: str) -> None:
    page.goto(link)
    page.wait_for_selector("button.main:focus >> text=Begin")
    page.keyboard.press("Enter")
    current(page)


def current(page: Any, after: str = "") -> str:
    """Wait for the image after `after`; return its presentation."""
    page.wait_for_selector(f"{READY} main:not([data-presentation='{after}'])", timeout=60_000)
    page.wait_for_timeout(SETTLED_MS)
    return str(page.locator("main").get_attribute("data-presentation"))


def press(page: Any, presentation: str) -> None:
    choice, confidence = plan(presentation)
    page.keyboard.press({"real": "r", "synthetic": "s"}[choice])
    page.keyboard.press(str(confidence))


def check(study: Study, reader: str) -> None:
    found = [answer for answer in read_answers(study.folder) if answer.reader == reader]
    assert [answer.presentation for answer in found] == [shown.id for shown in study.orders[reader].presentations]
    assert [(answer.choice, answer.confidence) for answer in found] == [plan(answer.presentation) for answer in found]
    assert all(0.1 < answer.seconds < 120 for answer in found)
    assert trail_problems(study.folder) == []


def read_all(page: Any, answer: Any) -> None:
    shown = ""
    for _ in range(IMAGES):
        shown = current(page, shown)
        answer(page, shown)
    page.wait_for_selector("text=You have read all images")


def test_a_reader_finishes_by_keyboard_alone(browser: Any, hundred: tuple[Study, Server]) -> None:
    study, server = hundred
    page = browser.new_context().new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    enter(page, server.link("reader-01"))
    assert "code" not in page.url
    read_all(page, press)
    check(study, "reader-01")
    assert problems == []


def test_another_by_mouse_on_a_narrow_screen(browser: Any, hundred: tuple[Study, Server]) -> None:
    study, server = hundred
    page = browser.new_context(viewport={"width": 400, "height": 800}).new_page()

    def click(page: Any, shown: str) -> None:
        assert page.evaluate("document.documentElement.scrollWidth") <= 400
        choice, confidence = plan(shown)
        page.locator(f".pick:has(input[value='{confidence}'])").click()
        page.locator(f".pick:has(input[value='{choice}'])").dblclick()

    page.goto(server.link("reader-02"))
    page.click("text=Begin")
    read_all(page, click)
    check(study, "reader-02")


def test_a_third_loses_the_connection_and_reloads(browser: Any, hundred: tuple[Study, Server]) -> None:
    study, server = hundred
    context = browser.new_context()
    page = context.new_page()
    enter(page, server.link("reader-03"))
    times = iter(range(IMAGES))

    def stumble(page: Any, shown: str) -> None:
        time = next(times)
        if time % 20 == 5:  # the connection is lost before the answer leaves
            context.set_offline(True)
            press(page, shown)
            page.wait_for_selector("text=No connection")
            context.set_offline(False)
        elif time % 20 == 10:  # reloaded between the two halves of an answer
            page.keyboard.press({"real": "r", "synthetic": "s"}[plan(shown)[0]])
            page.reload()
            assert current(page) == shown
            page.keyboard.press(str(plan(shown)[1]))
        elif time % 20 == 15:  # the answer is stored and the response is lost
            page.route("**/answer", lambda route: (route.fetch(), route.abort()), times=1)
            press(page, shown)
        elif time == 18:  # closed while an answer waits, and opened again
            context.set_offline(True)
            press(page, shown)
            page.wait_for_selector("text=No connection")
            context.set_offline(False)
            page.reload()
        elif time == 38:  # the server is killed under the answer
            server.kill()
            press(page, shown)
            page.wait_for_selector("text=No connection")
            server.start()
        else:
            press(page, shown)

    read_all(page, stumble)
    check(study, "reader-03")


@pytest.fixture(scope="module")
def rich(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Study, Server]]:
    options = {"findings": ("Effusion", "Mass"), "marks": True, "go_back": True, "time_limit_s": 300.0}
    study = make_study(tmp_path_factory.mktemp("rich") / "s", images=9, training=2, blocks=2, readers=3, **options)
    with Server(study) as server:
        yield study, server


def test_findings_marks_pause_training_and_going_back(browser: Any, rich: tuple[Study, Server]) -> None:
    study, server = rich
    page = browser.new_context().new_page()
    enter(page, server.link("reader-01"))
    for shown in study.orders["reader-01"].presentations[:2]:
        assert current(page) == shown.id
        press(page, shown.id)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#notice:has-text('This image is {shown.answer}')")
        page.keyboard.press("Enter")
    page.wait_for_selector("button.main:focus >> text=Go on")
    page.keyboard.press("Enter")
    shown = current(page)
    page.click("#zoom-in")  # and leaves the keyboard to the answers: Enter would zoom once more otherwise
    for key in ("a", "m", "ArrowRight", " ", "ArrowUp", " ", "Backspace", "m", "p"):
        page.keyboard.press(key)
    assert page.locator("#cover").is_visible()
    page.wait_for_timeout(1500)
    page.keyboard.press("p")
    page.wait_for_timeout(SETTLED_MS)
    press(page, shown)
    page.keyboard.press("Enter")
    following = current(page, shown)
    page.click("#back")
    assert current(page, following) == shown
    page.keyboard.press("s")
    page.keyboard.press("5")
    page.keyboard.press("Enter")
    assert current(page, shown) == following
    (answer,) = read_answers(study.folder)
    assert (answer.choice, answer.confidence, answer.findings) == ("synthetic", 5, ("Effusion",))
    assert answer.marks == ((0.52, 0.5),)
    assert answer.seconds < 4


def test_the_time_limit_hides_the_image(browser: Any, tmp_path: Path) -> None:
    study = make_study(tmp_path / "s", time_limit_s=1.0)
    with Server(study) as server:
        page = browser.new_context().new_page()
        enter(page, server.link("reader-01"))
        page.wait_for_selector("body[data-phase=over]")
        pixels = np.asarray(
            Image.open(io.BytesIO(page.screenshot(clip={"x": 0, "y": 100, "width": 300, "height": 100})))
        )
        assert pixels.max() == 0
        page.reload()
        page.wait_for_selector("body[data-phase=over]")
        page.wait_for_timeout(SETTLED_MS)
        page.keyboard.press("r")
        page.keyboard.press("1")
        page.wait_for_selector("#progress[value='1']")
    (answer,) = read_answers(study.folder)
    assert answer.timed_out


def windowed(values: np.ndarray[Any, Any], low: float, high: float) -> np.ndarray[Any, Any]:
    return np.clip(np.rint((values.astype(np.float64) - low) / (high - low) * 255), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("ratio", [1, 2])
@pytest.mark.parametrize(("dtype", "channels"), [("uint16", 1), ("uint8", 1), ("uint8", 3), ("uint16", 3)])
def test_every_pixel_is_the_windowed_value(browser: Any, tmp_path: Path, dtype: str, channels: int, ratio: int) -> None:
    study = make_study(tmp_path / "s", side=64, dtype=dtype, channels=channels)
    with Server(study) as server:
        context = browser.new_context(viewport={"width": 1200, "height": 800}, device_scale_factor=ratio)
        page = context.new_page()
        enter(page, server.link("reader-01"))
        values = study.images[study.orders["reader-01"].presentations[0].image]
        windows = set()
        for keys in ((), ("q",) * 4, ("z", "z", "z"), ("w", "w", "x"), ("+",), ("-", "-", "-")):
            for key in keys:
                page.keyboard.press(key)
            windows.add(_compare(page, values, ratio))
        page.locator("#image").hover()
        page.mouse.down(button="right")
        page.mouse.move(500, 333, steps=3)
        page.mouse.up(button="right")
        windows.add(_compare(page, values, ratio))
        page.click("#window-image")
        assert _compare(page, values, ratio) == (values.min(), values.max())
        page.keyboard.press("c")
        assert _compare(page, values, ratio) == study.design.window
        assert len(windows) == 5


def _compare(page: Any, values: np.ndarray[Any, Any], ratio: int) -> tuple[float, float]:
    facts = page.evaluate("({...document.getElementById('image').dataset})")
    box = page.locator("#image").bounding_box()
    low, high = map(float, facts["window"].split())
    scale, left, top = (int(facts[name]) for name in ("scale", "left", "top"))
    screen = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB"))
    assert screen.shape[:2] == (box["height"] * ratio, box["width"] * ratio)
    expected = np.broadcast_to(windowed(values, low, high), (*values.shape[:2], 3)).repeat(scale, 0).repeat(scale, 1)
    y, x = max(0, -top), max(0, -left)
    shown = screen[max(0, top) : top + len(expected), max(0, left) : left + len(expected)]
    assert shown.size > 10_000
    np.testing.assert_array_equal(shown, expected[y : y + shown.shape[0], x : x + shown.shape[1]])
    return low, high


AUDIT = """() => {
  const problems = [];
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => v / 255).map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = rgb(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour.slice(0, 3);
    }
    return [255, 255, 255];
  };
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest(":disabled, [aria-disabled=true]")) continue;
    const style = getComputedStyle(element);
    const pair = [luminance(rgb(style.color)), luminance(behind(element))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) problems.push(`contrast ${contrast.toFixed(1)}: ${element.outerHTML.slice(0, 80)}`);
    if (parseFloat(style.fontSize) < 12) problems.push(`small: ${element.outerHTML.slice(0, 80)}`);
  }
  for (const control of document.querySelectorAll("input:not([type=hidden]), button, a, progress, [role=img]")) {
    const name = control.labels?.[0]?.textContent || control.getAttribute("aria-label") || control.textContent;
    if (control.checkVisibility() && !name.trim()) problems.push(`no name: ${control.outerHTML.slice(0, 80)}`);
    const box = (control.closest("label") ?? control).getBoundingClientRect();
    const pressed = control.matches("input, button");
    if (pressed && control.checkVisibility() && Math.min(box.width, box.height) < 24) problems.push("small target");
  }
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  if (new Set(ids).size !== ids.length) problems.push("an id twice");
  if (!document.documentElement.lang || !document.title) problems.push("no language or title");
  if (document.querySelectorAll("h1").length !== 1) problems.push("not one h1");
  if (document.querySelectorAll("main").length !== 1) problems.push("not one main");
  if (document.querySelectorAll("fieldset > legend").length !== document.querySelectorAll("fieldset").length)
    problems.push("a group without a name");
  if (!document.querySelector("[role=status], [role=alert]") && document.body.className === "read")
    problems.push("nothing is announced");
  if (document.documentElement.scrollWidth > innerWidth) problems.push("wider than the screen");
  return problems;
}"""
FOCUS = """() => {
  const element = document.activeElement;
  const shown = getComputedStyle(element.matches(".pick input") ? element.nextElementSibling : element);
  return [element.id || element.name || element.tagName, shown.outlineStyle !== "none" && shown.outlineWidth !== "0px"];
}"""


@pytest.mark.parametrize("width", [1280, 400])
def test_every_page_can_be_used_by_everybody(browser: Any, rich: tuple[Study, Server], width: int) -> None:
    _, server = rich
    page = browser.new_context(viewport={"width": width, "height": 800}).new_page()
    page.goto(server.address)
    assert page.evaluate(AUDIT) == []
    page.goto(server.link("reader-02" if width == 400 else "reader-03"))
    page.wait_for_selector("button.main:focus >> text=Begin")
    assert page.evaluate(AUDIT) == []
    page.keyboard.press("Enter")
    current(page)
    assert page.evaluate(AUDIT) == []
    order = []
    for _ in range(12):
        page.keyboard.press("Tab")
        name, outlined = page.evaluate(FOCUS)
        assert outlined, name
        order.append(name)
    wanted = ["choice", "confidence", "finding", "finding", "mark", "save", "pause"]
    assert [name for name in order if name in wanted] == wanted
    page.keyboard.press("r")
    page.keyboard.press("1")
    page.keyboard.press("p")
    assert page.evaluate(AUDIT) == []
    page.goto(f"{server.address}/nothing")
    assert page.evaluate(AUDIT) == []
    page.goto(server.administrator)
    page.wait_for_selector("text=How far the readers are")
    assert page.evaluate(AUDIT) == []
    assert not re.search("synthetic|real", page.content())
