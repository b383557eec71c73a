"""The cache that replicas share, as they meet it, and its server: a row of the database's page."""

from dashboards.frame import HERE, RATE, SCOPE
from dashboards.links import runbook_url
from dashboards.panels import AMBER, GREEN, RED, Link, Panel, Query, graph, states

_CACHE = f'job="cache",{SCOPE}'


def panels() -> list[Panel]:
    return [
        states(
            "Shared cache used, by instance",
            "Good: used, or no cache at all. Gated: a call failed or was slow, and the replica goes on by "
            "itself until a probe succeeds. A minute and a half of it is SettingsCacheDown.",
            Query(f"max by (instance) (cache_gate_closed{{{HERE}}})", "{{instance}}"),
            words={"0": ("used", GREEN), "1": ("gated", AMBER)},
            width=8,
            height=8,
            links=[Link("Runbook", runbook_url("SettingsCacheDown"))],
        ),
        graph(
            "Calls of the shared cache, by what became of them",
            "Good: hit and miss. gated calls were not made and cost nothing; an error is followed by them.",
            Query(
                f"sum by (result) (rate(cache_operations_total{{{HERE}}}[{RATE}]))", "{{result}}"
            ),
            unit="ops",
            width=8,
            height=8,
            stacked=True,
            colors={"hit": GREEN, "error": RED, "gated": AMBER},
        ),
        graph(
            "Errors of the shared cache, by reason",
            "Good: none. connection is the server or the way to it, timeout that it is busy, auth the "
            "password, full a limit without eviction, read_only a failover.",
            Query(f"sum by (reason) (rate(cache_errors_total{{{HERE}}}[{RATE}]))", "{{reason}}"),
            unit="ops",
            width=8,
            height=8,
        ),
        graph(
            "Memory of the cache's server",
            "Good: under max. At max what was not used longest is evicted, which is how it is meant to be; "
            "many evictions a second make the hits fewer.",
            Query(f"max(redis_memory_used_bytes{{{_CACHE}}})", "used"),
            Query(f"max(redis_memory_max_bytes{{{_CACHE}}})", "max"),
            unit="bytes",
            width=16,
            height=8,
            dashed=["max"],
        ),
        graph(
            "Evictions a second",
            "Good: none, or a few. As many as there are stores: the memory is too small to be of use.",
            Query(f"sum(rate(redis_evicted_keys_total{{{_CACHE}}}[{RATE}]))", "evicted"),
            unit="ops",
            width=8,
            height=8,
        ),
    ]
