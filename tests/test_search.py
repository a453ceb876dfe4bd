"""A search tries what it says, keeps the best, resumes, and shares its trials with other workers."""

from __future__ import annotations

import json
import os

import optuna
import pytest

from synthcohort import plugins
from synthcohort.errors import BadOption, BadOutput, InputError
from synthcohort.search import Terms, _trials, _worker, search
from synthcohort.search._space import Choices, Range, draw, parse
from synthcohort.search._space import space_of_table_1 as table_1

TINY = {"latent": 8, "filters": 16}


def find(discs, out, *, trials=3, vary=("generator_learning_rate=1e-4..1e-2,log",), options=TINY, **given):
    """Search on tiny terms; `given` names terms, and other arguments of `search`."""
    own = {key: given.pop(key) for key in ("generator", "storage", "workers") if key in given}
    terms = Terms(**{"images_seen": 64, "batch": 16, "looks": 2, "n": 24, "against": "train", **given})
    own = {"generator": "dcgan", **own}
    return search(discs, out=out, trials=trials, vary=vary, options=options, terms=terms, **own)


def rows_of(out):
    return [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def done(discs, tmp_path_factory):
    return find(discs, tmp_path_factory.mktemp("search") / "out")


def test_the_best_is_the_smallest_distance_and_only_its_run_is_kept(done):
    rows, best = rows_of(done), json.loads((done / "best.json").read_text())
    assert [row["ended"] for row in rows] == ["finished"] * 3
    assert best["best"]["frechet"] == min(row["frechet"] for row in rows)
    assert best["tried"] == 3
    assert [path.name for path in (done / "runs").iterdir()] == [best["run"].rpartition("/")[2]]


def test_the_kept_run_is_that_of_the_best_options_and_can_be_sampled(discs, done, tmp_path):
    from synthcohort.sample import sample

    best = json.loads((done / "best.json").read_text())
    config = json.loads((done / best["run"] / "run.json").read_text())["config"]
    assert config["options"]["generator_learning_rate"] == best["best"]["varied"]["generator_learning_rate"]
    assert len(sample(done / best["run"], out=tmp_path / "made", n=4)) == 4


def test_the_same_call_does_nothing_again_and_more_trials_go_further(discs, done):
    before = rows_of(done)
    assert rows_of(find(discs, done)) == before
    assert rows_of(find(discs, done, trials=4))[:3] == before
    assert len(rows_of(done)) == 4


def test_an_interrupted_search_ends_as_an_uninterrupted_one(discs, tmp_path, monkeypatch):
    whole = rows_of(find(discs, tmp_path / "whole"))
    train, calls = _worker.train, []

    def interrupted(*args, **given):
        calls.append(given["out"])
        if len(calls) == 2:
            given["watch"] = lambda seen, distance: (_ for _ in ()).throw(KeyboardInterrupt)
        return train(*args, **given)

    monkeypatch.setattr(_worker, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        find(discs, tmp_path / "part")
    part = rows_of(find(discs, tmp_path / "part"))
    assert calls[1] == calls[2]  # the same folder goes on
    assert [(row["varied"], row["frechet"]) for row in part] == [(row["varied"], row["frechet"]) for row in whole]


def test_a_setting_that_was_tried_is_not_trained_again(discs, tmp_path, monkeypatch):
    train, calls = _worker.train, []
    monkeypatch.setattr(_worker, "train", lambda *args, **given: (calls.append(1), train(*args, **given))[1])
    rows = rows_of(find(discs, tmp_path / "out", trials=6, vary=["critic_activation=relu|elu"], sampler="random"))
    assert len(calls) == len({row["varied"]["critic_activation"] for row in rows}) <= 2
    for row in rows:
        if row["same_as"] is not None:
            assert row["frechet"] == rows[row["same_as"]]["frechet"]


def test_impossible_settings_are_counted_and_not_trained(discs, tmp_path):
    vary = ["penalty=1", "critic_norm=batch|none"]
    rows = rows_of(find(discs, tmp_path / "out", trials=4, vary=vary, sampler="random", options=TINY))
    assert {row["options"]["critic_norm"] for row in rows} <= {"instance", "none"}  # beside a penalty
    rows = rows_of(find(discs, tmp_path / "out2", trials=2, vary=["filters=16", "real_target=0.9"], generator="hinge",
                        options={"latent": 8}))  # fmt: skip
    assert all(row["ended"].startswith("impossible: ") and row["frechet"] is None for row in rows)


def test_a_diverged_trial_is_a_result(discs, tmp_path):
    vary = ["generator_learning_rate=1e30"]
    rows = rows_of(find(discs, tmp_path / "out", trials=1, vary=vary))
    assert rows[0]["ended"].startswith("diverged: ")
    assert json.loads((tmp_path / "out" / "best.json").read_text())["best"] is None


def test_pruning_gives_up_what_is_worse_than_the_middle(discs, tmp_path, monkeypatch):
    distances = iter([1.0, 1.0] * 5 + [9.0, 9.0])

    def told(cohort, *, out, watch, **given):
        for seen in (32, 64):
            watch(seen, next(distances))

    monkeypatch.setattr(_worker, "train", told)
    rows = rows_of(find(discs, tmp_path / "out", trials=6))
    assert [row["ended"] for row in rows] == ["finished"] * 5 + ["pruned"]
    assert rows[-1]["distances"] == {"32": 9.0}


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_surplus_starts_do_not_count(tmp_path):
    study = _trials.open_study(f"sqlite:///{tmp_path / 't.sqlite'}", "s", create=True)
    numbers = [study.ask().number for _ in range(3)]
    assert [_trials.is_surplus(study, number, 2) for number in numbers] == [False, False, True]
    study.tell(1, state=optuna.trial.TrialState.FAIL)
    assert not _trials.is_surplus(study, 2, 2)


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_queued_trial_keeps_its_options_and_first_number(tmp_path):
    study = _trials.open_study(f"sqlite:///{tmp_path / 't.sqlite'}", "s", create=True)
    rate = study.ask().suggest_float("rate", 0, 1)
    _trials.requeue(study, 0)
    again = study.ask()
    assert again.suggest_float("rate", 0, 1) == rate
    assert _trials.origin(study.get_trials()[again.number]) == 0
    assert [trial.number for trial in _trials.counting(study)] == [1]


def test_table_1_is_what_the_study_varied():
    space = table_1("dcgan")
    assert space["filters"] == Choices((16, 32, 64, 128))
    assert space["diffaugment"] == Choices(("", "color,translation,cutout"))
    assert "penalty" not in space
    assert "penalty" in table_1("wgan_gp")
    assert "filters" not in table_1("dcgan", ["filters"])
    with pytest.raises(BadOption, match="has none of stylegan2"):
        table_1("stylegan2")


@pytest.mark.parametrize("name", ["dcgan", "lsgan", "wgan", "wgan_gp", "hinge"])
def test_every_choice_of_table_1_is_a_legal_value(name):
    plugin = plugins.find("generators", name)
    for key, choices in table_1(name).items():
        for value in choices.values:
            drawn = draw({key: choices}, optuna.trial.FixedTrial({key: value}), protocol="paper", shared=True)
            plugins.resolve(plugin, drawn, reserved=("shape", "labels", "mask_classes"))


def test_spaces_are_read_from_text():
    assert parse("dcgan", ["filters=16|32"]) == {"filters": Choices((16, 32))}
    assert parse("dcgan", ["filters=16..32"]) == {"filters": Range(16, 32, True, False)}
    assert parse("r3gan", ["gamma=0.1..10,log"]) == {"gamma": Range(0.1, 10.0, False, True)}


def test_a_paper_search_keeps_batch_norm_beside_a_penalty():
    trial = optuna.trial.FixedTrial({"penalty": 1.0, "critic_norm": "batch"})
    space = {"penalty": Choices((1.0,)), "critic_norm": Choices(("batch",))}
    assert draw(space, trial, protocol="paper")["critic_norm"] == "batch"
    assert draw(space, trial, protocol="recommended")["critic_norm"] == "instance"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"vary": ["nothing=1|2"]}, "An option must be known"),
        ({"vary": ["latent=1..x"]}, "Option 'latent' takes int"),
        ({"vary": ["latent=9..3"]}, "A range is written low..high"),
        ({"vary": ["filters=16|32"]}, "An option is fixed or varied"),
        ({"generator": "gaussian", "vary": ["components=8|16"], "options": {}}, "a generator that trains"),
        ({"trials": 0}, "are at least 1"),
        ({"sampler": "best"}, "A sampler is tpe or random"),
        ({"against": "test"}, "val or train"),
        ({"against": "val"}, "9 in val"),
        ({"n": 4}, "16 real images or more"),
        ({"extractor": "none"}, "one of the extractors"),
        ({"device": "cuda:9"}, "A device is"),
        ({"storage": "nonsense"}, "A storage is the URL"),
        ({"storage": "oracle://u:secret@h/x"}, "A storage is the URL"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_trained(discs, tmp_path, given, message):
    with pytest.raises(InputError, match=message) as caught:
        find(discs, tmp_path / "out", **given)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "out" / "runs").exists()


def test_a_storage_that_cannot_be_written_is_one_line(discs, tmp_path):
    with pytest.raises(BadOutput, match="can be reached and written"):
        find(discs, tmp_path / "out", storage=f"sqlite:///{tmp_path}/no/such/folder/t.sqlite")


def test_two_worker_processes_share_the_trials(discs, tmp_path):
    out = find(discs, tmp_path / "out", trials=4, workers=2)
    assert len(rows_of(out)) == 4
    assert sorted(path.name for path in (out / "workers").iterdir()) == ["worker-0.log", "worker-1.log"]
    assert "OMP_NUM_THREADS" in os.environ  # as before


def test_other_options_are_another_search(discs, done):
    with pytest.raises(InputError, match="belongs to one config"):
        find(discs, done, images_seen=128)
    with pytest.raises(BadOption):
        find(discs, done, options={"unknown": 1})
