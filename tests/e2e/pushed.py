"""A sender and the reception of its pushes in one process: each receipt is written down as it comes, for who looks after a power cut.

`python -m tests.e2e.pushed HOME SAID`. Called again it pushes the same under the same keys, as a sender does that has lost its answers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

from gridlake.runs import Run
from gridlake.settings import Settings
from gridlake.signatures import sign
from streaming.feed_lander import prepare
from streaming.push.desk import folder_of
from streaming.push.journal import only_writer
from streaming.push.reception import Reception
from streaming.push.server import Door
from tests.streaming.conftest import DECLARATIONS, Lake, lines, visit
from tests.streaming.pushing import NDJSON, PATH, key_of

PUSHES = 12
_URL = "http://gridlake.test"


def settings_of(home: Path) -> Settings:
    """Those of a lake of the tests' declarations."""
    return Settings(project=DECLARATIONS, home=home, inbox=home.with_name("no inbox"))


def bodies() -> dict[str, bytes]:
    """What is pushed, by key: an accepted row and a refused one each, the last with a row too long to carry."""
    found = {f"k{number}": lines(visit(number), visit(number, visit_id=f"bad {number}")) for number in range(1, PUSHES)}
    return found | {f"k{PUSHES}": lines(visit(PUSHES)) + b'{"note": "' + b"a" * (1 << 20) + b'"}\n'}


def push_all(home: Path, said: Path) -> None:
    """Take in every push, one after the other."""
    settings = settings_of(home)
    key, broken = key_of(settings, "north"), []
    with only_writer(folder_of(settings.home, "http")):
        run = Run.start(settings, quiet=True)
        prepare(run)
        reception = Reception(run, broken.append)
        reception.open()
        try:
            asyncio.run(_push(reception, key, said))
        finally:
            reception.close()
    assert not broken, broken


async def _push(reception: Reception, key: str, said: Path) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(Door(reception)), base_url=_URL) as client:
        for name, body in bodies().items():
            headers = {"content-type": NDJSON, "idempotency-key": name}
            answer = await client.post(PATH, content=body, headers=sign("POST", _URL + PATH, key, "north", body=body, headers=headers))
            assert answer.status_code == 200, answer.text
            with said.open("a", encoding="utf-8") as receipts:
                receipts.write(json.dumps({"receipt": answer.json()}) + "\n")


def told(said: list[str]) -> list[dict[str, Any]]:
    """(position, state) of each row in the receipts among the lines."""
    found = [json.loads(line)["receipt"] for line in said if line.startswith('{"receipt"')]
    return [row for receipt in found for row in receipt["rows"]]


def wrong(home: Path, answered: list[str]) -> tuple[list[str], list[str]]:
    """(lost, doubled) once everything was pushed again: what was answered before the cut stands once where its receipt says, and so does the rest."""
    lake = Lake.__new__(Lake)
    lake.folder, lake.home, lake.inbox = home.parent, home, home.with_name("no inbox")
    bronze, quarantine = (Counter(row["_source_position"] for row in rows) for rows in (lake.bronze(), lake.quarantine()))
    lost = [f"{row['position']} was told {row['state']}" for row in told(answered) if not _stands(row, bronze, quarantine)]
    ids = Counter(row["visit_id"] for row in lake.bronze())
    lost += [f"V{number} is not in bronze" for number in range(1, PUSHES + 1) if not ids[f"V{number}"]]
    lost += [f"only {quarantine.total()} of {PUSHES} refused rows are kept"] if quarantine.total() < PUSHES else []
    doubled = [f"{visit_id} is {n} times in bronze" for visit_id, n in ids.items() if n > 1]
    doubled += [f"{p} is {n} times there" for p, n in (bronze + quarantine).items() if n > 1]
    doubled += [f"{quarantine.total()} of {PUSHES} refused rows are kept"] if quarantine.total() > PUSHES else []
    return lost, doubled


def _stands(row: dict[str, Any], bronze: Counter[str], quarantine: Counter[str]) -> bool:
    return bool((bronze if row["state"] == "accepted" else quarantine)[row["position"]])


if __name__ == "__main__":
    push_all(Path(sys.argv[1]), Path(sys.argv[2]))
