"""Places in the README that a command writes: between two comments, and never by hand."""

import re


def between(text: str, name: str, content: str) -> str:
    """The text with other content at the place of this name; without such a place, as it is.

    The place begins with `<!-- NAME: written by COMMAND -->` and ends with `<!-- NAME end -->`.
    """
    place = re.compile(
        rf"(<!-- {re.escape(name)}: written by [^>]*-->).*?(<!-- {re.escape(name)} end -->)",
        re.DOTALL,
    )
    return place.sub(lambda found: f"{found[1]}\n{content}\n{found[2]}", text)
