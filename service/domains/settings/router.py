"""The caller's settings over HTTP: typed AI-model configuration, ETag and preconditions."""

import json
import re
from typing import Annotated, Any

from fastapi import Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from service import failures
from service.domains.settings import operations
from service.domains.settings.models import Theme
from service.failures import Failure
from service.responses import checked, problems
from service.schemas import MAX_DEPTH, Model, router, text
from service.security import Work

routes = router("/api/v1/settings", "settings")

_ETAG = re.compile(r'"s([0-9]{1,9})(d?)"')

IfNoneMatch = Annotated[str | None, Header(max_length=512)]
IfMatch = Annotated[str | None, Header(max_length=512)]


class AiModel(Model):
    """How one model is called. temperature: 0-2. max_output_tokens: tokens of one answer."""

    provider: text(min_length=1, max_length=40)  # type: ignore[valid-type]
    model: text(min_length=1, max_length=120)  # type: ignore[valid-type]
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    options: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, max_length=32
    )


class AiModels(Model):
    """default: the name of the model in `models` that is used when none is asked for."""

    default: text(min_length=1, max_length=40)  # type: ignore[valid-type]
    models: dict[str, AiModel] = Field(max_length=32)


class SettingsIn(Model):
    theme: Theme = Theme.SYSTEM
    notifications: bool = True
    ai_models: AiModels | None = None


class SettingsOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    theme: Theme
    notifications: bool
    ai_models: AiModels | None
    degraded: list[str]


@routes.get(
    "",
    response_model=SettingsOut,
    responses={304: {"description": "Unchanged"}, **problems(failures.RESPONSE_TOO_LARGE)},
)
async def read_settings(
    request: Request, response: Response, work: Work, if_none_match: IfNoneMatch = None
) -> Any:
    """Return the caller's settings; `degraded` names groups that cannot be read at the moment."""
    document = await work.read(
        operations.settings_of, has_ai_models=request.app.state.capabilities.ai_models
    )
    etag = _etag(document)
    if if_none_match is not None and (
        if_none_match.strip() == "*" or etag in _tags(if_none_match)
    ):
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return _answer(document)


@routes.put(
    "",
    response_model=SettingsOut,
    responses=problems(failures.PRECONDITION_FAILED, body=True, write=True),
)
async def change_settings(
    request: Request, response: Response, body: SettingsIn, work: Work, if_match: IfMatch = None
) -> SettingsOut:
    """Replace the caller's settings; with `If-Match` only if they are still that version."""
    any_version = if_match is None or if_match.strip() == "*"
    versions = [int(match[1]) for match in map(_ETAG.fullmatch, _tags(if_match or "")) if match]
    if not any_version and not versions:
        raise Failure(failures.PRECONDITION_FAILED)
    ai_models = body.ai_models.model_dump() if body.ai_models is not None else None
    document = await work.write(
        operations.change_settings,
        has_ai_models=request.app.state.capabilities.ai_models,
        expected_version=None if any_version else versions[0],
        must_exist=if_match is not None,
        theme=body.theme,
        notifications=body.notifications,
        ai_models=ai_models,
        ai_models_bytes=len(json.dumps(ai_models)) if ai_models is not None else 0,
    )
    response.headers["ETag"] = _etag(document)
    return _answer(document)


def _answer(document: operations.Document) -> SettingsOut:
    """Check what is stored against what the contract promises.

    Raises Failure(STORED_DATA_INVALID) with the names of the fields, never their values.
    """
    if _depth(document.ai_models) > MAX_DEPTH:
        raise Failure(failures.STORED_DATA_INVALID, log={"fields": "ai_models (too deep)"})
    ai_models = None if document.ai_models is None else checked(AiModels, document.ai_models)
    return SettingsOut(
        theme=document.theme,
        notifications=document.notifications,
        ai_models=ai_models,
        degraded=list(document.degraded),
    )


def _etag(document: operations.Document) -> str:
    """Return the version as a strong ETag; a degraded answer is another representation."""
    return f'"s{document.version}{"d" if document.degraded else ""}"'


def _tags(header: str) -> list[str]:
    return [item.strip().removeprefix("W/") for item in header.split(",")]


def _depth(value: Any) -> int:
    """Return the nesting depth of decoded JSON, without recursion; stops counting past the limit."""
    depth, level = 0, [value]
    while level and depth <= MAX_DEPTH:
        containers = [item for item in level if isinstance(item, dict | list)]
        depth += bool(containers)
        level = [
            child
            for item in containers
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return depth
