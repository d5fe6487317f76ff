"""Takes the schemas that the tests use out of OpenAI's API description: pick_schemas.py OPENAPI.json > openai-schemas.json

The description is OpenAI's (openai/openai-openapi, MIT licence). Two things are changed: prose is left out, and
`nullable: true`, which is no JSON Schema, becomes a null beside the type.
"""

import json
import sys

ROOTS = [
    "CreateChatCompletionRequest",
    "CreateChatCompletionResponse",
    "CreateChatCompletionStreamResponse",
    "CreateEmbeddingRequest",
    "CreateEmbeddingResponse",
    "ErrorResponse",
    "ListModelsResponse",
    "Model",
]
PROSE = {"description", "example", "examples", "title", "x-oaiMeta", "deprecated", "discriminator", "default"}


def plain(node, names):
    if isinstance(node, list):
        return [plain(item, names) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        names.append(node["$ref"].rsplit("/", 1)[1])
    made = {}
    for key, value in node.items():
        if key == "properties":
            made[key] = {name: plain(schema, names) for name, schema in value.items()}
        elif key not in PROSE and key != "nullable":
            made[key] = plain(value, names)
    if node.get("nullable"):
        return {"anyOf": [made, {"type": "null"}]}
    return made


def main():
    described = json.load(open(sys.argv[1]))["components"]["schemas"]
    picked, waiting = {}, list(ROOTS)
    while waiting:
        name = waiting.pop()
        if name not in picked:
            picked[name] = plain(described[name], waiting)
    json.dump(dict(sorted(picked.items())), sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main()
