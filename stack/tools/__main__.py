"""`python -m stack.tools [collector promtool prometheus]`: builds them into .tools, all or the named ones."""

import sys

from stack.command_line import run
from stack.tools.building import BuildError
from stack.tools.collector import OTELCOL
from stack.tools.prometheus import PROMETHEUS, PROMTOOL

TOOLS = {"collector": OTELCOL, "promtool": PROMTOOL, "prometheus": PROMETHEUS}


def main(names: list[str]) -> int:
    """Build them; 1 when one cannot be built, 2 for an unknown name."""
    unknown = sorted(set(names) - set(TOOLS))
    if unknown:
        print(
            f"tools: {', '.join(unknown)} is not known; give some of {', '.join(TOOLS)}",
            file=sys.stderr,
        )
        return 2
    code = 0
    for name in names or TOOLS:
        try:
            TOOLS[name].build()
        except BuildError as error:
            print(f"tools: {name}: {error}", file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    run("tools", lambda: main(sys.argv[1:]))
