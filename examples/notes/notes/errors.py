"""Every error has one shape: {"error": {"code", "message", ...}}."""

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException


class NotesError(Exception):
    """An answer other than success. code: what clients compare."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


def answer(status: int, code: str, message: str, **more: object) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message, **more}}, status)


def install(app: FastAPI) -> None:
    @app.exception_handler(NotesError)
    async def ours(_: Request, error: NotesError) -> JSONResponse:
        return answer(error.status, error.code, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        fields = {".".join(map(str, each["loc"])): each["msg"] for each in error.errors()}
        return answer(422, "invalid_request", "Some fields are wrong", fields=fields)

    @app.exception_handler(HTTPException)
    async def of_the_framework(request: Request, error: HTTPException) -> JSONResponse:
        if error.status_code == 404:
            return answer(404, "no_such_page", "Nothing is here", path=request.url.path)
        return answer(error.status_code, "http_error", str(error.detail))
