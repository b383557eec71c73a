"""Somebody else's application with the kit's three lines: `uvicorn tests.stack.foreign_service:app`."""

import firedrill_kit
from tests.unit.kit.foreign import foreign

app = foreign()
firedrill_kit.instrument(app)
