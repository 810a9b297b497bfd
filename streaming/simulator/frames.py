"""What happened as frames with every text in them: for whoever looks at a province that is not too large, and for its figures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import event_feeds, teams
from streaming.simulator.events import Reports, Vocabulary, happen
from streaming.simulator.handling import ACTIONS, STATES, Steps, handle
from streaming.simulator.plan import CHANNELS, KINDS, LEVELS, Plan, Scene, plan, set_scene, stream
from streaming.simulator.territory import lay_out
from streaming.simulator.texts import Texts, kept
from streaming.simulator.typesetting import Pieces


def stage(
    vocabularies: Vocabularies, *, seed: int, first_day: np.datetime64, days: int, events: int, cities: list[str], villages: int | None
) -> tuple[Scene, Plan]:
    """A province with its members and the plan of its events, as `simulate` has it."""
    territory = lay_out(stream(seed, "territory"), vocabularies, cities, villages)
    scene = set_scene(seed, territory, teams.gather(stream(seed, "teams"), territory, first_day, days), vocabularies, first_day, days)
    return scene, plan(scene, events)


def happened(scene: Scene, plan: Plan) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All events, and the steps that happened by the end.

    Events: sender_code, event_id, grid (row of the territory), class_code, level_code, channel_code, occurred_at and reported_at (local,
    seconds), address, longitude, latitude, description, closing_note, reporter (row of members, -1 for others), reporter_name, reporter_phone,
    limit_hours, office, kind (what was injected, or empty) and original (event_id that a near duplicate repeats).
    Steps: event (row of events), step_no, action_code, to_state, happened_at.
    """
    vocabulary = Vocabulary(scene)
    event_feeds.add_letters(vocabulary)
    events, steps = [], []
    for number, first in enumerate(plan.bounds[:-1]):
        planned = plan.events.iloc[first : plan.bounds[number + 1]].reset_index(drop=True)
        reports = happen(stream(scene.seed, f"events {number}"), scene, vocabulary, planned)
        events.append(_events(scene, vocabulary, reports))
        steps.append(_steps(scene, handle(stream(scene.seed, f"steps {number}"), scene, reports), first))
    return pd.concat(events, ignore_index=True), pd.concat(steps, ignore_index=True)


def _steps(scene: Scene, steps: Steps, first: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "event": steps.event + first,
            "step_no": steps.step_no,
            "action_code": np.array(ACTIONS, object)[steps.action],
            "to_state": np.array(STATES, object)[steps.to_state],
            "happened_at": _times(scene, steps.happened),
        }
    )


def _times(scene: Scene, seconds: NDArray[np.int64]) -> NDArray[np.datetime64]:
    found: NDArray[np.datetime64] = scene.first_day.astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    return found


def _events(scene: Scene, vocabulary: Vocabulary, reports: Reports) -> pd.DataFrame:
    def text(pieces: Pieces) -> Texts:
        strings = np.array(reports.page.set(len(reports), pieces).to_pylist(), object)
        return kept(strings, pieces != 0 if pieces.ndim == 1 else (pieces != 0).any(axis=1))

    event_id = text(vocabulary.event_ids(reports))
    classes = scene.classes.iloc[reports.class_number]
    return pd.DataFrame(
        {
            "sender_code": scene.territory.grids.sender_code.to_numpy()[reports.grid],
            "event_id": event_id,
            "grid": reports.grid,
            "class_code": classes.code.to_numpy(),
            "level_code": np.array(LEVELS, object)[reports.level],
            "channel_code": np.array(CHANNELS, object)[reports.channel],
            "occurred_at": _times(scene, reports.occurred),
            "reported_at": _times(scene, reports.reported),
            "address": text(reports.address),
            "longitude": np.where(reports.longitude < 0, np.nan, reports.longitude / 1e6),
            "latitude": np.where(reports.latitude < 0, np.nan, reports.latitude / 1e6),
            "description": text(reports.description),
            "closing_note": text(reports.closing_note),
            "reporter": reports.reporter,
            "reporter_name": text(reports.reporter_name),
            "reporter_phone": text(reports.reporter_phone),
            "limit_hours": classes.limit_hours.to_numpy(),
            "office": classes.responsible_role.to_numpy(),
            "kind": np.array(KINDS, object)[reports.kind],
            "original": kept(event_id[reports.repeated], reports.repeated >= 0),
        }
    )
