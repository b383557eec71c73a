"""Checking passwords off the event loop, a bounded number at a time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

HASHER = PasswordHasher(time_cost=3, memory_cost=65536, parallelism=1)
"""RFC 9106 §4's second recommendation (3 passes, 64 MiB), but one lane: its four would be eight
threads for two checks at once, against the one thread of the event loop. 0.2 s of CPU,
measured."""

_HASH_OF_NOTHING = (
    "$argon2id$v=19$m=65536,t=3,p=1$"
    "g2XWQq91il5wFivn/sbGRg$kHwlPMAmtGZRa1jGpl/w2vdtnu323NFdBj16H5QH/hY"
)
"""Hash of a random password that was thrown away: an unknown address costs as much as a wrong password.
Accounts whose hash has smaller parameters, as the demo's have, answer faster than that."""

MAX_AT_ONCE = 2


class Passwords:
    """Two threads for argon2, which releases the interpreter's lock while it works."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MAX_AT_ONCE, thread_name_prefix="argon2")

    async def match(self, password: str, password_hash: str | None) -> bool:
        """Tell whether the hash is the password's. None, for no account, takes as long and is
        False.

        Cancelling gives a check up that has not begun; one that has begun ends by itself.
        """
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, _match, password, password_hash
        )

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _match(password: str, password_hash: str | None) -> bool:
    try:
        HASHER.verify(password_hash or _HASH_OF_NOTHING, password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None
