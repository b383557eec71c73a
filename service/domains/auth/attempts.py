"""How many failed sign-ins one address may have in a minute."""

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable

from service import failures
from service.failures import Failure

WINDOW_SECONDS = 60.0
MAX_ADDRESSES = 10_000
"""With 30 attempts each about 5 MB; beyond it the address that failed longest ago is forgotten."""


class Attempts:
    """A sliding window of failures per address, in this process."""

    def __init__(self, max_failures: int, *, clock: Callable[[], float]) -> None:
        """clock: seconds that never go back."""
        self._max_failures = max_failures
        self._clock = clock
        self._failed_at: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raise Failure(RATE_LIMITED) when the address has used up its failures.

        `Retry-After` is when its oldest failure leaves the window. Attempts that run at the same
        time may overshoot by their number, which admission bounds.
        """
        failed_at = self._failed_at.get(network_of(address))
        if failed_at is None:
            return
        now = self._clock()
        while failed_at and failed_at[0] <= now - WINDOW_SECONDS:
            failed_at.popleft()
        if len(failed_at) >= self._max_failures:
            raise Failure(
                failures.RATE_LIMITED, retry_after_seconds=failed_at[0] + WINDOW_SECONDS - now
            )

    def note_failure(self, address: str) -> None:
        network = network_of(address)
        failed_at = self._failed_at.setdefault(network, deque(maxlen=self._max_failures))
        failed_at.append(self._clock())
        self._failed_at.move_to_end(network)
        if len(self._failed_at) > MAX_ADDRESSES:
            self._failed_at.popitem(last=False)


def network_of(address: str) -> str:
    """Return what counts as one address: an IPv6 customer has a /64 to choose from."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        # A socket for both versions: all of IPv4 would be one network.
        return str(parsed.ipv4_mapped)
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return address
