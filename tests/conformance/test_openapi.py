#!/usr/bin/env python3
"""Shows that openapi.py finds what is wrong: one good exchange, and each way to spoil it.

test_openapi.py --openapi openapi.json
"""

import argparse
import copy
import json
import sys
import unittest
from pathlib import Path

from openapi import Description

USER = {
    "id": "1",
    "username": "bot",
    "discriminator": "0",
    "global_name": None,
    "avatar": None,
    "public_flags": 0,
    "flags": 0,
    "primary_guild": None,
}
MESSAGE = {
    "id": "3",
    "type": 0,
    "channel_id": "2",
    "author": USER,
    "content": "hi",
    "attachments": [],
    "embeds": [],
    "components": [],
    "mentions": [],
    "mention_roles": [],
    "mention_everyone": False,
    "timestamp": "2026-01-01T00:00:00.000Z",
    "edited_timestamp": None,
    "flags": 0,
    "pinned": False,
    "tts": False,
}
EXCHANGE = {
    "method": "POST",
    "path": "/channels/2/messages",
    "query": [],
    "request": {"content": "hi", "attachments": [{"id": 0, "description": "a cat"}]},
    "files": ["files[0]"],
    "status": 200,
    "answer": MESSAGE,
    "injected": False,
    "probe": False,
}
# What to change, by its place in the exchange, and how.
SPOILED = {
    "an unknown route": (["path"], "/channels/2/mesages"),
    "an unknown method": (["method"], "PATCH"),
    "an unknown parameter": (["query"], [["wait", "true"]]),
    "no body": (["request"], None),
    "a misspelt field": (["request", "allowed_mention"], {"parse": []}),
    "a misspelt inner field": (["request", "allowed_mentions"], {"pars": []}),
    "a field of the wrong type": (["request", "enforce_nonce"], "yes"),
    "content too long for a bot": (["request", "content"], "x" * 2001),
    "alt text that is too long": (["request", "attachments", 0, "description"], "x" * 1025),
    "a file in no numbered field": (["files"], ["file"]),
    "an answer without a field": (["answer"], {**MESSAGE, "content": None}),
    "an answer with a field too many": (["answer", "contents"], "hi"),
    "an id that is a number": (["answer", "id"], 3),
    "a time without a zone": (["answer", "timestamp"], "2026-01-01T00:00:00"),
    "a status that is not described": (["status"], 202),
    "a refusal": (["status"], 400),
}


class Findings(unittest.TestCase):
    """The description of the API, set by the command line."""

    description = None

    def findings(self, exchange):
        return list(self.description.check(exchange))

    def test_a_good_exchange_has_none(self):
        self.assertEqual(self.findings(EXCHANGE), [])

    def test_each_way_to_spoil_it_is_found(self):
        for name, (place, value) in SPOILED.items():
            with self.subTest(name):
                exchange = copy.deepcopy(EXCHANGE)
                target = exchange
                for step in place[:-1]:
                    target = target[step]
                target[place[-1]] = value
                self.assertNotEqual(self.findings(exchange), [])

    def test_a_probe_may_be_refused_but_not_obeyed(self):
        probe = {**EXCHANGE, "probe": True, "request": {"content": "x" * 2001}, "files": []}
        error = {"code": 50035, "message": "Invalid Form Body"}
        self.assertEqual(self.findings({**probe, "status": 400, "answer": error}), [])
        self.assertNotEqual(self.findings(probe), [])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--openapi", type=Path, required=True, metavar="FILE")
    arguments, rest = parser.parse_known_args()
    document = json.loads(arguments.openapi.read_text(encoding="utf-8"))
    Findings.description = Description(document)
    unittest.main(argv=[sys.argv[0], *rest])
