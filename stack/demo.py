"""The demo users: fifty accounts, half with a calendar grant, and tokens for any of them; and the prober.

Everything goes through the service's own code - its models, its vault, its issuer - so that what
is seeded is what the service would have written. Seeding again changes nothing.
"""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import httpx
from argon2 import PasswordHasher
from sqlalchemy import URL, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from service.accounts import Account
from service.config import Config
from service.domains.calendar.models import Grant
from service.domains.calendar.vault import Vault
from service.domains.profile.models import Profile
from service.domains.settings.models import Settings as UserSettings
from service.metrics import PROVIDER
from service.security.tokens import TokenIssuer
from stack.credentials import PROBER, PROBER_PASSWORD

USERS = 50
EVENTS = 12
"""Events in the calendar of each user with a grant."""
PROBER_TOKEN_SECONDS = 120
"""Life of the prober's access tokens: the service refreshes them a minute before their end, so once a
minute, and a token endpoint that fails shows although nobody else's token is due for an hour."""
# A verify with the service's own parameters costs 0.2 s of CPU: too much for a probe every 5 s.
_HASHER = PasswordHasher(time_cost=1, memory_cost=8 * 1024, parallelism=1)


class UnknownUser(Exception):
    """Nobody has this e-mail address."""


def email_of(number: int) -> str:
    """number: 1 to USERS."""
    return f"user{number:02}@example.com"


def password_of(number: int) -> str:
    return f"firedrill-demo-{number:02}"


async def seed(config: Config) -> int:
    """Create the users and grants that are missing; returns how many accounts were new.

    Users with an odd number have a grant, and so has the prober. The provider and the database must be up.
    """
    engine = create_async_engine(_url(config))
    try:
        async with AsyncSession(engine) as session, session.begin():
            created = await _create_accounts(session)
            await _create_grants(session, config)
    finally:
        await engine.dispose()
    return created


async def mint_token(config: Config, email: str, *, legacy: bool) -> str:
    """A fresh access token of either format. Raises UnknownUser."""
    engine = create_async_engine(_url(config))
    try:
        async with AsyncSession(engine) as session:
            account = await session.scalar(
                select(Account).where(func.lower(Account.email) == email.casefold())
            )
    finally:
        await engine.dispose()
    if account is None:
        raise UnknownUser(f"nobody is called {email}: {email_of(1)} to {email_of(USERS)} exist")
    issuer = TokenIssuer(config, clock=time.time)
    sign = issuer.legacy if legacy else issuer.enhanced
    return sign(account.id, account.email, account.role)


def _url(config: Config) -> URL:
    return URL.create(
        "postgresql+asyncpg",
        config.database_user,
        config.database_password.get_secret_value(),
        config.database_host,
        config.database_port,
        config.database_name,
    )


async def _create_accounts(session: AsyncSession) -> int:
    users = [
        *((email_of(n), password_of(n), f"Demo User {n:02}") for n in range(1, USERS + 1)),
        (PROBER, PROBER_PASSWORD, "Prober"),
    ]
    emails = [email for email, *_ in users]
    there = set(await session.scalars(select(Account.email).where(Account.email.in_(emails))))
    created = 0
    for email, password, display_name in users:
        if email in there:
            continue
        account = Account(email=email, password_hash=_HASHER.hash(password))
        session.add(account)
        await session.flush()  # profile and settings need the generated id
        session.add(Profile(account_id=account.id, display_name=display_name))
        session.add(UserSettings(account_id=account.id))
        created += 1
    return created


async def _create_grants(session: AsyncSession, config: Config) -> None:
    emails = [*(email_of(number) for number in range(1, USERS + 1, 2)), PROBER]
    without = (
        await session.scalars(
            select(Account)
            .where(Account.email.in_(emails), ~Account.id.in_(select(Grant.account_id)))
            .order_by(Account.id)
        )
    ).all()
    if without:
        await session.execute(insert(Grant), await _grants(without, config))


async def _grants(accounts: Sequence[Account], config: Config) -> list[dict[str, object]]:
    """Rows for oauth_grants, each from a consent at the provider."""
    vault = Vault(config.grant_keys)
    rows: list[dict[str, object]] = []
    async with httpx.AsyncClient(base_url=config.provider_url, trust_env=False) as provider:
        for account in accounts:
            user = account.email.partition("@")[0]
            wanted: dict[str, object] = {"user": user, "events": EVENTS}
            if account.email == PROBER:
                wanted["expires_in"] = PROBER_TOKEN_SECONDS
            answer = await provider.post("/_grants", json=wanted)
            answer.raise_for_status()
            minted = answer.json()
            expires_at = datetime.now(UTC) + timedelta(seconds=minted["expires_in"])
            rows.append(
                {
                    "account_id": account.id,
                    "provider": PROVIDER,
                    "scope": minted["scope"],
                    "access_token_enc": vault.seal(minted["access_token"], account_id=account.id),
                    "refresh_token_enc": vault.seal(
                        minted["refresh_token"], account_id=account.id
                    ),
                    "expires_at": expires_at,
                }
            )
    return rows


def run_seed(config: Config) -> None:
    created = asyncio.run(seed(config))
    print(
        f"{USERS} demo users and the prober, {created} of them new; "
        f"{(USERS + 1) // 2 + 1} have a calendar grant"
    )


def run_token(config: Config, email: str, *, legacy: bool) -> None:
    print(asyncio.run(mint_token(config, email, legacy=legacy)))
