"""A TCP proxy whose faults are chosen while it runs; drills and tests put it before a server."""

from stack.proxy.faults import MODES, FaultProxy, Mode

__all__ = ["MODES", "FaultProxy", "Mode"]
