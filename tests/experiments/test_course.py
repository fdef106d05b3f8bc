"""How far a run is, by a clock that the test moves."""

import pytest
from requests_of_tests import request

from bench.experiments.course import Course, duration
from bench.experiments.messages import Epoch, Failed, Finished, Started, Step
from bench.experiments.runner import Task


@pytest.mark.parametrize(
    "seconds, words",
    [
        (0.4, "0 s"), (45, "45 s"), (89, "89 s"), (720, "12 min"), (5399, "1 h 30 min"),
        (12_000, "3 h 20 min"), (7200, "2 h"), (187_200, "2 d 4 h"), (172_800, "2 d"),
    ],
)  # fmt: skip
def test_durations_are_said_in_two_units_at_most(seconds, words):
    assert duration(seconds) == words


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run(tmp_path):
    """A course of two cells and its clock."""
    tasks = [
        Task(request(method=name), "train", id=f"{name}-busi-0") for name in ("unet", "ege_unet")
    ]
    clock = Clock()
    return tasks, clock, Course(tasks, tmp_path, clock)


def epoch(number: int) -> Epoch:
    return Epoch(epoch=number, epochs=10, row={"loss": 0.5, "val_dsc": 0.25, "test_dsc": None})


def test_an_epochs_line_says_cell_epoch_loss_score_and_time_left(run, tmp_path):
    (unet, _), clock, course = run
    begun = course.see(unet, Started(device="cpu"))
    assert begun == "cell 1 of 2 unet on busi, seed 0: starts on cpu"
    assert course.see(unet, Step(epoch=0, step=0, steps=2)) is None
    clock.now = 60
    # One epoch of twenty took a minute: nine more of this cell, nineteen of the run.
    assert course.see(unet, epoch(1)) == (
        "cell 1 of 2 unet on busi, seed 0: epoch 1 of 10, loss 0.5000, val DSC 0.250, 9 min left; "
        "run: 19 min left"
    )
    assert (tmp_path / "unet-busi-0" / "log.txt").read_text().count("\n") == 2


def test_epochs_of_an_earlier_run_do_not_count_as_fast_ones(run):
    (unet, _), clock, course = run
    unet.resume = 8
    assert "resumes at epoch 9" in course.see(unet, Started(device="cpu"))
    clock.now = 60
    assert "epoch 9 of 10, loss 0.5000, val DSC 0.250, 60 s left" in course.see(unet, epoch(9))


def test_a_cell_gets_a_line_in_ten_seconds_and_its_last_one(run):
    (unet, _), clock, course = run
    course.see(unet, Started(device="cpu"))
    due = []
    for number in range(1, 11):
        clock.now += 4
        course.see(unet, epoch(number))
        due += [number] if course.due(unet, epoch(number)) else []
    assert due == [1, 4, 7, 10]


def test_ends_are_counted_and_a_cell_in_use_elsewhere_is_not_one(run):
    tasks, clock, course = run
    for task in tasks:
        course.see(task, Started(device="cpu"))
    clock.now = 30
    busy = course.see(tasks[0], Failed(message="Cell x is in use by process 1.", in_use=True))
    assert busy.endswith("in use by process 1. It is waited for when the rest is done.")
    assert course.ended == 0
    line = course.see(tasks[1], Finished(dsc={"busi-test": 0.5}))
    assert line.endswith("done in 30 s, busi-test DSC 0.500")
    assert course.left() == 30
