import httpx

from loadtests.observe import runbooks
from stack.prometheus import Prometheus


def test_a_runbook_is_confirmed_by_every_query_of_its_section() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["query"])
        result = [{"metric": {}, "value": [0, "1"]}] if "connection_held" in asked[-1] else []
        return httpx.Response(200, json={"data": {"result": result}})

    prometheus = Prometheus("http://prometheus", transport=httpx.MockTransport(answer))

    assert runbooks.confirmed(prometheus, ["DeadMansSwitch"]) == {}
    assert asked == []
    found = runbooks.confirmed(prometheus, ["DbPoolExhausted", "PostgresDown"])
    assert found == {"DbPoolExhausted": True, "PostgresDown": False}
