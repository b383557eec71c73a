"""What the composition root made for the requests of a process, found by its type.

`app.state` is a bag of names that no type checker reads; `provided(request, Grants)` is a Grants.
"""

from typing import TypeVar

from fastapi import FastAPI, Request

T = TypeVar("T")


def provide(app: FastAPI, kind: type[T], part: T) -> None:
    """Make a part known to the requests of the application; a second one of its kind replaces it."""
    if not hasattr(app.state, "provided"):
        app.state.provided = {}
    app.state.provided[kind] = part


def provided(request: Request, kind: type[T]) -> T:
    """Raises KeyError when the composition root made none."""
    found: T = request.app.state.provided[kind]
    return found


def provided_or_none(request: Request, kind: type[T]) -> T | None:
    """The same for a part that a configuration may leave out."""
    found: T | None = request.app.state.provided.get(kind)
    return found
