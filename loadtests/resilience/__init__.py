"""What the service answers while something it needs is broken, and how soon it is well again.

`python -m loadtests.resilience` writes docs/resilience.md and docs/resilience.json.
"""
