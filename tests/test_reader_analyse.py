"""`reader analyse`: what is counted, what is written, what the page says, and the line of the report card."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest

from reader_study import make_study
from synthcohort.errors import BadOption, BadOutput, InputError, Mismatch
from synthcohort.reader._analysis import analysis
from synthcohort.reader._answers import open_answers
from synthcohort.reader._readings import join
from synthcohort.reader._simulate import Observers, simulate, simulated_orders
from synthcohort.reader._study import ORDERS as ORDERS_FILE
from synthcohort.reader._study import TRUTH, Answer, Design, NotAStudy, Order, Presentation, write_study
from synthcohort.reader.analyse import SCHEMA_FILE, analyse
from synthcohort.report import report
from test_report import FORBIDDEN, good_scores, text_of, write_eval

PLAIN = {"choice": "real", "confidence": 1, "seconds": 2.0, "timed_out": False, "findings": (), "marks": ()}


def answer(reader: str, presentation: str, **said: Any) -> Answer:
    return Answer(reader=reader, presentation=presentation, answered_at="2026-01-01T00:00:00Z", **{**PLAIN, **said})


def shown(reader: str, images: list[int]) -> Order:
    return Order(reader, "", tuple(Presentation(f"{reader}.{k}", image, 0) for k, image in enumerate(images)))


@pytest.fixture
def design(tmp_path: Path) -> Design:
    made = make_study(tmp_path / "made", images=4, readers=2, findings=("mass",), marks=True)
    return replace(made.design, readers=("anna", "ben"))


TABLE = pd.DataFrame({"kind": ["real", "synthetic", "real", "synthetic"]})
ORDERS = (shown("anna", [2, 0, 1, 3, 1]), shown("ben", [0, 1, 2, 3, 0]))


def everything(orders: tuple[Order, ...] = ORDERS, **said: Any) -> list[Answer]:
    return [answer(order.reader, each.id, **said) for order in orders for each in order.presentations]


# What is counted


def test_the_first_answer_counts_and_the_second_is_for_agreement(design: Design) -> None:
    answers = everything()
    answers[2] = replace(answers[2], choice="synthetic", confidence=4, findings=("mass",), marks=((0.1, 0.2),))
    found = join(design, ORDERS, TABLE, answers)
    np.testing.assert_array_equal(found.synthetic, [False, True, False, True])
    np.testing.assert_array_equal(found.said[0], [False, True, False, False])
    np.testing.assert_array_equal(found.ratings[0], [-1, 4, -1, -1])
    assert [side.tolist() for side in found.again[0]] == [[True], [False]]
    assert found.findings[0, 1, 0]
    assert found.marks[0].tolist() == [0, 1, 0, 0]


def test_of_several_answers_to_one_presentation_the_last_counts(design: Design) -> None:
    answers = [*everything(), answer("anna", "anna.0", choice="synthetic")]
    assert join(design, ORDERS, TABLE, answers).said[0, 2]


def test_who_did_not_finish_is_listed_and_not_counted(design: Design) -> None:
    found = join(design, ORDERS, TABLE, everything()[:-1])
    assert found.readers == ("anna",)
    assert found.unfinished == {"ben": (4, 5)}


def test_training_images_are_left_out(design: Design) -> None:
    first = Presentation("anna.t", 3, -1, "synthetic")
    orders = (replace(ORDERS[0], presentations=(first, *ORDERS[0].presentations)), ORDERS[1])
    assert join(design, orders, TABLE, everything()).readers == ("anna", "ben")


@pytest.mark.parametrize(
    ("orders", "table"),
    [
        ((ORDERS[0], shown("ben", [0, 1, 2])), TABLE),
        (ORDERS, TABLE[:3]),
        (ORDERS, TABLE.assign(kind=["real", "fake", "real", "fake"])),
        (ORDERS, TABLE.rename(columns={"kind": "type"})),
    ],
)
def test_a_damaged_study_is_refused(design: Design, orders: tuple[Order, ...], table: pd.DataFrame) -> None:
    with pytest.raises(NotAStudy):
        join(design, orders, table, [])


# What is written


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of 60 images, 8 shown twice, 6 readers, of whom one has not finished; they see a d' of 0.8."""
    folder = tmp_path_factory.mktemp("reader") / "study"
    cohorts = {"real": "c" * 64, "synthetic": "b" * 64}
    made = make_study(folder, images=60, readers=6, repeats=8, findings=("mass",), marks=True, cohorts=cohorts)
    rng = np.random.default_rng(1)
    kinds = rng.permutation(np.repeat(["real", "synthetic"], 30))
    (folder / TRUTH).parent.mkdir(exist_ok=True)
    pd.DataFrame({"kind": kinds}).to_parquet(folder / TRUTH)
    orders = tuple(
        replace(order, presentations=order.presentations + tuple(
            Presentation(f"{order.reader}-again-{image}", int(image), 0) for image in rng.choice(60, 8, replace=False)
        ))
        for order in made.orders.values()
    )  # fmt: skip
    write_study(folder, made.design, orders)
    answers = simulate(Observers(0.8), orders, kinds == "synthetic", seed=3)
    store = open_answers(folder, create=True)
    for each in answers[:-1]:
        store.add(replace(each, answered_at="2026-01-01T00:00:00Z", findings=("mass",) if each.confidence > 4 else ()))
    store.engine.dispose()
    return folder


@pytest.fixture(scope="module")
def analysed(study: Path) -> Path:
    return analyse(study, out=study.parent / "analysed", protocol="paper")


def content_of(page: Path) -> dict[str, Any]:
    content = json.loads(page.with_suffix(".json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(content)
    return dict(content)


def test_the_files_of_an_analysis(study: Path, analysed: Path) -> None:
    content = content_of(analysed)
    assert content["simulated"] is False
    assert content["readers"]["finished"] == 5
    assert content["readers"]["unfinished"] == [{"reader": "reader-06", "answered": 67, "asked": 68}]
    assert content["images"] == {"real": 30, "synthetic": 30}
    assert content["trail"] == []
    with (analysed.parent / "readers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["finished"] for row in rows] == ["True"] * 5 + ["False"]
    assert float(rows[0]["accuracy"]) == content["by_reader"][0]["accuracy"]["value"]
    assert rows[0]["true_reals"] == str(content["by_reader"][0]["true_reals"])
    assert rows[-1]["true_reals"] == ""
    cases = pd.read_csv(analysed.parent / "cases.csv")
    assert len(cases) == 60
    right = np.where(cases.kind == "synthetic", cases.called_synthetic, cases.readers - cases.called_synthetic)
    assert right.sum() / 300 == pytest.approx(content["pooled"]["accuracy"]["value"])
    assert cases["finding.mass"].sum() == sum(content["findings"][0][kind]["answers"] for kind in ("real", "synthetic"))


def test_the_page_stands_alone_and_holds_no_image(analysed: Path) -> None:
    html = analysed.read_text()
    said = text_of(analysed)
    assert not any(word in said.lower() for word in FORBIDDEN)
    assert "http" not in html.replace("http://www.w3.org", "")
    assert "data:image/png" not in html
    assert "<script" not in html
    assert html.count("data:image/svg+xml;base64") == 5
    assert "reader-06 (67 of 68)" in said
    assert "Wilcoxon" in html
    assert "imulated" not in html


def test_the_same_answers_give_the_same_bytes(study: Path, analysed: Path, tmp_path: Path) -> None:
    again = analyse(study, out=tmp_path / "again", protocol="paper")
    for path in sorted(analysed.parent.rglob("*.*")):
        assert path.read_bytes() == (again.parent / path.relative_to(analysed.parent)).read_bytes()


def test_the_papers_tests_are_there_only_where_asked_for(study: Path, analysed: Path, tmp_path: Path) -> None:
    assert content_of(analysed)["paper"]["signed_rank"]["readers"] == 5
    page = analyse(study, out=tmp_path / "plain")
    assert content_of(page)["paper"] is None
    assert "Wilcoxon" not in page.read_text()


def test_simulated_readers_are_named_as_such_everywhere(study: Path, tmp_path: Path) -> None:
    page = analyse(study, out=tmp_path / "out", simulated=Observers(0.5), readers=9)
    content = content_of(page)
    assert content["simulated"] is True
    assert content["observers"]["d_prime"] == 0.5
    files = [path for path in page.parent.rglob("*") if path.is_file()]
    assert len(files) == 9
    assert all(path.name.startswith("simulated-") for path in files)
    assert all("SIMULATED READERS" in path.read_text() for path in files if path.suffix == ".svg")
    assert all(each["reader"].startswith("simulated-") for each in content["by_reader"])
    assert len(content["by_reader"]) == 9
    html = page.read_text()
    assert "<h1>Simulated: " in html
    assert "Simulated readers: nobody has looked at these images" in html
    assert "Simulated, not evidence" in html
    for name in ("readers", "cases"):
        assert pd.read_csv(page.parent / f"simulated-{name}.csv").simulated.all()


def test_simulated_readers_recover_their_d_prime(study: Path, tmp_path: Path) -> None:
    found = content_of(analyse(study, out=tmp_path / "out", simulated=Observers(1.5), readers=20))["pooled"]["d_prime"]
    assert found["low"] < 1.5 < found["high"]


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": "code"},
        {"readers": 5},
        {"simulated": Observers(float("nan"))},
        {"simulated": Observers(1.0), "readers": 0},
    ],
)
def test_impossible_options_are_refused(study: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(BadOption):
        analyse(study, out=tmp_path / "out", **options)


def test_an_earlier_analysis_is_not_overwritten(study: Path, analysed: Path) -> None:
    with pytest.raises(BadOutput):
        analyse(study, out=analysed.parent)


def test_a_changed_answer_is_told(study: Path, tmp_path: Path) -> None:
    import shutil

    import sqlalchemy as sa

    copy = Path(shutil.copytree(study, tmp_path / "study"))
    engine = sa.create_engine(f"sqlite:///{copy / 'answers.sqlite'}")
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TRIGGER IF EXISTS answers_update"))
        for trigger in connection.execute(sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).all():
            connection.execute(sa.text(f"DROP TRIGGER {trigger[0]}"))
        connection.execute(sa.text("UPDATE answers SET confidence = 5"))
    engine.dispose()
    page = analyse(copy, out=tmp_path / "out")
    assert content_of(page)["trail"]
    assert "The record of the answers is not whole" in page.read_text()


# Too little


def tell(design: Design, answers: list[Answer], orders: tuple[Order, ...] = ORDERS) -> dict[str, Any]:
    content = analysis(design, join(design, orders, TABLE, answers), protocol="paper")
    content["trail"] = []
    jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text())).validate(content)
    return content


def test_no_answers_at_all(design: Design) -> None:
    content = tell(design, [])
    assert content["verdict"] == "not estimable"
    assert content["by_reader"] == []
    assert "fewer than two readers finished" in content["pooled"]["auc"]["reason"]


def test_one_reader_alone_says_nothing_of_readers(design: Design) -> None:
    content = tell(design, everything()[:5])
    assert content["verdict"] == "not estimable"
    assert content["by_reader"][0]["accuracy"]["value"] == 0.5
    assert content["agreement"]["between"]["reason"] == "fewer than two readers"


def test_all_readers_always_right(design: Design) -> None:
    choices = {order.reader: [TABLE.kind[each.image] for each in order.presentations] for order in ORDERS}
    answers = [
        answer(order.reader, each.id, choice=choices[order.reader][k])
        for order in ORDERS
        for k, each in enumerate(order.presentations)
    ]
    content = tell(design, answers)
    assert content["pooled"]["accuracy"]["value"] == 1.0
    assert content["pooled"]["accuracy"]["low"] < 0.5  # four images prove little
    assert content["verdict"] == "cannot tell"
    assert content["pooled"]["d_prime"]["low"] is None


@pytest.mark.parametrize("count", [0, 5, 10])
def test_pages_of_too_little(design: Design, tmp_path: Path, count: int) -> None:
    from synthcohort.reader._analysis_page import page
    from synthcohort.reader.analyse import write

    answers = everything()[:count]
    content = tell(design, answers)
    write(content, join(design, ORDERS, TABLE, answers), design, tmp_path / "out")
    html = (tmp_path / "out" / "analysis.html").read_text()
    assert html == page(content, {path.stem: path.read_text() for path in (tmp_path / "out/figures").iterdir()})
    assert ("No result" in html) == (count < 10)


def test_a_study_nobody_has_been_served_is_one_line(tmp_path: Path) -> None:
    made = make_study(tmp_path / "study")
    (made.folder / TRUTH).parent.mkdir(exist_ok=True)
    pd.DataFrame({"kind": ["real", "synthetic"] * 3}).to_parquet(made.folder / TRUTH)
    write_study(made.folder, made.design, tuple(made.orders.values()))
    with pytest.raises(InputError, match="does not exist"):
        analyse(made.folder, out=tmp_path / "out")


@pytest.mark.parametrize("observers", [None, Observers(0.0)])
def test_another_truth_or_order_is_refused(study: Path, tmp_path: Path, observers: Observers | None) -> None:
    # The truth of another study of the same cohorts would make everybody look like guessing.
    folder = shutil.copytree(study, tmp_path / "study")
    for path, change in ((TRUTH, _turned), (ORDERS_FILE, _swapped)):
        kept = (folder / path).read_bytes()
        change(folder / path)
        with pytest.raises(NotAStudy, match="another file"):
            analyse(folder, out=tmp_path / "out", simulated=observers)
        (folder / path).unlink()
        with pytest.raises(NotAStudy, match="readable"):
            analyse(folder, out=tmp_path / "out", simulated=observers)
        (folder / path).write_bytes(kept)
    assert not (tmp_path / "out").exists()


def _turned(path: Path) -> None:
    pd.read_parquet(path)[::-1].reset_index(drop=True).to_parquet(path)


def _swapped(path: Path) -> None:
    orders = json.loads(path.read_text())
    first, second = orders[0]["presentations"][:2]
    first["image"], second["image"] = second["image"], first["image"]
    path.write_text(json.dumps(orders))


# Simulated readers


def test_simulated_readers_take_the_study_s_orders_in_turn() -> None:
    found = simulated_orders(ORDERS, 3)
    assert [order.reader for order in found] == ["simulated-01", "simulated-02", "simulated-03"]
    assert found[2].presentations == ORDERS[0].presentations


def test_an_image_shown_twice_is_not_always_called_the_same() -> None:
    orders = (shown("a", [*range(400), *range(400)]),)
    answers = simulate(Observers(0.0, case_sd=0.5), orders, np.arange(400) < 200, seed=0)
    same = np.mean([one.choice == two.choice for one, two in zip(answers[:400], answers[400:], strict=True)])
    assert same == pytest.approx(
        0.5 + np.arcsin(0.25) / np.pi, abs=0.08
    )  # of two feelings that correlate by case_sd**2


# Line 14 of the report card


def card_line(tmp_path: Path, analysis_file: Path | None) -> dict[str, Any]:
    folder = tmp_path / "eval"
    write_eval(folder, good_scores())
    facts = json.loads((folder / "eval.json").read_text())
    facts["real"]["identity"] = "c" * 64
    (folder / "eval.json").write_text(json.dumps(facts))
    page = report(folder, out=tmp_path / "report.html", reader_study=analysis_file)
    content = json.loads(page.with_suffix(".json").read_text())
    schema = json.loads((Path(report.__code__.co_filename).parent / "schema/report.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(content)
    missing = {each["title"] for each in content["not_measured"]}
    line = next(line for line in content["subjects"][0]["card"]["lines"] if line["number"] == 14)
    assert ("Experts' eyes" in missing) == line["said"].startswith("Not done.")
    return dict(line)


def test_the_card_shows_the_readers(tmp_path: Path, analysed: Path) -> None:
    line, content = card_line(tmp_path, analysed.with_suffix(".json")), content_of(analysed)
    figure = line["figures"][0]["subject"]
    assert figure["value"] == content["pooled"]["accuracy"]["value"]
    assert (figure["low"], figure["high"]) == tuple(content["pooled"]["accuracy"][end] for end in ("low", "high"))
    assert "5 readers" in line["said"]
    assert content["equivalence"]["accuracy"]["words"] in line["said"]


def test_the_card_without_readers(tmp_path: Path) -> None:
    assert card_line(tmp_path, None)["said"].startswith("Not done.")


def test_simulated_readers_are_no_evidence_on_the_card(study: Path, tmp_path: Path) -> None:
    page = analyse(study, out=tmp_path / "simulated", simulated=Observers(0.0))
    line = card_line(tmp_path, page.with_suffix(".json"))
    assert line["said"].startswith("Not done.")
    assert "no evidence" in line["said"]
    assert line["figures"][0]["name"] == "reader study, simulated, not evidence"
    assert line["figures"][0]["subject"] is None


def test_readers_of_other_cohorts_are_refused(tmp_path: Path, analysed: Path) -> None:
    content = content_of(analysed)
    for kind in ("real", "synthetic"):
        other = tmp_path / f"{kind}.json"
        other.write_text(json.dumps({**content, "cohorts": {**content["cohorts"], kind: "0" * 64}}))
        with pytest.raises(Mismatch):
            card_line(tmp_path / kind, other)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"made_by": "synthcohort reader analyse", "schema": 1}'])
def test_what_is_no_analysis_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "analysis.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"analysis\.json"):
        card_line(tmp_path, file)


@pytest.mark.parametrize(("readers", "warned"), [(2, True), (3, True), (4, False)])
def test_a_page_of_few_readers_says_that_its_intervals_are_narrow(readers, warned):
    from synthcohort.reader._analysis_page import _alarms

    content = {"subject": "synthetic", "by_reader": [{}] * readers, "trail": []}
    assert any("narrower than they should be" in line for line in _alarms(content)) == warned
