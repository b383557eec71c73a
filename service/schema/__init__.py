"""What the database has against what the code needs.

`catalogue` reads both, `comparison` tells them apart, `watch` does so now and then while the service
runs. The service only ever looks: `python -m service.migrations` changes the schema.
"""

from service.schema.catalogue import Catalogue, actual, expected, fingerprint, record
from service.schema.comparison import KINDS, OPTIONAL_GROUPS, Drift, compare
from service.schema.watch import Capabilities, SchemaWatch

__all__ = [
    "KINDS",
    "OPTIONAL_GROUPS",
    "Capabilities",
    "Catalogue",
    "Drift",
    "SchemaWatch",
    "actual",
    "compare",
    "expected",
    "fingerprint",
    "record",
]
