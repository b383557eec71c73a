"""What a SQL statement does to which tables, for names of spans and labels of metrics.

The format is the one of the OpenTelemetry conventions: operations and their targets in the order of the
text, `SELECT profiles`. This is no parser of SQL: it knows what this project's statements are made of.
https://opentelemetry.io/docs/specs/semconv/db/database-spans/#generating-a-summary-of-the-query
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

SUMMARY_LENGTH_MAX = 255

_TOKEN = re.compile(
    r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|(?:\"[^\"]+\"|\w+)(?:\.(?:\"[^\"]+\"|\w+))*|\S", re.DOTALL
)
_COMMENT_OR_LITERAL = ("--", "/*", "'")
_OPERATIONS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "MERGE"})
_NO_OPERATION_AFTER = frozenset({"DO", "FOR", "KEY"})
"""ON CONFLICT DO UPDATE, FOR UPDATE, FOR NO KEY UPDATE."""
_BEFORE_TARGET = frozenset({"FROM", "JOIN", "INTO", "UPDATE"})
_BETWEEN = frozenset({"ONLY", "LATERAL", "("})


@dataclass(frozen=True, slots=True)
class QuerySummary:
    """Of one statement. operation: its main one. collection: its table, empty unless it is one."""

    text: str
    operation: str
    collection: str


@lru_cache(maxsize=512)
def summary_of(sql: str) -> QuerySummary:
    """Return the summary; of a statement that is about no table, its first word."""
    tokens = [token for token in _TOKEN.findall(sql) if not token.startswith(_COMMENT_OR_LITERAL)]
    parts = list(_parts(tokens))
    operations = [name for depth, name, is_target in parts if depth == 0 and not is_target]
    targets = {name for _, name, is_target in parts if is_target}
    first = tokens[0] if tokens else ""
    text = " ".join(name for _, name, _ in parts) or first
    if len(text) > SUMMARY_LENGTH_MAX:
        text = text[: SUMMARY_LENGTH_MAX + 1].rpartition(" ")[0]
    return QuerySummary(
        text,
        operation=operations[0] if operations else first,
        collection=targets.pop() if len(targets) == 1 else "",
    )


def _parts(tokens: list[str]) -> Iterator[tuple[int, str, bool]]:
    """Yield (depth of parentheses, name, whether it is a target) of what the summary is made of."""
    expressions = {
        name
        for name, word, bracket in zip(tokens, tokens[1:], tokens[2:], strict=False)
        if word.upper() == "AS" and bracket.upper() in {"(", "MATERIALIZED", "NOT"}
    }
    is_query = [True]
    """For each open parenthesis, whether a query is in it; in others FROM belongs to a function."""
    before, after_target, is_awaited = "", 0, False
    for token, following in zip(tokens, [*tokens[1:], ""], strict=False):
        word = token.upper()
        after_target -= 1
        if is_awaited and word not in _BETWEEN and word not in _OPERATIONS:
            is_function = following == "(" and before != "INTO"
            if not is_function and token not in expressions:
                yield len(is_query) - 1, token, True
            is_awaited, after_target = False, 3 if following.upper() == "AS" else 2
        elif word == "(":
            is_query.append(following.upper() in {"SELECT", "WITH"})
        elif word == ")" and is_query[1:]:
            is_query.pop()
        elif word in _OPERATIONS and before not in _NO_OPERATION_AFTER:
            yield len(is_query) - 1, token, False
            is_awaited = word == "UPDATE"
        elif word == ",":
            # Right after a target or its alias; any other comma is of another list.
            is_awaited = after_target >= 0
        elif word in _BEFORE_TARGET - _OPERATIONS and before != "DISTINCT":
            is_awaited = is_query[-1] or word == "JOIN"
        before = word
