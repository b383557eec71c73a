"""The laboratory: load and faults against a running service, and the judgement of what paged."""
