"""One small application under test, and the ways of instrumenting it: a file for each library.

Imported by servers that run in environments of their own: nothing here may import the rest of `loadtests`.
"""
