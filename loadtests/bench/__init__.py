"""`make bench`: what telemetry costs, side by side with what others use, and what the service costs.

A server under test has a core for itself; the generator, PostgreSQL and the collector share the others.
Figures are ratios within one round, so that they mean the same on another machine.
"""
