"""The 33 settings of study 003, cut from label tables of full size. What holds of cuts of any table: test_cut."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from typing import Any, NamedTuple

import numpy as np
import pytest

from synthcohort import _findings
from synthcohort._cut import Cut, Taken, balance, cut, oversample
from synthcohort._settings import Setting, setting, settings
from synthcohort._split import divide, plain
from synthcohort.errors import InputError, UnknownName
from synthcohort.types import SPLITS

PROTOCOLS = ("recommended", "paper", "code")

# Table S1 of DuMont Schütte et al. 2021: findings, combinations, n_train, n_val = n_test, least and most in train.
TABLE_S1 = {
    "chest-classes-20": (9, 20, 29000, 3800, 1450, 1450),
    "chest-classes-15": (8, 15, 24000, 2850, 1600, 1600),
    "chest-classes-10": (5, 10, 20000, 1900, 2000, 2000),
    "chest-classes-6": (5, 6, 13800, 1140, 2300, 2300),
    "chest-classes-4": (5, 4, 15600, 760, 3900, 3900),
    "chest-classes-2": (4, 2, 12600, 380, 6300, 6300),
    "chest-samples-5950": (4, 3, 17850, 2250, 5950, 5950),
    "chest-samples-4500": (4, 3, 13500, 2250, 4500, 4500),
    "chest-samples-3000": (4, 3, 9000, 2250, 3000, 3000),
    "chest-samples-1500": (4, 3, 4500, 2250, 1500, 1500),
    "chest-samples-1000": (4, 3, 3000, 2250, 1000, 1000),
    "chest-samples-500": (4, 3, 1500, 2250, 500, 500),
    "chest-samples-400": (4, 3, 1200, 2250, 400, 400),
    "chest-samples-200": (4, 3, 600, 2250, 200, 200),
    "chest-resolution-32": (14, 138, 117168, 4000, 256, 7586),
    "chest-resolution-64": (14, 138, 117168, 4000, 256, 7586),
    "chest-resolution-128": (14, 138, 117168, 4000, 256, 7586),
    "brain-classes-10": (5, 10, 25000, 3000, 2500, 2500),
    "brain-classes-8": (5, 8, 24960, 2400, 3120, 3120),
    "brain-classes-6": (5, 6, 25020, 1800, 4170, 4170),
    "brain-classes-4": (4, 4, 25000, 1200, 6250, 6250),
    "brain-classes-2": (2, 2, 25000, 600, 12500, 12500),
    "brain-samples-5400": (5, 6, 32400, 3000, 5400, 5400),
    "brain-samples-4500": (5, 6, 27000, 3000, 4500, 4500),
    "brain-samples-3000": (5, 6, 18000, 3000, 3000, 3000),
    "brain-samples-1500": (5, 6, 9000, 3000, 1500, 1500),
    "brain-samples-1000": (5, 6, 6000, 3000, 1000, 1000),
    "brain-samples-500": (5, 6, 3000, 3000, 500, 500),
    "brain-samples-300": (5, 6, 1800, 3000, 300, 300),
    "brain-samples-100": (5, 6, 600, 3000, 100, 100),
    "brain-resolution-32": (5, 20, 117168, 4000, 155, 85876),
    "brain-resolution-64": (5, 20, 117168, 4000, 155, 85876),
    "brain-resolution-128": (5, 20, 117168, 4000, 155, 85876),
}
# S.1: images (and patients) of train, val and test after its filters.
POOLS = {"chest": (117168, 15318, 14687), "brain": (173271, 22095, 20500)}
PATIENTS = {"chest": (44153, 5519, 5520), "brain": (15133, 1892, 1892)}
BRAIN_PATIENTS, BRAIN_SLICES, WITH_FINDING = 18938, 752803, 107933
SHARES = (0.8, 0.1, 0.1, 0.0)
CHEST_NAMES = ("No Finding", *(f"finding {i}" for i in range(1, 14)))
BRAIN_NAMES = ("epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural", "no finding")


class Table(NamedTuple):
    """Labels (N, L), patient of each row as a whole number, names of the L findings, ids of the patients."""

    values: Any
    patients: Any
    names: tuple[str, ...]
    ids: list[str]


# Tables of full size. Images are given to patients after these were split, so that the plain split leaves as many in
# each of its parts as the study had; everything else is drawn at random.


def ramp(high: int, low: int, count: int, total: int) -> list[int]:
    """Return falling whole numbers that sum to `total`, the last one `low`."""
    numbers = np.linspace(high, low, count).astype(int)
    numbers[:-1] += (total - numbers.sum()) // (count - 1)
    numbers[: total - numbers.sum()] += 1
    assert numbers.sum() == total
    assert numbers[-1] == low
    assert (np.diff(numbers) <= 0).all()
    return [int(number) for number in numbers]


def in_proportion(counts: list[int], total: int) -> Any:
    shares = np.array(counts) * total / sum(counts)
    return np.diff(np.rint(np.cumsum(shares)).astype(int), prepend=0)


def vectors_of(combinations: list[tuple[int, ...]], width: int) -> Any:
    table = np.zeros((len(combinations), width), np.float32)
    for row, combination in enumerate(combinations):
        table[row, list(combination)] = 1
    return table


def owners(images: int, members: Any, rng: Any) -> Any:
    """Return who each of some images belongs to: everybody has one at least, and a few have many."""
    weights = rng.exponential(size=len(members))
    more = rng.choice(members, images - len(members), p=weights / weights.sum())
    return rng.permutation(np.concatenate([members, more]))


def split_codes(ids: list[str]) -> Any:
    splits = plain({name: name for name in ids}, shares=SHARES, seed=0)
    return np.array([SPLITS.index(splits[name]) for name in ids])


@functools.cache
def chest() -> Table:
    """Return 148,013 images of 55,192 patients with 138 combinations of 14 findings, and 30 that are too rare."""
    first = [(0, 1), (2, 3), (0, 2), (4,), (0,), (1,), (2,), (3,), (1, 4), (2, 4), (5,), (6,), (7,), (0, 5), (1, 6)]
    first += [(8,), (0, 8), (1, 8), (2, 5), (3, 6)]
    others = [(i,) for i in range(9, 14)] + [each for n in (2, 3) for each in itertools.combinations(range(14), n)]
    vectors = vectors_of([*first, *[each for each in others if each not in first][:148]], 14)
    top = [7586, 6900, 6500, 4300, 2750, 2650, *[2350] * 4, *[1950] * 5, *[1800] * 5]
    train = top + ramp(732, 256, 118, POOLS["chest"][0] - sum(top))
    counts = [train, *(in_proportion(train, total) for total in POOLS["chest"][1:])]
    rng = np.random.default_rng(1)
    ids = [f"patient{i:05d}" for i in range(sum(PATIENTS["chest"]))]
    splits = split_codes(ids)
    rows = [np.repeat(np.arange(138), each) for each in counts] + [np.repeat(np.arange(138, 168), 28)]
    people = [owners(len(each), np.flatnonzero(splits == i), rng) for i, each in enumerate(rows[:3])]
    people.append(rng.choice(len(ids), len(rows[3])))
    return in_order(vectors, rows, people, CHEST_NAMES, ids)


def in_order(vectors: Any, rows: Any, people: Any, names: tuple[str, ...], ids: list[str]) -> Table:
    patients = np.concatenate(people)
    order = np.argsort(patients, kind="stable")
    return Table(vectors[np.concatenate(rows)[order]], patients[order], names, ids)


@functools.cache
def brain() -> Table:
    """Return 752,803 slices of 18,938 patients, 107,933 with a finding in 19 combinations; 21 patients hold a 20th."""
    first = [(5,), (4,), (1,), (3,), (1, 2), (3, 4), (2,), (1, 3), (1, 4), (1, 2, 3)]
    rest = [(0,), (0, 4), (0, 1), (0, 3), (2, 3), (2, 4), (1, 2, 4), (1, 3, 4), (2, 3, 4), (0, 2)]
    vectors = vectors_of([*first, *rest, (0, 1, 2, 3, 4)], 6)
    top = [26000, 16000, 9500, 6800, 6400, 3900, 3600, 3100, 3000]
    train = top + ramp(1664, 155, 10, POOLS["brain"][0] - 85876 - sum(top))
    counts = [train, in_proportion(train, 10650), in_proportion(train, WITH_FINDING - sum(train) - 10650)]
    rng = np.random.default_rng(2)
    ids = [f"ID_{i:08x}" for i in range(BRAIN_PATIENTS)]
    splits = np.append(split_codes(ids[:-21]), [3] * 21)
    found = [np.repeat(np.arange(1, 20), each) for each in counts]
    people = [owners(len(each), np.flatnonzero(splits == i), rng) for i, each in enumerate(found)]
    rows = np.concatenate([*found, np.repeat(20, 63), np.zeros(BRAIN_SLICES - WITH_FINDING - 63, int)])
    patients = np.concatenate([*people, np.repeat(np.flatnonzero(splits == 3), 3), np.zeros(sum(rows == 0), int)])
    order = rng.permutation(len(rows))
    rows, patients = rows[order], patients[order]
    # Which slices without a finding will stay depends on how many there are, not on whose they are.
    stays = np.zeros(len(rows), bool)
    stays[rows != 20] = balance(vectors[rows[rows != 20]], BRAIN_NAMES, seed=0)
    patients[rows == 0] = rng.integers(len(ids) - 21, size=sum(rows == 0))
    drawn = [total - len(each) for total, each in zip(POOLS["brain"], found, strict=True)]
    patients[(rows == 0) & stays] = rng.permutation(
        np.concatenate([rng.choice(np.flatnonzero(splits == i), count) for i, count in enumerate(drawn)])
    )
    return Table(vectors[rows], patients, BRAIN_NAMES, ids)


class Pool(NamedTuple):
    """What is there when a table has been filtered, balanced and split, as `prepare` does it."""

    values: Any
    splits: Any
    patients: Any
    names: tuple[str, ...]


@functools.cache
def pool(cohort: str, least: int, balanced: bool, way: str, seed: int) -> Pool:
    table = chest() if cohort == "chest" else brain()
    kept = _findings.keep(table.values, table.patients, table.names, _findings.Wish((), 0, least))
    assert kept.names == table.names
    values, patients = table.values[kept.images], table.patients[kept.images]
    if balanced:
        stays = balance(values, table.names, seed=seed)
        values, patients = values[stays], patients[stays]
    ids = [table.ids[code] for code in patients]
    strata = _findings.strata(values, ids, table.names)
    clusters = {name: name for name in strata}
    split = plain(clusters, shares=SHARES, seed=seed) if way == "plain" else None
    split = split or divide(strata, clusters, shares=SHARES, seed=seed)
    codes = np.array([SPLITS.index(split.get(name, "reference")) for name in table.ids])
    return Pool(values, codes[patients], patients, table.names)


def pool_of(wanted: Setting, way: str) -> Pool:
    chosen = wanted.preparation
    assert chosen["shares"] == SHARES
    least = chosen["min_combination_images"] if chosen["count_combinations"] == "pool" else 0
    return pool(wanted.name.split("-")[0], least, chosen["balance"] == "no_finding", way, 0)


@functools.cache
def taken(cohort: str, least: int, balanced: bool, way: str, wanted: Cut) -> Taken:
    there = pool(cohort, least, balanced, way, 0)
    return cut(there.values, there.splits, there.names, wanted, seed=0)


def taken_of(wanted: Setting, way: str) -> Taken:
    chosen = wanted.preparation
    least = chosen["min_combination_images"] if chosen["count_combinations"] == "pool" else 0
    return taken(wanted.name.split("-")[0], least, chosen["balance"] == "no_finding", way, wanted.cut)


def numbered(values: Any) -> Any:
    """Return a whole number for each combination of findings."""
    return (values @ 2.0 ** np.arange(values.shape[1])).astype(int)


def sizes(there: Pool, images: Any) -> list[int]:
    return np.bincount(there.splits[images], minlength=4).tolist()


def expected(name: str, protocol: str) -> tuple[int, int, int]:
    """Return n_train, n_val and n_test of Table S1, or of the released code or the text where they differ."""
    _, combinations, train, held, *_ = TABLE_S1[name]
    if protocol == "code" and "classes" in name:
        return train, held, combinations * (170 if "chest" in name else 200)
    if protocol != "paper" and name.startswith("brain-resolution"):
        return 173271, held, held
    return train, held, held


# The 33 settings


def test_there_are_the_33_settings_of_table_s1() -> None:
    assert settings() == tuple(TABLE_S1)
    for name, (labels, combinations, _, _, low, high) in TABLE_S1.items():
        for protocol in PROTOCOLS:
            wanted = setting(name, protocol)
            assert (wanted.name, wanted.labels, wanted.combinations) == (name, labels, combinations)
            assert wanted.each == (low, high)
            assert wanted.images == expected(name, protocol)
            assert wanted.source == {"chest": "chexpert", "brain": "rsna_ich"}[name.split("-")[0]]
            assert wanted.preparation["size"] == (int(name.split("-")[2]) if "resolution" in name else 32)
    limits = {
        (p, each.split("-")[0]): tuple(
            setting(each, p).preparation[k] for k in ("min_combination_images", "count_combinations")
        )
        for p in PROTOCOLS
        for each in settings()
    }
    assert limits[("recommended", "chest")] == (256, "pool")
    assert limits[("paper", "chest")] == (256, "train")
    assert limits[("code", "chest")] == (257, "pool")  # more than 256
    assert limits[("code", "brain")] == (111, "pool")
    least = {(p, each.split("-")[0], setting(each, p).cut.least) for p in PROTOCOLS for each in settings()}
    assert {each for each in least if each[2]} == {("paper", "chest", 256), ("paper", "brain", 100)}
    assert len(least) == 6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("chest-class-20", "Did you mean 'chest-classes-20'"),
        ("brain-samples-5950", "Did you mean 'brain-samples-"),
        ("x", "Choose one like chest-classes-20"),
    ],
)
def test_an_unknown_setting(wrong: str, said: str) -> None:
    with pytest.raises(UnknownName, match=said):
        setting(wrong)


def test_the_tables_have_the_size_of_the_studys() -> None:
    assert chest().values.shape == (148013, 14)
    assert brain().values.shape == (BRAIN_SLICES, 6)
    for cohort, least, balanced in (("chest", 256, False), ("brain", 100, True)):
        there = pool(cohort, least, balanced, "plain", 0)
        assert sizes(there, slice(None)) == [*POOLS[cohort], 0]
        people = [len(np.unique(there.patients[there.splits == split])) for split in range(3)]
        assert tuple(people) == PATIENTS[cohort]  # 55,192 cut at 0.8 and 0.9, and 18,917
    assert len(pool("brain", 100, True, "plain", 0).values) == 215866 == 2 * WITH_FINDING


@pytest.mark.parametrize("name", TABLE_S1)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_setting_is_cut_with_the_counts_of_table_s1(name: str, protocol: str) -> None:
    wanted = setting(name, protocol)
    there, found = pool_of(wanted, "plain"), taken_of(wanted, "plain")
    labels, combinations, *_, low, high = TABLE_S1[name]
    assert sizes(there, found.images)[:3] == list(expected(name, protocol))
    assert found.missing == 0
    # Counted again, not as the cut reports it.
    cut_values, cut_splits = there.values[found.images], there.splits[found.images]
    counts = np.unique(numbered(cut_values[cut_splits == 0]), return_counts=True)[1]
    assert len(counts) == len(found.vectors) == combinations
    if not (name.startswith("brain-resolution") and protocol == "paper"):  # its 117,168 are fewer than S.1 states
        assert (counts.min(), counts.max()) == (low, high)
    # S.1 lists six labels of the brain, all of which its resolution rows must hold; Table S1 counts five.
    assert len(found.findings) == labels + name.startswith("brain-resolution")
    assert found.findings == tuple(n for n, held in zip(there.names, cut_values.any(axis=0), strict=True) if held)
    assert set(found.findings) | set(found.lost) == set(there.names)
    people = [np.unique(there.patients[found.images & (there.splits == split)]) for split in range(3)]
    assert len(np.unique(np.concatenate(people))) == sum(map(len, people))


@pytest.mark.parametrize("name", TABLE_S1)
def test_a_setting_is_cut_from_a_split_that_is_stratified(name: str) -> None:
    wanted = setting(name)
    there, found = pool_of(wanted, "stratified"), taken_of(wanted, "stratified")
    train, val, test = expected(name, "recommended")
    assert sizes(there, found.images)[1:] == [val, test, 0]
    # 80 % of the 215,866 slices are 172,693, a little less than the study's train: all of them are taken.
    assert found.missing == max(0, train - int((there.splits == 0).sum()))
    assert sizes(there, found.images)[0] == train - found.missing
    assert found.missing <= 0.02 * train * ("brain-resolution" in name)
    counts = found.counts
    assert counts.sum(axis=0).tolist() == sizes(there, found.images)
    if "resolution" not in name:
        assert (counts == [train // len(counts), val // len(counts), test // len(counts), 0]).all()


@pytest.mark.parametrize("cohort", ["chest", "brain"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_sets_are_nested_along_the_axis_of_samples(cohort: str, protocol: str) -> None:
    names = [name for name in TABLE_S1 if name.startswith(f"{cohort}-samples")]
    there = pool_of(setting(names[0], protocol), "plain")
    larger = taken_of(setting(names[0], protocol), "plain").images
    for name in names[1:]:
        smaller = taken_of(setting(name, protocol), "plain").images
        assert not (smaller & ~larger).any()
        assert (smaller == larger)[there.splits > 0].all()
        larger = smaller


def test_sets_of_fewer_classes_hold_the_more_frequent_ones() -> None:
    there = pool("chest", 256, False, "plain", 0)
    _, first, counts = np.unique(numbered(there.values), return_index=True, return_counts=True)
    frequent = first[np.argsort(-counts)[:20]]
    for classes in (20, 15, 10, 6, 4, 2):
        found = taken_of(setting(f"chest-classes-{classes}"), "plain")
        vectors = there.values[frequent[:classes]]
        assert set(numbered(there.values[found.images])) == set(numbered(vectors))
        rows = found.rows()
        assert sorted(row["findings"] for row in rows) == sorted(
            [name for name, value in zip(there.names, vector, strict=True) if value] for vector in vectors
        )
        assert all((row["val"], row["test"], row["reference"]) == (190, 190, 0) for row in rows)


def test_a_table_of_full_size_that_cannot_fill_a_setting() -> None:
    there = pool("chest", 256, False, "plain", 0)
    wanted = Cut(combinations=2, each=(6901, 190, 190))
    with pytest.raises(InputError, match=r"train has 6,900 of 6,901 images of finding 2 \+ finding 3\. Choose"):
        cut(there.values, there.splits, there.names, wanted, seed=0)
    with pytest.raises(InputError, match=r"there: 138 of findings where 139 are wanted"):
        cut(there.values, there.splits, there.names, Cut(combinations=139), seed=0)
    with pytest.raises(InputError, match=r"train has 117,168 of 117,169 images"):
        cut(there.values, there.splits, there.names, Cut(total=(117169, 4000, 4000)), seed=0)
    first = np.flatnonzero(there.splits == 0)[0]
    fewer = Pool(*(np.delete(part, first, axis=0) for part in there[:3]), there.names)
    wanted = setting("chest-resolution-32").cut
    assert cut(fewer.values, fewer.splits, fewer.names, wanted, seed=0).missing == 1
    with pytest.raises(InputError, match=r"train has 117,167 of 117,168 images"):
        cut(fewer.values, fewer.splits, fewer.names, setting("chest-resolution-32", "paper").cut, seed=0)


def test_study_003s_balance() -> None:
    table = brain()
    stays = balance(table.values, table.names, seed=0)
    with_finding = (table.values[:, :5] == 1).any(axis=1)
    assert stays[with_finding].all()
    assert int(stays[~with_finding].sum()) == int(with_finding.sum()) == WITH_FINDING + 63
    assert (balance(table.values, table.names, seed=1) != stays).any()


def test_the_axis_of_classes_with_a_constant_number_of_training_images() -> None:
    for name in ("chest-classes-20", "chest-classes-10", "chest-classes-2"):
        wanted = setting(name)
        there, images = pool_of(wanted, "plain"), taken_of(wanted, "plain").images
        values, splits = there.values[images], there.splits[images]
        repeats = oversample(values, splits, to=29000, seed=0)
        assert repeats[splits == 0].sum() == 29000
        assert (repeats[splits > 0] == 1).all()
        counts = Counter(map(tuple, np.repeat(values[splits == 0], repeats[splits == 0], axis=0).astype(int).tolist()))
        assert max(counts.values()) - min(counts.values()) <= 1  # they were equal
