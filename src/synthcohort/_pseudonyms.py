"""Pseudonyms of patients, volumes and samples: keyed, so that nobody without the key can go from an id to them."""

from __future__ import annotations

import hmac

from .runs import canonical_json

DIGITS = 16
"""Hexadecimal digits of a pseudonym: 64 bits, so that a million patients collide with a chance of 3 in 100 million."""
_CHECK_DIGITS = 8


def pseudonym(key: bytes, *what: str | int) -> str:
    """Return the name under which something is written, 16 hexadecimal digits.

    Args:
        key: The cohort's, see `runs.cohort_key`.
        what: What it is of: "patient" and the source id; "group", the patient's and its own; "sample", the patient's,
            the group's and the slice index.
    """
    return hmac.digest(key, canonical_json(what).encode(errors="surrogateescape"), "sha256").hex()[:DIGITS]


def key_check(key: bytes) -> str:
    """Return 8 hexadecimal digits that tell one key from another and nothing else.

    A cohort's history holds them, so that "this patient is not in it" is not said under a key that did not make it.
    """
    return hmac.digest(key, b"key check", "sha256").hex()[:_CHECK_DIGITS]
