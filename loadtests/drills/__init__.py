"""The drills: one file each, with what it breaks, the page it expects and within how long.

`runner/` carries them out. A new drill is a new file here with a `DRILL` of the file's name.
"""

import importlib
import pkgutil

from loadtests.judge.drill import Drill

NOT_DRILLS = frozenset({"described"})
"""What else is in this folder."""


def catalogue() -> dict[str, Drill]:
    """Every drill by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("_") or module.ispkg or module.name in NOT_DRILLS:
            continue
        drill: Drill = importlib.import_module(f"{__name__}.{module.name}").DRILL
        found[drill.name] = drill
    return found
