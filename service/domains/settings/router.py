"""The caller's settings over HTTP: typed AI-model configuration, ETag and preconditions."""

import json
from typing import Annotated, Any

from fastapi import Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from service import failures
from service.domains.settings import operations
from service.domains.settings.cache import SettingsCache
from service.domains.settings.models import Theme
from service.domains.settings.preconditions import Preconditions
from service.failures import Failure
from service.problems import problems
from service.provided import provided, provided_or_none
from service.responses import checked
from service.schema import Capabilities
from service.schemas import MAX_DEPTH, Model, Text, router
from service.security import UnitOfWork, Work

routes = router("/api/v1/settings", "settings")

IfMatch = Annotated[str | None, Header(alias="If-Match", max_length=512)]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=512)]
"""For the document and the limit; what they say is read by `Preconditions`, which knows lists."""
Key = Annotated[str, Text(strip=False)]
"""A key of a map; with white space removed, two keys could become one."""


class AiModel(Model):
    """How one model is called. temperature: 0-2. max_output_tokens: tokens of one answer."""

    provider: Annotated[str, Text(min_length=1, max_length=40)]
    model: Annotated[str, Text(min_length=1, max_length=120)]
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    options: dict[Key, Key | int | float | bool | None] = Field(
        default_factory=dict, max_length=32
    )


class AiModels(Model):
    """default: the name of the model in `models` that is used when none is asked for."""

    models: dict[Key, AiModel] = Field(max_length=32)
    default: Annotated[str, Text(min_length=1, max_length=40)]


class AiModelsIn(AiModels):
    """What may be stored from now on; older documents are answered as they are."""

    @field_validator("default")
    @classmethod
    def _is_one_of_the_models(cls, value: str, info: ValidationInfo) -> str:
        if value not in info.data.get("models", {value}):
            message = "must be a name in `models`"
            raise ValueError(message)
        return value


class SettingsIn(Model):
    theme: Theme = Theme.SYSTEM
    notifications: bool = True
    ai_models: AiModelsIn | None = None


class SettingsOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    theme: Theme
    notifications: bool
    ai_models: AiModels | None
    degraded: list[str]


@routes.get(
    "",
    response_model=SettingsOut,
    responses={
        304: {"description": "Unchanged"},
        **problems(failures.RESPONSE_TOO_LARGE, failures.VALIDATION_FAILED),
    },
)
async def read_settings(
    request: Request, response: Response, work: Work, _if_none_match: IfNoneMatch = None
) -> Any:
    """Return the caller's settings; `degraded` names groups that cannot be read at the moment."""
    document = await _stored(work, request)
    etag = _etag(document.version, is_degraded=bool(document.degraded))
    if not Preconditions.of(request.headers).none_match(etag, exists=True):
        return Response(status_code=304, headers={"ETag": etag})
    response.headers["ETag"] = etag
    return _answer(document)


@routes.put(
    "",
    response_model=SettingsOut,
    responses=problems(failures.PRECONDITION_FAILED, body=True, write=True),
)
async def change_settings(
    request: Request,
    response: Response,
    body: SettingsIn,
    work: Work,
    _if_match: IfMatch = None,
    _if_none_match: IfNoneMatch = None,
) -> SettingsOut:
    """Replace the caller's settings; with `If-Match` only if they are still that version.

    `*` stands for any version that was stored: settings which never were are answered as defaults, with
    the tag `"s0"`.
    """
    has_ai_models = provided(request, Capabilities).ai_models
    preconditions = Preconditions.of(request.headers)

    def allows(stored: int | None) -> bool:
        etag = _etag(stored or 0, is_degraded=not has_ai_models)
        exists = stored is not None
        return preconditions.match(etag, exists=exists) and preconditions.none_match(
            etag, exists=exists
        )

    ai_models = body.ai_models.model_dump() if body.ai_models is not None else None
    document = await work.write(
        operations.change_settings,
        has_ai_models=has_ai_models,
        allows=allows if preconditions else None,
        theme=body.theme,
        notifications=body.notifications,
        ai_models=ai_models,
        ai_models_bytes=len(json.dumps(ai_models)) if ai_models is not None else 0,
    )
    if cache := provided_or_none(request, SettingsCache):
        await cache.put((await work.caller()).account_id, document)
    response.headers["ETag"] = _etag(document.version, is_degraded=bool(document.degraded))
    return _answer(document)


async def _stored(work: UnitOfWork, request: Request) -> operations.Document:
    """Return what is stored, its document from the cache where the service has one of settings."""
    has_ai_models = provided(request, Capabilities).ai_models

    async def read() -> operations.Document:
        return await operations.settings_of(work, has_ai_models=has_ai_models)

    cache = provided_or_none(request, SettingsCache)
    if cache is None or not has_ai_models or not cache.is_open:
        return await read()
    stamp = await operations.stamp_of(work)
    if not stamp:
        return operations.DEFAULTS
    document = await cache.read((await work.caller()).account_id, stamp, read)
    operations.say_what_is_missing(document)
    return document


def _answer(document: operations.Document) -> SettingsOut:
    """Check what is stored against what the contract promises.

    Raises Failure(STORED_DATA_INVALID) with the names of the fields, never their values.
    """
    if _depth(document.ai_models) > MAX_DEPTH:
        raise Failure(failures.STORED_DATA_INVALID, log={"fields": "ai_models (too deep)"})
    ai_models = document.ai_models
    if ai_models is not None:
        ai_models = checked(AiModels, ai_models, at=operations.AI_MODELS)
    return SettingsOut(
        theme=document.theme,
        notifications=document.notifications,
        ai_models=ai_models,
        degraded=list(document.degraded),
    )


def _etag(version: int, *, is_degraded: bool) -> str:
    """Return the version as a strong ETag; a degraded answer is another representation."""
    return f'"s{version}{"d" if is_degraded else ""}"'


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
