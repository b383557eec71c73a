"""The history of the database schema, and the command that applies it.

`python -m service.migrations upgrade` is the only thing that changes the schema; the service never does,
so that a restart cannot. Every revision is `expand` (the version that runs now keeps working on it) or
`contract` (removes what no running version uses any more); there is no way down: mend forward.
A newcomer's usual mistake is to rename or tighten in one step: 0003, 0005 and 0006 rename one column.
After a new revision, `python -m service.migrations record` writes what the code needs to
`service/schema/expected.json`.
"""
