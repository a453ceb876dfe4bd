"""The search for altered copies: every training image is laid over the image in question as well as it can be.

First the image is moved, turned, scaled and mirrored in 216 ways, coarsely, and compared with every training image.
The best candidates are then registered by Gauss-Newton steps, and compared where what all images share weighs little:
partly whitened. What counts is not how alike an image and its best candidate are, since noise lowers that and a plain
image is like everyone, but how much better it fits than the images of all other patients do:

    similarity = 1 - (1 - best^2 + e) / (1 - next^2 + e),

the share of what the next patient's images leave unexplained that the best explain. Two candidates may share the image
between them, which finds blends; as two explain more by chance, they have to be better by a fixed factor.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor
from torch.nn import functional

from ..types import Array
from ._registered import laid_back, mirrored, registered, sampled

CANDIDATES, OF_A_PATIENT = 12, 2
"""Training images that are registered, and how many of a patient at most: there have to be others beside the best."""
TURNS, SCALES, SHIFTS = (-4.0, 0.0, 4.0), (0.9, 1.0, 1.12, 1.25), (-1 / 16, 0.0, 1 / 16)
"""Degrees, sides of the window and shifts as shares of the image's side at which candidates are looked for."""
FLOOR, COARSE_FLOOR, LARGEST = 10.0, 0.05, 2.0
"""What is added to every variance when whitening, in mean variances: noise hides what varies less. Largest feature."""
TWO, LEFT = 1.07, 0.02
"""What the fit by two images is worth less than that by one, as a factor of what is left, and e above."""
_SIDE, _BLOCK, _TILE, _AT_ONCE, _LOOKED_AT = 16, 2048, (256, 512), 48, 96
_ALIKE = 0.05  # two candidates that share all but this of their squares are one
_SAME = 1 - 1e-6

Floats = npt.NDArray[np.float64]
Excluded = Callable[[slice], npt.NDArray[np.bool_]]


class AlignedGallery:
    """Training images to search.

    Args:
        values: (n, C, S, S) small pixels; channels are averaged.
        patients: (n,) whose they are; patients that share an identical image count as one.
    """

    def __init__(self, values: Array, patients: Array) -> None:
        self._images = _grey(values)
        self._coarse = _Whitened(functional.avg_pool2d(self._images, self._factor), COARSE_FLOOR)
        self._fine = _Whitened(self._images, FLOOR)
        self._people = _people(self._images, patients)
        self._mirror = torch.tensor([mirror for mirror, _ in _ways()])
        self._placements = torch.stack([placement for _, placement in _ways()])

    @property
    def _factor(self) -> int:
        return max(1, self._images.shape[-1] // _SIDE)

    def nearest(self, values: Array, excluded: Excluded | None = None) -> tuple[npt.NDArray[np.int64], Floats]:
        """Return (position, similarity) of the nearest training image; -inf where every one is excluded."""
        position, best = np.zeros(len(values), np.int64), np.full(len(values), -np.inf)
        queries = _grey(values)
        for start in range(0, len(queries), _BLOCK):
            rows = slice(start, min(start + _BLOCK, len(queries)))
            score, way = self._coarsely(queries[rows])
            barred = torch.zeros(score.shape, dtype=torch.bool)
            if excluded:
                barred = torch.from_numpy(excluded(rows))
                score[barred] = -math.inf
            chosen = self._candidates(score)
            ways, allowed = way.gather(1, chosen).long(), ~barred.gather(1, chosen)
            for first in range(0, len(chosen), _AT_ONCE):
                part = slice(first, first + _AT_ONCE)
                which, how = self._finely(queries[rows][part], chosen[part], ways[part], allowed[part])
                place = slice(start + first, start + first + len(which))
                position[place], best[place] = which.numpy(), how.double().numpy()
        return position, best

    def _candidates(self, score: Tensor) -> Tensor:
        """Return (q, k) positions of the best images, few of each person; the last is repeated where they run out."""
        order = score.topk(min(_LOOKED_AT, score.shape[1]), dim=1).indices
        people = self._people[order]
        earlier = (people[:, :, None] == people[:, None, :]).tril(-1).sum(2)
        kept = earlier < OF_A_PATIENT
        rank = torch.where(kept, kept.cumsum(1) - 1, len(kept[0]) + torch.arange(kept.shape[1])).argsort(dim=1)
        count = min(CANDIDATES, score.shape[1])
        last = kept.sum(1).clamp(max=count)[:, None] - 1
        return order.gather(1, rank.gather(1, torch.arange(count)[None].minimum(last)))

    def _coarsely(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best similarity (q, n) over all ways of laying an image over another, and which way it was."""
        score = torch.full((len(queries), len(self._images)), -2.0)
        way = torch.zeros(score.shape, dtype=torch.uint8)
        known: dict[bytes, Tensor] = {}
        for number, (mirror, placement) in enumerate(_ways()):
            seen, inside = laid_back(queries.flip(-1) if mirror else queries, placement, self._factor)
            key = inside.numpy().tobytes()
            if key not in known:
                known = {key: self._coarse.features(self._coarse.images, inside)}
            _keep_best(score, way, number, self._coarse.features(seen, inside) * inside.mean().sqrt(), known[key])
        return score, way

    def _finely(self, queries: Tensor, chosen: Tensor, ways: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
        """Return the position of the best candidate (q,) and the similarity (q,).

        Args:
            queries: (q, 1, S, S).
            chosen: (q, k) candidates.
            ways: (q, k) how they were found.
            allowed: (q, k) False for those that do not count.
        """
        mirror, originals = self._mirror[ways.flatten()], self._images[chosen.flatten()]
        wanted = mirrored(queries.repeat_interleave(chosen.shape[1], 0), mirror)
        laid = mirrored(sampled(originals, registered(wanted, originals, self._placements[ways.flatten()])), mirror)
        whole = torch.ones(self._images.shape[2:])
        atoms = self._fine.features(laid, whole).view(*chosen.shape, -1)
        cosines = torch.einsum("qd,qkd->qk", self._fine.features(queries, whole), atoms).clamp(0, 1) * allowed
        people = self._people[chosen]
        by_one = torch.diag_embed(cosines.square())
        by_two = _by_two(cosines, torch.einsum("qkd,qld->qkl", atoms, atoms), people)
        one, two = _ahead(by_one, people), _ahead(torch.maximum(by_one, by_two), people)
        similarity = torch.maximum(one, 1 - (1 - two) * TWO)
        similarity[~allowed.any(1)] = -math.inf
        return chosen.gather(1, cosines.argmax(1)[:, None])[:, 0], similarity


def _keep_best(score: Tensor, way: Tensor, number: int, seen: Tensor, known: Tensor) -> None:
    """Put the products of seen (q, d) and known (n, d) into score (q, n) where they are larger, and number into way.

    Tiles stay in the processor's cache, where comparing costs little beside the product.
    """
    for top in range(0, len(seen), _TILE[0]):
        for left in range(0, len(known), _TILE[1]):
            tile = slice(top, top + _TILE[0]), slice(left, left + _TILE[1])
            found = seen[tile[0]] @ known[tile[1]].T
            better = found > score[tile]
            torch.maximum(score[tile], found, out=score[tile])
            way[tile].masked_fill_(better, number)


class _Whitened:
    """Images (n, 1, s, s) where their mean is left out and all that varies, varies alike."""

    def __init__(self, images: Tensor, floor: float) -> None:
        self.images = images
        flat = images.flatten(1).double()
        flat = flat - flat.mean(1, keepdim=True)
        mean = functional.normalize(flat.mean(0), dim=0)
        left = flat - (flat @ mean)[:, None] * mean
        variances, directions = torch.linalg.eigh(left.T @ left / len(left))
        variances = variances.clamp(min=0)
        root = torch.sqrt(variances + floor * variances.mean() + 1e-12)
        self._mean, self._matrix = mean.float(), ((directions / root) @ directions.T).float()

    def features(self, images: Tensor, inside: Tensor) -> Tensor:
        """Return unit vectors (n, s * s) of images where `inside` (s, s) is 1; large values are cut off."""
        mask = inside.flatten()
        basis = torch.linalg.qr(torch.stack([mask, self._mean * mask], 1)).Q
        flat = images.flatten(1) * mask
        white = ((flat - (flat @ basis) @ basis.T) @ self._matrix) * mask
        spread = (white.square().sum(1, keepdim=True) / mask.sum()).sqrt().clamp(min=1e-9)
        return functional.normalize((white / spread).clamp(-LARGEST, LARGEST), dim=1)


def _by_two(cosines: Tensor, among: Tensor, people: Tensor) -> Tensor:
    """Return (q, k, k) the squared cosine between an image and the best sum of two candidates, both taking part.

    Args:
        cosines: (q, k) between image and candidate.
        among: (q, k, k) between candidates.
        people: (q, k) whose the candidates are; two of the same person do not count.
    """
    one, other = cosines[:, :, None], cosines[:, None, :]
    share = (one.square() + other.square() - 2 * one * other * among) / (1 - among.square()).clamp(min=_ALIKE)
    both = (one > among * other) & (other > among * one) & (one > 0) & (other > 0)
    return torch.where(both & (people[:, :, None] != people[:, None, :]), share.clamp(0, 1), 0.0)


def _ahead(explained: Tensor, people: Tensor) -> Tensor:
    """Return (q,) the share of what the next people leave unexplained that the best one or two explain.

    Args:
        explained: (q, k, k) share of the image that each pair of candidates explains.
        people: (q, k) whose the candidates are.
    """
    count = people.shape[1]
    best, place = explained.flatten(1).max(1)
    first, second = (people.gather(1, index[:, None]) for index in (place // count, place % count))
    taken = (people == first) | (people == second)
    following = explained.masked_fill(taken[:, :, None] | taken[:, None, :], 0.0).flatten(1).amax(1)
    return 1 - (1 + LEFT - best) / (1 + LEFT - following)


def _people(images: Tensor, patients: Array) -> Tensor:
    """Return (n,) int64 the person of each image: patients that share an identical image are one."""
    _, code = np.unique(patients.astype(str), return_inverse=True)
    flat = images.flatten(1)
    unit = functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)
    joined = [(code, code)]
    for start in range(0, len(unit), _BLOCK):
        one, other = np.nonzero((unit[start : start + _BLOCK] @ unit.T > _SAME).numpy())
        joined.append((code[one + start], code[other]))
    rows, columns = (np.concatenate(side) for side in zip(*joined, strict=True))
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(code.max() + 1,) * 2)
    return torch.from_numpy(connected_components(links, directed=False)[1].astype(np.int64)[code])


def _grey(values: Array) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32).mean(axis=1, keepdims=True))


def _ways() -> list[tuple[bool, Tensor]]:
    """Return every (mirrored or not, placement (4,)): where the pixels of an image lie in a training image."""
    return [(mirror, _placement(*way)) for way in product(TURNS, SCALES, SHIFTS, SHIFTS) for mirror in (False, True)]


def _placement(turn: float, scale: float, down: float, right: float) -> Tensor:
    """Return (4,) a, b, x, y of the inverse of: a window of a side, turned by degrees, moved by shares of the side."""
    angle = math.radians(turn)
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    x, y = 2 * right, 2 * down
    return torch.tensor([cosine - 1, sine, sine * y - cosine * x, -sine * x - cosine * y])
