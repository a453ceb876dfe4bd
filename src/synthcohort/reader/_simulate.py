"""Readers who do not exist, for tests, demonstrations and planning; never mixed with people, always named as simulated.

Each image gives a reader a feeling x with mean -d'/2 for real and +d'/2 for synthetic images and variance 1: the
equal-variance Gaussian of signal detection (Green and Swets 1966). A share of that variance belongs to the image and is
felt by every reader alike, which makes readers agree; the rest is new each time an image is shown. A reader says
"synthetic" where x is above their criterion, the more confidently the further away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..runs import derive_seed
from ._study import LEVELS, Answer, Order

PREFIX = "simulated"
_STEP = 0.4  # of x, from one level of confidence to the next


@dataclass(frozen=True)
class Observers:
    """What simulated readers are like.

    Attributes:
        d_prime: Of the average reader: 0 sees nothing; below 0 is wrong more often than right.
        criterion: Of the average reader; above 0 is a leaning to "real".
        reader_sd: How much d' and criterion differ from reader to reader, each.
        case_sd: Part of x that belongs to the image, as a standard deviation from 0 to 1.
    """

    d_prime: float
    criterion: float = 0.0
    reader_sd: float = 0.3
    case_sd: float = 0.5


def feelings(observers: Observers, synthetic: npt.NDArray[np.bool_], *, readers: int, shown: int, seed: int) -> Felt:
    """Return what `readers` feel at each of `shown` showings of each image.

    Args:
        observers: What they are like.
        synthetic: (N,) bool.
        readers: R.
        shown: How often each image is shown.
        seed: Decides everything.
    """
    rng = np.random.default_rng(derive_seed(seed, "simulated readers"))
    images, spread = len(synthetic), observers.case_sd
    distance = observers.d_prime + observers.reader_sd * rng.standard_normal(readers)
    criterion = observers.criterion + observers.reader_sd * rng.standard_normal(readers)
    own = spread * rng.standard_normal(images)
    noise = (1 - spread**2) ** 0.5 * rng.standard_normal((readers, shown, images))
    x = (distance[:, None] / 2) * np.where(synthetic, 1.0, -1.0) + own
    above = x[:, None, :] + noise - criterion[:, None, None]
    confidence = np.minimum(np.abs(above) // _STEP + 1, LEVELS).astype(np.int64)
    seconds = np.exp(rng.normal(2.0, 0.5, above.shape) - 0.1 * confidence)
    return Felt(above > 0, confidence, seconds)


@dataclass(frozen=True)
class Felt:
    """Answers of R readers to K showings of N images.

    Attributes:
        said: (R, K, N) whether called synthetic.
        confidence: (R, K, N) 1 to 5.
        seconds: (R, K, N).
    """

    said: npt.NDArray[np.bool_]
    confidence: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]


def simulated_orders(orders: Sequence[Order], readers: int) -> tuple[Order, ...]:
    """Return the orders of `readers` simulated readers, who take those of the study in turn."""
    return tuple(
        Order(f"{PREFIX}-{number + 1:02d}", "", orders[number % len(orders)].presentations) for number in range(readers)
    )


def simulate(
    observers: Observers, orders: Sequence[Order], synthetic: npt.NDArray[np.bool_], *, seed: int
) -> list[Answer]:
    """Return what simulated readers say of everything that the orders show them, training left out.

    Args:
        observers: What they are like.
        orders: Of simulated readers.
        synthetic: (rows of images.npy,) bool.
        seed: Decides everything.
    """
    shown = [[each for each in order.presentations if each.block >= 0] for order in orders]
    felt = feelings(observers, synthetic, readers=len(orders), shown=2, seed=seed)
    answers = []
    for reader, order in enumerate(orders):
        seen = set[int]()
        for each in shown[reader]:
            place = (reader, int(each.image in seen), each.image)
            seen.add(each.image)
            choice, level = ("synthetic" if felt.said[place] else "real"), int(felt.confidence[place])
            seconds = float(felt.seconds[place])
            answers.append(Answer(order.reader, each.id, choice, level, seconds, False, (), (), ""))  # type: ignore[arg-type]
    return answers
