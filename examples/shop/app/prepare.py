"""`python -m app.prepare`: make the tables and the first user, where they are missing."""

import sys

from sqlmodel import Session, SQLModel, select

from app.config import settings
from app.database import engine
from app.models import User
from app.security import passwords


def main() -> int:
    if not settings.first_user or not settings.first_password:
        print("shop: set the environment variables FIRST_USER and FIRST_PASSWORD", file=sys.stderr)
        return 2
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        if session.exec(select(User).where(User.email == settings.first_user)).first() is None:
            hashed = passwords.hash(settings.first_password)
            session.add(User(email=settings.first_user, hashed_password=hashed))
            session.commit()
    return 0


if __name__ == "__main__":
    sys.exit(main())
