"""OpenAI's own schemas, as JSON Schema that a validator takes at its word."""

import json
from pathlib import Path

import jsonschema

FILE = Path(__file__).parent / "openai-schemas.json"
SCHEMAS = json.loads(FILE.read_text())


def validate(name, instance):
    """Checks an answer against OpenAI's schema of that name."""
    root = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    errors = sorted(jsonschema.Draft202012Validator(root).iter_errors(instance), key=lambda e: list(e.path))
    told = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in errors]
    assert not told, f"{name}:\n" + "\n".join(told)
