"""`make request`: one request, followed through every signal into a page."""

from pathlib import Path

from loadtests.costs.request import write_page
from stack.settings import read_settings
from tests.stack.conftest import Stack


def test_the_page_shows_the_answer_the_spans_the_line_and_the_samples(
    stack: Stack, tmp_path: Path
) -> None:
    settings = read_settings(stack.environment)
    page = tmp_path / "request.md"

    write_page(settings, stack.token("user05@example.com"), page)

    written = page.read_text()
    assert "answered 200" in written
    assert "`calendar.sync` | INTERNAL |" in written
    assert "`SELECT oauth_grants` | CLIENT |" in written
    assert '"event": "request_finished"' in written
    assert "| `http_server_request_duration_seconds_bucket{" in written
