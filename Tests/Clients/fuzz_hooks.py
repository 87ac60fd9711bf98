"""What schemathesis cannot know: ids that exist, and what may not be lost on the way. Loaded by it (SCHEMATHESIS_HOOKS)."""

from __future__ import annotations

import atexit
import json
import os
import re
import zlib
from collections import Counter
from pathlib import Path

import schemathesis

# `ids`: real ids by the names of path parameters; `spared`: operations (method and end of path) that would take the
# ground away from under all others, and what they may have instead.
KNOWN = json.loads(os.environ["GATEHOUSE_FUZZ"])
# How often each operation was called; with `keys`, every call is made with the next of them.
CALLS: Counter[str] = Counter()
SPARED = {(method, path): instead for method, path, instead in KNOWN["spared"]}
# Made by the requests themselves, the newest of each kind by the prefix of its id: what may end.
MADE: dict[str, str] = {}
# How often each operation answered with each status; kept in the file `counts` for whoever started this.
ANSWERS: Counter[tuple[str, int]] = Counter()


def tell() -> None:
    text = json.dumps([[label, status, count] for (label, status), count in ANSWERS.items()])
    partial = Path(KNOWN["counts"] + ".partial")
    partial.write_text(text)
    partial.rename(KNOWN["counts"])


if "counts" in KNOWN:
    atexit.register(tell)


def is_id(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[a-z]{3}_[0-7][0-9a-hjkmnp-tv-z]{25}|[a-z0-9-]{2,63}", value))


def with_key(request, key: str | None):
    """For requests: the last word on who asks."""
    request.headers.pop("Authorization", None)
    if key:
        request.headers["Authorization"] = f"Bearer {key}"
    return request


# Lines of JSON are written as the text that they are.
schemathesis.serializer.alias("application/x-ndjson", "text/plain")


@schemathesis.hook
def before_call(context, case, kwargs) -> None:
    """Three of four ids that are right by their form become ids of things that are there. What ends is what was made on the
    way; a thing that the others need ends only in a rehearsal."""
    parameters = case.path_parameters or {}
    choice = zlib.crc32(json.dumps([case.operation.label, repr(parameters), repr(case.query)]).encode())
    for name, value in list(parameters.items()):
        real = KNOWN["ids"].get(name)
        if real and is_id(value) and (name == "org" or choice % 4):
            parameters[name] = real
    if case.query and choice % 8 and "cursor" in case.query:
        # One that nobody sealed is refused before anything else is looked at.
        case.query.pop("cursor")
    last = re.search(r"{(\w+)}(:revoke)?$", case.path)
    real = last and KNOWN["ids"].get(last[1])
    if real and parameters.get(last[1]) == real and (case.method == "DELETE" or last[2]):
        made = MADE.get(real.split("_")[0])
        if made:
            parameters[last[1]] = made
        elif not case.query or case.query.get("dry_run") in (None, False, "false"):
            case.query = {**(case.query or {}), "dry_run": "true"}
    instead = SPARED.get((case.method, case.path))
    if instead:
        parameters.update({name: value for name, value in instead.items() if name in parameters})
    keys = KNOWN.get("keys")
    if keys:
        CALLS[case.operation.label] += 1
        key = keys[(zlib.crc32(case.operation.label.encode()) + CALLS[case.operation.label]) % len(keys)]
        kwargs["auth"] = lambda request: with_key(request, key)


@schemathesis.hook
def after_call(context, case, response) -> None:
    ANSWERS[case.operation.label, response.status_code] += 1
    if sum(ANSWERS.values()) % 500 == 0 and "counts" in KNOWN:
        tell()
    if response.status_code == 201:
        made = str(response.json().get("id", ""))
        if f"/organizations/{KNOWN['ids']['org']}/" in response.request.url:
            MADE[made.split("_")[0]] = made
