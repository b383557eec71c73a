"""What a forked process has to begin anew: it inherits queues, locks and sockets, but no thread."""

import os
from collections.abc import Callable
from typing import Any
from weakref import WeakMethod


def after_fork(method: Callable[[], Any]) -> None:
    """Call a bound method in every child that this process forks, for as long as its object lives."""
    found = WeakMethod(method)

    def call() -> None:
        if (alive := found()) is not None:
            alive()

    os.register_at_fork(after_in_child=call)
