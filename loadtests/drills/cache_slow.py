"""The cache that replicas share answers, and too late to be of use."""

from loadtests.faults.network import cut
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="cache_slow",
    what="Each way between service and cache takes 200 ms longer: one call waits 50 ms, then a gate.",
    environment={"FAULT_PROXIES": "cache"},
    breaks=(cut("cache", mode="latency", latency_seconds=0.2),),
    expects=(),
    tickets=frozenset({"SettingsCacheDown"}),
    deadline_seconds=180,
    evidence='max(cache_gate_closed{job="service"})',
)
