"""JSON schemas of pydantic models, as both public documents want them."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

PREFIX = "#/components/schemas/"


class _Plain(GenerateJsonSchema):
    """Fields without generated titles: they only say the name again."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def component_schemas(models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """Return the `components.schemas` of a document: these models and all they refer to."""
    _, definitions = models_json_schema(
        [(model, "validation") for model in models],
        ref_template=PREFIX + "{model}",
        schema_generator=_Plain,
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Return the `$ref` to a model's schema."""
    return {"$ref": PREFIX + model.__name__}
