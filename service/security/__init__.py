"""Who calls, and may this request have come from somebody else's page.

`Authentication` answers the first without the database, `Work` runs operations for the caller it
found. The tokens' rules are in `tokens` and `claims`, the cookie's in `sessions` and `csrf`.
"""

from service.security.authentication import Authentication, Identity
from service.security.callers import Caller, CallerQuery, UnitOfWork, Work
from service.security.composition import Security
from service.security.tokens import TokenIssuer, TokenVerifier

__all__ = [
    "Authentication",
    "Caller",
    "CallerQuery",
    "Identity",
    "Security",
    "TokenIssuer",
    "TokenVerifier",
    "UnitOfWork",
    "Work",
]
