"""Prometheus' HTTP API, as the laboratory, the checks of deploy/ and the tests ask it.

Every method raises httpx.HTTPError when Prometheus does not answer, or says no to the question. A
caller on an event loop uses asyncio.to_thread.
"""

from typing import Any, Self

import httpx

Labels = dict[str, str]
Points = list[tuple[float, float]]
"""(seconds since 1970, value), oldest first."""


class Prometheus:
    """One server; may be asked from several threads. transport: another than the network, for tests."""

    def __init__(
        self,
        url: str,
        *,
        timeout_seconds: float = 20.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._client = httpx.Client(
            base_url=url, trust_env=False, timeout=timeout_seconds, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def query(self, promql: str) -> list[tuple[Labels, float]]:
        """Each series with its value now."""
        result = self.data("query", query=promql)["result"]
        return [(series["metric"], float(series["value"][1])) for series in result]

    def query_range(
        self, promql: str, *, start: float, end: float, step_seconds: float
    ) -> list[tuple[Labels, Points]]:
        """Each series with its values between two times, in seconds since 1970."""
        found = self.data("query_range", query=promql, start=start, end=end, step=step_seconds)
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in found["result"]
        ]

    def exemplars(
        self, selector: str, *, start: float, end: float
    ) -> list[tuple[Labels, dict[str, Any]]]:
        """Each exemplar with the labels of its series, between two times in seconds since 1970."""
        found = self.data("query_exemplars", query=selector, start=start, end=end)
        return [
            (series["seriesLabels"], exemplar)
            for series in found
            for exemplar in series["exemplars"]
        ]

    def series(self, selector: str) -> list[Labels]:
        """The label sets that match, of the last hours."""
        found: list[Labels] = self.data("series", **{"match[]": selector})
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Every rule of every group, as the API has them."""
        return [rule for group in self.data("rules")["groups"] for rule in group["rules"]]

    def data(self, path: str, **parameters: str | float) -> Any:
        """`data` of any other answer below /api/v1."""
        answer = self._client.get(f"/api/v1/{path}", params=parameters)
        return answer.raise_for_status().json()["data"]
