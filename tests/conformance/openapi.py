#!/usr/bin/env python3
"""Holds recorded REST requests and answers against Discord's OpenAPI description.

    openapi.py --openapi openapi.json RECORDING.jsonl...

Each line of a recording is one exchange: `method`, `path` (below /api/v10), `query` (pairs),
`request` (the JSON body, or the payload_json of a multipart body), `files` (the names of the
multipart fields that carried files), `status` (null where the connection broke), `answer`,
`injected` (the answer is a fault that a test put there) and `probe` (the sender asked what may be
wrong on purpose, to see it refused).

Checked: the route and the method exist; every query parameter is known and has its type; a body
stands where one is described, and nowhere else; files go where multipart is described, as
files[0] to files[9]; body and answer fit their schemas; the answer's status is described; nobody but
a probe gets a 400 that was not injected. What is wrong with a probe's request counts only if it was
taken all the same.

Stricter than the description:
  * objects are closed: a field that the description doesn't name fails, in requests and answers,
    since a misspelt field is otherwise never noticed (Discord ignores it);
  * `content` of a request is at most 2,000 characters, which is what bots may write (4,000 in the
    description is for paying people);
  * `date-time`, `uri`, `int32` and `int64` are checked, not just named.

Laxer than the description, where Discord's documentation and its own behaviour contradict it:
  * new attachments may be numbered with integers (reference, Uploading Files);
  * `default_member_permissions` may be a string of digits (Application Command Object);
  * the `code` of an error inside `errors` is a word (reference, Error Messages);
  * a thread created in a forum comes with its `message` (Start Thread in Forum Channel).

Not checked: an exchange without an answer has no answer to check; answers of 500 and more, which
the description leaves open; `x-discord-*` annotations; what only prose says (such as that a
component's custom_id is unique in its message).

Exit status: 0 all fit, 1 something doesn't (each finding on a line of its own), 2 wrong usage, or
nothing recorded.
"""

import argparse
import json
import re
import sys
from collections import Counter
from datetime import datetime
from pathlib import Path
from urllib.parse import urlparse

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import best_match

BOT_CONTENT_CHARACTERS_MAX = 2000

FORMATS = FormatChecker(formats=[])


@FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value):
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@FORMATS.checks("uri")
def _is_uri(value):
    return not isinstance(value, str) or bool(urlparse(value).scheme)


@FORMATS.checks("int32")
def _is_int32(value):
    return not isinstance(value, int) or -(2**31) <= value < 2**31


@FORMATS.checks("int64")
def _is_int64(value):
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def references(schema):
    """The names of the component schemas that `schema` refers to directly."""
    return {schema["$ref"].rsplit("/", 1)[-1]} if "$ref" in schema else set()


def walk(node):
    """Every object inside a JSON document, the outermost first."""
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from walk(child)
    elif isinstance(node, list):
        for child in node:
            yield from walk(child)


def closed(document):
    """Closes every object schema that names its properties, in place.

    Members of an allOf see only a part of the object, so there the whole is closed instead.
    """
    compositions = [node for node in walk(document) if len(node.get("allOf", [])) > 1]
    parts = {name for node in compositions for part in node["allOf"] for name in references(part)}
    inline = {id(part) for node in compositions for part in node["allOf"]}
    open_still = {id(document["components"]["schemas"][name]) for name in parts} | inline
    for node in list(walk(document)):
        names_properties = isinstance(node.get("properties"), dict) and "type" in node
        if names_properties and "additionalProperties" not in node and id(node) not in open_still:
            node["additionalProperties"] = False
    for node in compositions:
        node["unevaluatedProperties"] = False
    return document


def limited_to_bots(document):
    """Lowers the maximum of every message's `content` to that of bots, in place."""
    for node in walk(document):
        content = node.get("properties", {}).get("content") if "properties" in node else None
        if isinstance(content, dict) and content.get("maxLength", 0) > BOT_CONTENT_CHARACTERS_MAX:
            content["maxLength"] = BOT_CONTENT_CHARACTERS_MAX
    return document


def as_documented(document):
    """Widens what the description has narrower than Discord's documentation, in place."""
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        properties = schema.get("properties", {})
        if name.endswith("AttachmentRequest"):
            properties["id"] = {"anyOf": [properties["id"], {"type": "integer", "minimum": 0}]}
        permissions = properties.get("default_member_permissions", {})
        if "integer" in permissions.get("type", []):
            digits = {"type": "string", "pattern": "^[0-9]+$"}
            properties["default_member_permissions"] = {"anyOf": [permissions, digits]}
    schemas["InnerErrors"]["properties"]["_errors"]["items"] = {
        "type": "object",
        "properties": {"code": {"type": "string"}, "message": {"type": "string"}},
        "required": ["code", "message"],
    }
    created = schemas["CreatedThreadResponse"]["properties"]
    created["message"] = {"$ref": "#/components/schemas/MessageResponse"}
    return document


def with_json_only(document):
    """Empties the schemas of other content types, in place: they only compose the JSON ones.

    That a route takes multipart stays known.
    """
    for node in walk(document["paths"]):
        for kind, described in node.get("content", {}).items():
            if "/" in kind and kind != "application/json":
                described["schema"] = {}
    return document


class Description:
    """Discord's API as the OpenAPI description has it."""

    def __init__(self, document):
        self.document = closed(limited_to_bots(as_documented(with_json_only(document))))
        templates = sorted(document["paths"], key=lambda template: template.count("{"))
        self.templates = [
            (re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))), template)
            for template in templates
        ]

    def resolved(self, node):
        """`node`, or what its $ref points to."""
        while "$ref" in node:
            target = self.document
            for name in node["$ref"].removeprefix("#/").split("/"):
                target = target[name]
            node = target
        return node

    def template(self, path):
        """The template that a path fits, literal segments before parameters; or None."""
        fits = (template for pattern, template in self.templates if pattern.fullmatch(path))
        return next(fits, None)

    def faults(self, schema, value):
        """What is wrong with `value`, as lines with the place in it."""
        rooted = {**schema, "components": self.document["components"]}
        validator = Draft202012Validator(rooted, format_checker=FORMATS)
        error = best_match(validator.iter_errors(value))
        if error is not None:
            yield f"{error.json_path}: {error.message[:300]}"

    def check_query(self, parameters, query):
        """Each parameter known and of its type. Values are text, so text is tried as JSON too."""
        known = {p["name"]: p for p in parameters if p["in"] == "query"}
        for name, text in query:
            if name not in known:
                yield f"query {name}: not described"
                continue
            candidates = [text]
            if re.fullmatch(r"true|false|-?\d+", text):
                candidates.append(json.loads(text))
            found = [list(self.faults(known[name]["schema"], value)) for value in candidates]
            if all(found):
                yield f"query {name}: {found[-1][0]}"

    def check_request(self, operation, body, files):
        described = self.resolved(operation.get("requestBody", {}))
        content = described.get("content", {})
        if body is None and not files:
            if described.get("required"):
                yield "request: a body is required"
            return
        if not content:
            yield "request: no body is described"
            return
        if files and "multipart/form-data" not in content:
            yield "request: no files are described"
        for field in files:
            if not re.fullmatch(r"files\[[0-9]\]", field):
                yield f"request: a file in the field {field}"
        for fault in self.faults(content["application/json"]["schema"], body):
            yield f"request {fault}"

    def check_answer(self, operation, status, answer):
        responses = operation["responses"]
        described = responses.get(str(status)) or responses.get(f"{status // 100}XX")
        if described is None:
            yield f"answer: status {status} is not described"
            return
        content = self.resolved(described).get("content")
        if content is None:
            if answer is not None:
                yield f"answer: status {status} has no body"
            return
        for fault in self.faults(content["application/json"]["schema"], answer):
            yield f"answer {status} {fault}"

    def check(self, exchange):
        """Everything that is wrong with one exchange."""
        template = self.template(exchange["path"])
        item = self.document["paths"].get(template, {})
        operation = item.get(exchange["method"].lower())
        status = exchange["status"]
        probe, taken = exchange["probe"], status is not None and status < 300
        if operation is None:
            if taken or not probe:
                yield "no such route"
            return
        parameters = item.get("parameters", []) + operation.get("parameters", [])
        if taken or not probe:
            yield from self.check_query([self.resolved(p) for p in parameters], exchange["query"])
            yield from self.check_request(operation, exchange["request"], exchange["files"])
        if status == 400 and not probe and not exchange["injected"]:
            yield f"refused: {json.dumps(exchange['answer'])[:300]}"
        if status is not None and status < 500:
            yield from self.check_answer(operation, status, exchange["answer"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--openapi", type=Path, required=True, metavar="FILE")
    parser.add_argument("recordings", type=Path, nargs="+", metavar="RECORDING")
    arguments = parser.parse_args()
    description = Description(json.loads(arguments.openapi.read_text(encoding="utf-8")))

    routes, findings = Counter(), 0
    for recording in arguments.recordings:
        lines = recording.read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            exchange = json.loads(line)
            method, path = exchange["method"], exchange["path"]
            routes[method, description.template(path) or path] += 1
            for finding in description.check(exchange):
                findings += 1
                print(f"{recording}:{number}: {method} {path}: {finding}")
    if not routes:
        parser.error("nothing was recorded")
    for (method, template), count in sorted(routes.items(), key=lambda item: item[0][::-1]):
        print(f"{count:6} {method:6} {template}", file=sys.stderr)
    total = routes.total()
    print(f"{total} exchanges on {len(routes)} routes, {findings} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
