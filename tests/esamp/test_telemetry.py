"""Per-token records: cut into requests at their end, whatever the batches did meanwhile."""

import math

import numpy as np
import pytest
import torch

from esamp.batch import BatchStep, Draw
from esamp.kept_tokens import KeptTokens, kept_tokens
from esamp.telemetry import PolicyMeasures, RowVersions, TelemetryRecorder


def step_of(*request_ids: str, draws: tuple[bool, ...] | None = None) -> BatchStep:
    size = len(request_ids)
    return BatchStep(
        request_ids,
        (True,) * size,
        draws or (True,) * size,
        (9,) * size,
        source_BH=torch.empty(0),
        target_BH=torch.empty(size, 1),
    )


def append(recorder: TelemetryRecorder, step: BatchStep, *numbers: float, version: str = "") -> None:
    """A step whose rows have these behaviour log-probabilities; a row with an odd place was adjusted."""
    size = len(numbers)
    behaviour_B = torch.tensor(numbers)
    is_odd_B = torch.arange(size) % 2 == 1
    draw = Draw(behaviour_B, behaviour_B - 1, torch.full((size,), 151_936.0), is_odd_B)
    versions = RowVersions((version,), np.zeros(size, dtype=np.int64)) if version else None
    measures = PolicyMeasures(is_odd_B.float(), behaviour_B, behaviour_B, torch.full((size,), 3.0), versions)
    recorder.append(step, draw, measures)


def following(**tags: str) -> TelemetryRecorder:
    recorder = TelemetryRecorder()
    for request_id, tag in tags.items():
        recorder.follow(request_id, tag)
    return recorder


def test_rows_are_cut_into_requests_as_they_move_and_leave() -> None:
    recorder = following(a="A", b="B", c="C")
    append(recorder, step_of("a", "b", "c"), 1, 2, 3)
    append(recorder, step_of("b", "a", "c"), 4, 5, 6, version="7")
    recorder.forget("a")
    first = recorder.pop(["A"])["A"]
    append(recorder, step_of("c", "b"), 7, 8)
    rest = recorder.pop(["B", "C", "never"])
    assert first.behaviour_logprobs == [1, 5] and first.policy_logprobs == [0, 4] and first.version == "7"
    assert first.flipped == first.intervened == [False, True] and first.lag == [-1, 3]
    assert first.num_candidates == [151_936] * 2
    assert rest["B"].behaviour_logprobs == [2, 4, 8] and rest["C"].behaviour_logprobs == [3, 6, 7]
    assert rest["never"].behaviour_logprobs == []


def test_rows_that_draw_no_token_or_were_not_asked_for_leave_no_record() -> None:
    recorder = following(a="A")
    partly_read = step_of("a", "x", draws=(False, True))
    assert not recorder.wants(partly_read)
    assert recorder.wants(step_of("a", "x"))
    append(recorder, step_of("a", "x"), 1, 2)
    append(recorder, partly_read, 3, 4)
    assert recorder.pop(["A"])["A"].behaviour_logprobs == [1]


def test_the_row_in_flight_when_a_request_stops_belongs_to_no_token_and_is_not_kept() -> None:
    """Asynchronous scheduling: the next step runs before the scheduler knows that the last token was the end-of-text token."""
    recorder = following(a="A", b="B")
    append(recorder, step_of("a", "b"), 1, 2)
    append(recorder, step_of("a", "b"), 3, 4)
    assert recorder.pop(["A"])["A"].first(1).behaviour_logprobs == [1]
    append(recorder, step_of("a", "b"), 5, 6)
    recorder.forget("a")
    recorder.follow("a2", "A")
    append(recorder, step_of("a2", "b"), 7, 8)
    assert recorder.pop(["A", "B"])["A"].behaviour_logprobs == [7]


def test_the_first_tokens_of_a_record_have_all_its_columns() -> None:
    recorder = following(a="A")
    for number in range(4):
        append(recorder, step_of("a"), number, version="v")
    record = recorder.pop(["A"])["A"]
    first = record.first(3)
    lengths = {name: len(column) for name, column in first.to_dict().items() if isinstance(column, list)}
    assert set(lengths.values()) == {3} and len(lengths) == 9 and first.version == "v"
    assert len(record.lag) == 4


def test_a_record_has_the_newest_weights_that_its_rows_were_drawn_with() -> None:
    """Rows of other records, rows without weights and records that were taken meanwhile change nothing."""
    recorder = following(a="A", b="B")
    for step, names in enumerate([("a0", "b0"), ("a1", "b1"), ("a2",)]):
        is_last = step == 2
        measures = PolicyMeasures(
            *(torch.ones(2) for _ in range(4)), RowVersions(names, np.array([0, -1] if is_last else [0, 1]))
        )
        draw = Draw(torch.zeros(2), torch.zeros(2), torch.ones(2), torch.zeros(2, dtype=torch.bool))
        recorder.append(step_of("a", "b"), draw, measures)
    recorder.forget("a")
    assert recorder.pop(["A"])["A"].version == "a2"
    append(recorder, step_of("b"), 1)
    append(recorder, step_of("b"), 1)
    assert recorder.pop(["B"])["B"].version == "b1"


def test_sampling_log_probabilities_nobody_asked_for_are_the_behaviours_where_no_policy_took_part() -> None:
    recorder = following(a="A", b="B")
    append(recorder, step_of("a", "b"), 1, 2)
    records = recorder.pop(["A", "B"])
    assert records["A"].sampling_logprobs == [1] and math.isnan(records["B"].sampling_logprobs[0])


def kept_step(recorder: TelemetryRecorder, step: BatchStep, kept: KeptTokens | None) -> None:
    """A step that no policy took part in."""
    size = len(step.request_ids)
    numbers_B = torch.zeros(size)
    draw = Draw(numbers_B, numbers_B, numbers_B, numbers_B > 0, numbers_B, kept)
    recorder.append(step, draw, PolicyMeasures.none(size, torch.device("cpu")))


def test_kept_tokens_follow_the_requests_that_asked_for_them() -> None:
    recorder = following(b="B")
    recorder.follow("a", "A", for_rollout=True)
    recorder.follow("c", "C", for_rollout=True)
    logits_BV = torch.tensor([[0.0, -torch.inf, 0.0], [0.0, 0.0, -torch.inf], [0.0, 0.0, 0.0]])
    assert recorder.wants_rollout(step_of("a", "b")) and not recorder.wants_rollout(step_of("b"))
    kept_step(recorder, step_of("a", "b", "c"), kept_tokens(logits_BV, torch.zeros(3, dtype=torch.bool)))
    kept_step(recorder, step_of("c", "a"), kept_tokens(logits_BV[[2, 1]], torch.zeros(2, dtype=torch.bool)))
    records = recorder.pop(["A", "B", "C"])
    assert (records["A"].kept_token_ids, records["A"].kept_token_offsets) == ([0, 2, 0, 1], [0, 2, 4])
    assert not records["A"].kept_tokens_capped
    assert records["A"].first(1).kept_token_ids == [0, 2] and records["A"].first(1).kept_token_offsets == [0, 2]
    assert records["B"].kept_token_ids is None, "it did not ask"
    assert records["C"].kept_token_ids is None, "nothing was filtered"


def test_a_draw_that_kept_too_many_tokens_is_flagged_and_stores_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("esamp.kept_tokens.MOST_KEPT", 2)
    recorder = TelemetryRecorder()
    recorder.follow("a", "A", for_rollout=True)
    for kept in (3, 1):
        logits_BV = torch.zeros(1, 4).index_fill_(1, torch.arange(kept, 4), -torch.inf)
        kept_step(recorder, step_of("a"), kept_tokens(logits_BV, torch.zeros(1, dtype=torch.bool)))
    record = recorder.pop(["A"])["A"]
    assert (record.kept_token_ids, record.kept_token_offsets, record.kept_tokens_capped) == ([0], [0, 0, 1], True)


def test_a_record_says_which_version_of_the_models_weights_drew_it() -> None:
    recorder = following(a="A", b="B")
    append(recorder, step_of("a", "b"), 1, 2)
    recorder.weight_version += 1
    append(recorder, step_of("a"), 3)
    records = recorder.pop(["A", "B", "never"])
    assert [records[tag].weight_version for tag in ("A", "B", "never")] == ["0-1", "0", "0"]
