"""The base of every configuration and record: frozen, strict about keys and types, quiet about nothing."""

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_NOT_SCHEMAS = {"metadata", "serialization", "ref", "default", "expected"}


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("whole_number", "input should be a whole number")
    return value


def _strict(schema: Any) -> Any:
    """A core schema in which a boolean is no number, a number no boolean, and text neither."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") in ("bool", "float"):
        return {**schema, "strict": True}  # a strict float takes whole numbers
    if schema.get("type") == "int":  # a strict one refuses 1e6
        return core_schema.no_info_before_validator_function(_number, schema)  # type: ignore[arg-type]
    if schema.get("type") == "function-before" and schema["function"]["function"] is _number:
        return schema
    return {key: one if key in _NOT_SCHEMAS else _strict(one) for key, one in schema.items()}


class Frozen(BaseModel):
    """An immutable model that refuses keys it does not know, NaN and infinity.

    `checkpoint_every: true` is refused, not 1; so are `mask_documents: "yes"` and `steps: "20:00:00"`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return _strict(handler(source))
