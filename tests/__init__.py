"""The tests: unit, contracts, integration, examples, stack; what several layers share stands here."""
