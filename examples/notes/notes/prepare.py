"""`python -m notes.prepare`: make the tables and the first author, where they are missing."""

import asyncio
import secrets

from sqlalchemy.dialects.postgresql import insert

from notes.database import Author, Base, engine
from notes.settings import variable
from notes.sign_in import hash_password


async def main() -> None:
    name, password = variable("FIRST_USER"), variable("FIRST_PASSWORD")
    first = {"name": name, "password": hash_password(password, secrets.token_bytes(16))}
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(insert(Author).values(first).on_conflict_do_nothing())
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main())
