"""The notes: list, create, read one, all of them as a stream, and a socket that says how many."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Query, WebSocket, WebSocketDisconnect, status
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import func, select, update

from notes.database import Note, Session, sessions
from notes.errors import NotesError
from notes.sign_in import Caller, author_of

log = logging.getLogger(__name__)
router = APIRouter(prefix="/notes", tags=["notes"])


class NewNote(BaseModel):
    text: str = Field(min_length=1, max_length=10_000)


class ReadNote(NewNote):
    id: int
    words: int | None


async def count_words(note_id: int, text: str) -> None:
    """After the answer, when the request's session is closed."""
    async with sessions.begin() as session:
        words = len(text.split())
        await session.execute(update(Note).where(Note.id == note_id).values(words=words))
    log.info("counted the words of a note", extra={"fields": {"note": note_id, "words": words}})


@router.get("", response_model=list[ReadNote])
async def list_notes(
    caller: Caller, session: Session, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> object:
    own = select(Note).where(Note.author_id == caller).order_by(Note.id.desc()).limit(limit)
    return (await session.scalars(own)).all()


@router.post("", status_code=status.HTTP_201_CREATED, response_model=ReadNote)
async def create_note(
    new: NewNote, caller: Caller, session: Session, background: BackgroundTasks
) -> object:
    note = Note(author_id=caller, text=new.text)
    session.add(note)
    await session.commit()
    background.add_task(count_words, note.id, note.text)
    return note


@router.get("/export")
async def export_notes(caller: Caller) -> StreamingResponse:
    """All notes of the caller, one JSON object a line."""

    async def lines() -> AsyncIterator[str]:
        # This FastAPI closes a request's session before the body is sent.
        async with sessions() as session:
            own = select(Note).where(Note.author_id == caller).order_by(Note.id)
            async for note in await session.stream_scalars(own):
                yield json.dumps({"id": note.id, "text": note.text}) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


@router.get("/{note_id}", response_model=ReadNote)
async def read_note(note_id: int, caller: Caller, session: Session) -> object:
    note = await session.get(Note, note_id)
    if note is None or note.author_id != caller:
        raise NotesError(404, "no_such_note", "You have no note of this number")
    return note


@router.websocket("/count")
async def count_notes(socket: WebSocket) -> None:
    """The first message is the token; for each further one, how many notes the caller has."""
    await socket.accept()
    try:
        caller = author_of(await socket.receive_text())
        own = select(func.count()).select_from(Note).where(Note.author_id == caller)
        while await socket.receive_text():
            async with sessions() as session:
                await socket.send_json({"notes": await session.scalar(own)})
    except NotesError:
        await socket.close(status.WS_1008_POLICY_VIOLATION)
    except WebSocketDisconnect:
        log.info("a listener left")
