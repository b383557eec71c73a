"""Summaries of statements: the examples of the conventions, and what this project's statements have."""

import pytest

from firedrill_kit.telemetry.query_summary import SUMMARY_LENGTH_MAX, QuerySummary, summary_of
from service.domains.calendar.progress import _UPSERT


@pytest.mark.parametrize(
    ("sql", "text", "operation", "collection"),
    [
        (
            "SELECT * FROM wuser_table WHERE username = ?",
            "SELECT wuser_table",
            "SELECT",
            "wuser_table",
        ),
        (
            (
                "INSERT INTO shipping_details (order_id, address) "
                "SELECT order_id, address FROM orders WHERE order_id = ?"
            ),
            "INSERT shipping_details SELECT orders",
            "INSERT",
            "",
        ),
        (
            "SELECT * FROM songs, artists WHERE songs.artist_id == artists.id",
            "SELECT songs artists",
            "SELECT",
            "",
        ),
        (
            (
                "SELECT order_date FROM (SELECT * FROM orders o "
                "JOIN customers c ON o.customer_id = c.customer_id)"
            ),
            "SELECT SELECT orders customers",
            "SELECT",
            "",
        ),
        ('SELECT * FROM "song list"', 'SELECT "song list"', "SELECT", '"song list"'),
    ],
)
def test_the_examples_of_the_conventions(
    sql: str, text: str, operation: str, collection: str
) -> None:
    assert summary_of(sql) == QuerySummary(text, operation, collection)


@pytest.mark.parametrize(
    ("sql", "text", "operation", "collection"),
    [
        ("SELECT 1", "SELECT", "SELECT", ""),
        ("SAVEPOINT sa_savepoint_1", "SAVEPOINT", "SAVEPOINT", ""),
        ("", "", "", ""),
        ("SELECT a FROM x.t AS u ORDER BY a, b", "SELECT x.t", "SELECT", "x.t"),
        ("SELECT a FROM t AS u, v w, x", "SELECT t v x", "SELECT", ""),
        ("SELECT extract(epoch FROM b), c FROM t FOR UPDATE", "SELECT t", "SELECT", "t"),
        ("SELECT a FROM f($1) AS e (a text)", "SELECT", "SELECT", ""),
        ("SELECT 'x FROM y' FROM t -- FROM z", "SELECT t", "SELECT", "t"),
        ("SELECT a FROM t WHERE a IS DISTINCT FROM b", "SELECT t", "SELECT", "t"),
        ("UPDATE ONLY t AS u SET a = 1, b = 2", "UPDATE t", "UPDATE", "t"),
        ("DELETE FROM t WHERE a = $1", "DELETE t", "DELETE", "t"),
        (
            (
                "WITH old AS (SELECT id FROM t FOR NO KEY UPDATE) UPDATE t SET a = 1 FROM old "
                "WHERE t.id = old.id"
            ),
            "SELECT t UPDATE t",
            "UPDATE",
            "t",
        ),
        (
            "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET a = excluded.a",
            "INSERT t",
            "INSERT",
            "t",
        ),
    ],
)
def test_what_our_statements_are_made_of(
    sql: str, text: str, operation: str, collection: str
) -> None:
    assert summary_of(sql) == QuerySummary(text, operation, collection)


def test_the_statement_that_stores_events_is_about_their_table() -> None:
    assert summary_of(str(_UPSERT)).collection == "calendar_events"


def test_a_long_summary_ends_between_two_names() -> None:
    sql = " UNION ALL ".join(f"SELECT * FROM table_{number}" for number in range(40))

    text = summary_of(sql).text

    assert len(text) <= SUMMARY_LENGTH_MAX
    whole = " ".join(f"SELECT table_{number}" for number in range(40))
    assert whole.startswith(f"{text} ")
