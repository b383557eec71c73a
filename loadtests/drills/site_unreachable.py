"""Every container is healthy and the site hangs: what callers go through moves nothing any more."""

from loadtests.faults.network import cut
from loadtests.judge.drill import Drill

DRILL = Drill(
    name="site_unreachable",
    what="Connections to the service are taken and nothing moves: only probes from outside can see it.",
    environment={"FAULT_PROXIES": "service"},
    breaks=(cut("service"),),
    expects=("ApiProbeFailing",),
    # Half of a minute's probes, 15 s of waiting, 20 s of grouping, and a probe takes 2.5 s to fail.
    deadline_seconds=90,
    resolve_seconds=180,
    evidence='sum(rate(probe_requests_total{job="prober",result!="ok"}[15s]))',
)
