"""One process of the refresh test: `python -m tests.stack.refresh_worker CALLERS ACCOUNT...`.

Says `ready` when its connection is there, waits for a line, then lets CALLERS callers ask for the token
of each account at once and prints how they fared: {"ok": n, "<failure code>": n}.
"""

import asyncio
import json
import sys
from collections import Counter

from service.config import read_config
from service.database import Database
from service.domains.calendar import operations
from service.domains.calendar.grants import Grants
from service.failures import Failure
from service.upstream import CalendarProvider, open_http


async def main(callers: int, accounts: list[int]) -> None:
    config = read_config()
    database = Database(config)
    async with open_http(config) as http:
        grants = Grants(database, CalendarProvider(http, config), config)
        await operations.count_grants(database)
        print("ready", flush=True)  # noqa: T201 - its standard output is its interface
        await asyncio.to_thread(sys.stdin.readline)

        async def ask(account_id: int) -> str:
            try:
                await grants.access_token(account_id)
            except Failure as failure:
                return failure.mode.code
            return "ok"

        outcomes = await asyncio.gather(*(ask(account) for account in accounts * callers))
        print(json.dumps(Counter(outcomes)), flush=True)  # noqa: T201 - as above
        await grants.close()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), [int(account) for account in sys.argv[2:]]))
