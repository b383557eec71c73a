"""The table that `profile` reads; named here for those who have no SQLAlchemy."""

TABLE = "bench_people"
