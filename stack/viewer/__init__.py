"""Traces and their log lines on a machine without Tempo and Loki.

Receives OTLP, keeps the traces that the service marked (`firedrill.trace.keep`) and those with an error
for two hours in SQLite, and puts the log lines of the same trace beside them.
"""
