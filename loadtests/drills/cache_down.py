"""The cache that replicas share refuses connections: a ticket, and every answer as right as before."""

from loadtests.faults.network import cut
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="cache_down",
    what="The port of the shared cache is closed: no page, no failed request, a ticket.",
    environment={"FAULT_PROXIES": "cache", "REPLICAS": "2"},
    breaks=(cut("cache", mode="refuse"),),
    expects=(),
    tickets=frozenset({"SettingsCacheDown"}),
    deadline_seconds=180,
    evidence='max(cache_gate_closed{job="service"})',
)
