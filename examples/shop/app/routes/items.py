from typing import Annotated

from fastapi import APIRouter, Query
from sqlmodel import col, func, select

from app.database import SessionDep
from app.models import Item, ItemCreate, ItemPublic, ItemsPublic
from app.security import CurrentUser

router = APIRouter(prefix="/items", tags=["items"])


@router.get("/")
def list_items(
    session: SessionDep,
    user: CurrentUser,
    skip: Annotated[int, Query(ge=0)] = 0,
    limit: Annotated[int, Query(ge=1, le=100)] = 100,
) -> ItemsPublic:
    own = select(Item).where(Item.owner_id == user.id)
    count = session.exec(select(func.count()).select_from(own.subquery())).one()
    items = session.exec(own.order_by(col(Item.id)).offset(skip).limit(limit)).all()
    return ItemsPublic(data=[ItemPublic.model_validate(item) for item in items], count=count)


@router.post("/", response_model=ItemPublic)
def create_item(session: SessionDep, user: CurrentUser, new: ItemCreate) -> Item:
    item = Item.model_validate(new, update={"owner_id": user.id})
    session.add(item)
    session.commit()
    session.refresh(item)
    return item
