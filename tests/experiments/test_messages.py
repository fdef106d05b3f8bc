"""Jobs and events are typed, versioned lines; what is no event is recognised as such."""

import json

import pytest
from pydantic import ValidationError
from requests_of_tests import request

from bench.experiments.messages import (
    Epoch,
    Failed,
    Finished,
    Job,
    Leaving,
    Replayed,
    Retry,
    Scoring,
    Started,
    Step,
    Timed,
    Tried,
    is_end,
    read_event,
)

EVENTS = [
    Started(device="cuda:0"),
    Step(epoch=0, step=1, steps=8),
    Epoch(epoch=2, epochs=9, row={"loss": 0.1 + 0.2, "val_dsc": None}),
    Scoring(test="busi-test"),
    Retry(why="The node is gone."),
    Finished(dsc={"busi-test": 0.8123456789012345}, peak_bytes=3, device_bytes=9),
    Replayed(history=({"loss": 0.1 + 0.2, "val_dsc": None},), pixels={"busi-test": (1, 4096)}),
    Timed(epoch_seconds=0.1),
    Tried(outcome="pruned", value=0.8123456789012345, epoch=3, images=960),
    Leaving(changed=("default dtype",)),
    Failed(message="too large", traceback="Traceback ...", in_use=True),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_an_event_survives_its_line_with_every_digit(event):
    assert read_event(event.model_dump_json()) == event


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.kind)
def test_results_and_failures_end_a_job_and_nothing_else_does(event):
    ends = ("finished", "failed", "replayed", "resolved", "timed", "tried")
    assert is_end(event) == (event.kind in ends)


@pytest.mark.parametrize(
    "line", ["", "Downloading: 100%", "{}", "[1]", '{"kind": "hello"}', '{"kind": "step"}', "null"]
)
def test_a_stray_line_is_no_event(line):
    assert read_event(line) is None


def test_a_job_survives_its_line_and_another_version_is_refused():
    job = Job(op="train", request=request(), request_digest="r", train_cases=8, id="unet-busi-0")
    line = job.model_dump_json()
    assert Job.model_validate_json(line) == job
    with pytest.raises(ValidationError, match="version"):
        Job.model_validate(json.loads(line) | {"version": 1})
