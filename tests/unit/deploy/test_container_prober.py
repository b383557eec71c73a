"""The canary's way to read back where the back ends are Tempo and Loki."""

import httpx
import pytest
from starlette.applications import Starlette

from deploy.compose import prober

TRACE = "0af7651916cd43dd8448eb211c80319c"
TEMPO = {
    "trace": {"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "canary"}, {"name": "b"}]}]}]}
}
LOKI = {"data": {"result": [{"stream": {}, "values": [["1", '{"trace_id": "..."}']]}]}}


def back_end(*, has_trace: bool, queries: list[str]) -> httpx.AsyncClient:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "loki":
            queries.append(request.url.params["query"])
            return httpx.Response(200, json=LOKI if has_trace else {"data": {"result": []}})
        assert request.url.path == f"/api/v2/traces/{TRACE}"
        return httpx.Response(200, json=TEMPO) if has_trace else httpx.Response(404)

    return httpx.AsyncClient(transport=httpx.MockTransport(answer))


async def get(client: httpx.AsyncClient, trace_id: str = TRACE) -> httpx.Response:
    route = prober.trace_route(client, tempo_url="http://tempo:3200", loki_url="http://loki:3100")
    app = httpx.ASGITransport(Starlette(routes=[route]))
    async with httpx.AsyncClient(transport=app, base_url="http://prober") as caller:
        return await caller.get(f"/api/traces/{trace_id}")


async def test_spans_and_lines_are_read_back() -> None:
    queries: list[str] = []

    answer = await get(back_end(has_trace=True, queries=queries))

    assert answer.json() == {"spans": ["canary", "b"], "logs": ['{"trace_id": "..."}']}
    assert queries == [f'{{service_name=~".+"}} |= "{TRACE}"']


async def test_a_trace_that_is_not_there_yet_is_empty() -> None:
    answer = await get(back_end(has_trace=False, queries=[]))

    assert answer.json() == {"spans": [], "logs": []}


@pytest.mark.parametrize("trace_id", ["x" * 32, "0" * 31, '"} or {'])
async def test_nothing_but_a_trace_id_reaches_a_query(trace_id: str) -> None:
    queries: list[str] = []

    answer = await get(back_end(has_trace=True, queries=queries), trace_id)

    assert answer.status_code == 422
    assert not queries


async def test_a_setting_that_is_missing_is_named() -> None:
    with pytest.raises(KeyError, match="SERVICE_URLS"):
        prober.application({}, httpx.AsyncClient())
