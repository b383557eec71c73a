"""A sub-application, mounted at /about: it has FastAPI's own errors and a document of its own."""

from fastapi import FastAPI

app = FastAPI(title="About the notebook")


@app.get("/version")
async def version() -> dict[str, str]:
    return {"version": "1"}
