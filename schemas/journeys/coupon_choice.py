"""The coupon of a message step: which pool its code is from, how long it is valid, and what if there is none left."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from schemas.durations import Duration

Pool = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]


class CouponChoice(BaseModel):
    """The coupon of a message: a code of a pool, for one use; written as the name of the pool, or in full.

    Attributes:
        pool: Filled by `throughline coupons import`.
        valid_ms: `valid`; how long it may be used after it was sent; left out: until the code's own end.
        if_empty: What happens when the pool has no code left: `skip`, the message fails, with that reason in its ledger
            row; `send`, it goes without a coupon, and its template has to ask `{% if coupon %}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    pool: Pool
    valid_ms: Annotated[Duration, Field(ge=1)] | None = Field(default=None, alias="valid")
    if_empty: Literal["skip", "send"] = "skip"

    @model_validator(mode="before")
    @classmethod
    def _of_pool(cls, value: Any) -> Any:
        return {"pool": value} if isinstance(value, str) else value
