"""Request ids: UUIDv7, so that they sort by time and meet no other id."""

import random
import time

_RANDOM_A_BITS = 12
_RANDOM_B_BITS = 62
# Seeded by the operating system once: an id is no secret, and asking each time took 24 µs.
_RANDOM = random.Random()  # noqa: S311


def uuid7(unix_milliseconds: int | None = None) -> str:
    """Return a new UUID of version 7 (RFC 9562 §5.7); Python has its own from 3.14 on.

    unix_milliseconds: the time it carries; now, when None.
    """
    if unix_milliseconds is None:
        unix_milliseconds = time.time_ns() // 1_000_000
    random_bits = _RANDOM.getrandbits(_RANDOM_A_BITS + _RANDOM_B_BITS)
    value = (
        (unix_milliseconds & (1 << 48) - 1) << 80
        | 0x7 << 76
        | (random_bits >> _RANDOM_B_BITS) << 64
        | 0b10 << _RANDOM_B_BITS
        | random_bits & (1 << _RANDOM_B_BITS) - 1
    )
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
