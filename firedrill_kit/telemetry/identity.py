"""Ids: random bits of traces and spans, and of requests UUIDv7, which sort by time and meet no other id."""

import os
import time
from random import Random

_RANDOM_A_BITS = 12
_RANDOM_B_BITS = 62
# Seeded by the operating system: an id is no secret, and asking each time took 24 µs. A worker that is
# forked after the import (gunicorn --preload) would make the ids of its siblings, hence the second seed.
_random = Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)
random_bits = _random.getrandbits
"""Takes a number of bits, returns that many as an integer."""


def uuid7(unix_milliseconds: int | None = None) -> str:
    """Return a new UUID of version 7 (RFC 9562 §5.7); Python has its own from 3.14 on.

    unix_milliseconds: the time it carries; now, when None.
    """
    if unix_milliseconds is None:
        unix_milliseconds = time.time_ns() // 1_000_000
    bits = random_bits(_RANDOM_A_BITS + _RANDOM_B_BITS)
    value = (
        (unix_milliseconds & (1 << 48) - 1) << 80
        | 0x7 << 76
        | (bits >> _RANDOM_B_BITS) << 64
        | 0b10 << _RANDOM_B_BITS
        | bits & (1 << _RANDOM_B_BITS) - 1
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
