"""Titles that pydantic makes of names are dropped; all others stay."""

from pydantic import BaseModel, Field

from ossctl.app.tools.mcp.titles import without_titles


class Place(BaseModel):
    title: str
    home_town: str = Field(title="Where you live")


class addArguments(BaseModel):  # noqa: N801 (as the mcp package names it)
    first_city: str
    places: list[Place]
    properties: dict[str, str] = {"title": "Title"}


def test_titles_that_repeat_a_name_are_dropped() -> None:
    schema = without_titles(addArguments.model_json_schema(), "add")
    assert schema == {
        "$defs": {
            "Place": {
                "type": "object",
                "title": "Place",
                "properties": {
                    "title": {"type": "string"},
                    "home_town": {"type": "string", "title": "Where you live"},
                },
                "required": ["title", "home_town"],
            }
        },
        "type": "object",
        "properties": {
            "first_city": {"type": "string"},
            "places": {"type": "array", "items": {"$ref": "#/$defs/Place"}},
            "properties": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "default": {"title": "Title"},
            },
        },
        "required": ["first_city", "places"],
    }
