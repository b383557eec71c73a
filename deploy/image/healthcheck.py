"""`python -m deploy.image.healthcheck URL...`: exit 0 when each answers 200 within 2 s, else 1.

The image has no curl, and needs none.
"""

import http
import http.client
import sys
from urllib.parse import urlsplit

ANSWER_SECONDS = 2.0
"""Below the 3 s that the HEALTHCHECK gives: the reason is printed before it is killed."""


def status_of(url: str) -> int:
    """Raises OSError, HTTPException."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    finally:
        connection.close()


def problem_of(url: str) -> str:
    """What is wrong with it, in a few words; empty when nothing is."""
    try:
        status = status_of(url)
    except (OSError, http.client.HTTPException) as error:
        return f"{url}: {type(error).__name__}"
    return "" if status == http.HTTPStatus.OK else f"{url}: {status}"


def main(urls: list[str]) -> int:
    if not urls or not all(url.startswith("http://") for url in urls):
        sys.stderr.write("healthcheck: give http:// URLs\n")
        return 2
    problems = [problem for url in urls if (problem := problem_of(url))]
    sys.stderr.write("".join(f"healthcheck: {problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
