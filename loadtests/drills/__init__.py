"""The drills: one file each, with what it breaks, the page it expects and within how long.

`runner/` carries them out. A new drill is a new file here with a `DRILL` of the file's name.
"""

import importlib
import pkgutil

from loadtests.judge.drill import Drill


def catalogue() -> dict[str, Drill]:
    """Every drill by name."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name.startswith("_") or module.ispkg:
            continue
        drill: Drill = importlib.import_module(f"{__name__}.{module.name}").DRILL
        found[drill.name] = drill
    return found
