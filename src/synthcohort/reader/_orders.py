"""What each reader sees in which order, and the codes they come in with.

Two sources of chance, for two purposes. Orders and draws come from the design's seed by `derive_seed`, so that a
steward can repeat them. Invitation codes, presentation ids and the order of rows in images.npy come from the system's
own secret randomness: the seed stands in study.json and in the pre-registration, this code is public, and whoever could
work rows, ids or codes out from it would know the truth or read in another's name.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from ..runs import derive_seed
from ._study import Kind, Order, Presentation, code_digest

_ALPHABET = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"  # none that is taken for another
_GROUPS, _GROUP = 4, 5
_ID_BYTES = 16
APART = 4
"""A repeat comes after at least a quarter of the images."""

T = TypeVar("T")


def reader_names(count: int) -> tuple[str, ...]:
    """Return reader-01, reader-02 ..."""
    return tuple(f"reader-{number:0{max(2, len(str(count)))}d}" for number in range(1, count + 1))


def new_code() -> str:
    """Return an unguessable invitation code (99 bits) that can be read out and typed."""
    groups = ("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def shuffled_in_secret(items: Sequence[T]) -> list[T]:
    """Return the items in an order that nothing on disk tells."""
    mixed = list(items)
    secrets.SystemRandom().shuffle(mixed)
    return mixed


def orders(
    codes: Mapping[str, str],
    images: Sequence[int],
    training: Mapping[int, Kind],
    *,
    repeats: int,
    blocks: int,
    seed: int,
) -> tuple[Order, ...]:
    """Return one order a reader, each independent of the others and of the truth.

    Args:
        codes: Reader -> invitation code.
        images: Rows of images.npy that every reader judges.
        training: Rows shown first, with their answer.
        repeats: How many of the images come a second time, at most half of them.
        blocks: Parts of nearly equal length.
        seed: Decides the orders.
    """
    return tuple(
        Order(reader, code_digest(code), _presentations(reader, images, training, repeats, blocks, seed))
        for reader, code in codes.items()
    )


def _presentations(
    reader: str, images: Sequence[int], training: Mapping[int, Kind], repeats: int, blocks: int, seed: int
) -> tuple[Presentation, ...]:
    rng = np.random.default_rng(derive_seed(seed, "reader", "order", reader))
    first = rng.permutation(np.array(sorted(training), np.int64)).tolist()
    shown = [Presentation(_new_id(), row, -1, training[row]) for row in first]
    sequence = in_order(images, repeats, rng)
    return tuple(
        shown + [Presentation(_new_id(), row, place * blocks // len(sequence)) for place, row in enumerate(sequence)]
    )


def in_order(images: Sequence[int], repeats: int, rng: np.random.Generator) -> list[int]:
    """Return the images in a random order, `repeats` of them twice, at least len(images) // APART others between."""
    mixed = rng.permutation(np.array(sorted(images), np.int64))
    count = len(mixed)
    gap = count // APART
    again = rng.choice(count - gap, repeats, replace=False)
    # An image's place is its key; a repeat's lies at least `gap` places later, anywhere to the end.
    late = again + gap + 0.5 + rng.random(repeats) * (count - 1 - again - gap)
    keys = np.concatenate([np.arange(count, dtype=np.float64), late])
    rows = np.concatenate([mixed, mixed[again]])
    return [int(row) for row in rows[np.argsort(keys, kind="stable")]]


def _new_id() -> str:
    return secrets.token_urlsafe(_ID_BYTES)
