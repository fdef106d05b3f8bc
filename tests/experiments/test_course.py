"""How far a run is, by a clock that the test moves."""

import pytest
from requests_of_tests import request

from bench.experiments.course import Course, duration
from bench.experiments.estimate import Guess
from bench.experiments.messages import Epoch, Failed, Finished, Retry, Scoring, Started, Step
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


class Known:
    """Images of a training, 100 where not said, and seconds by stored cells, by cell id."""

    def __init__(self, images=(), seconds=()) -> None:
        self._images, self._seconds = dict(images), dict(seconds)

    def images(self, task: Task) -> int:
        return self._images.get(task.id, 100)

    def training(self, task: Task) -> Guess | None:
        seconds = self._seconds.get(task.id)
        return None if seconds is None else Guess(seconds, "stored cells")


def course_of(tmp_path, clock, states, workers=1, **known) -> tuple[list[Task], Course]:
    """Tasks named by method, such as {"unet": "train"}, and their course."""
    tasks = [Task(request(method=name), state, id=name) for name, state in states.items()]
    return tasks, Course(tasks, tmp_path, workers, Known(**known), clock)


@pytest.fixture
def run(tmp_path):
    """A course of two cells and its clock."""
    clock = Clock()
    tasks, course = course_of(tmp_path, clock, {"unet": "train", "ege_unet": "train"})
    return tasks, clock, course


def epoch(number: int) -> Epoch:
    return Epoch(epoch=number, epochs=10, row={"loss": 0.5, "val_dsc": 0.25, "test_dsc": None})


def test_an_epochs_line_says_cell_epoch_loss_score_and_time_left(run, tmp_path):
    (unet, _), clock, course = run
    begun = course.see(unet, Started(device="cpu"))
    assert begun == "cell 1 of 2 unet on busi, seed 0: starts on cpu"
    assert course.see(unet, Step(epoch=0, step=0, steps=2)) is None
    clock.now = 60
    # One epoch of ten took a minute: nine more of this cell, nineteen of two cells alike.
    assert course.see(unet, epoch(1)) == (
        "cell 1 of 2 unet on busi, seed 0: epoch 1 of 10, loss 0.5000, val DSC 0.250, 9 min left; "
        "run: 19 min left"
    )
    assert (tmp_path / "unet" / "log.txt").read_text().count("\n") == 2


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
    assert course.ended == 1


# ---- the time that is left of a run


def test_cells_that_only_scored_say_nothing_about_those_that_train(tmp_path):
    """What was printed once: "41 s left" of a run whose last cell trains for fifteen minutes."""
    clock = Clock()
    states = {"unet": "score", "nnunet": "score", "gms": "train"}
    (unet, nnunet, gms), course = course_of(tmp_path, clock, states)
    for task in (unet, nnunet):
        course.see(task, Started(device="cpu"))
        course.see(task, Scoring(test="busi-test"))
        clock.now += 1
        course.see(task, Finished(dsc={}))
        assert course.left() is None  # nothing is known of a training
    course.see(gms, Started(device="cpu"))
    clock.now += 90
    assert "14 min left; run: 14 min left" in course.see(gms, epoch(1))
    assert course.left() == 9 * 90


def test_cells_that_are_only_scored_take_the_time_of_those_that_were(tmp_path):
    clock = Clock()
    states = {"unet": "score", "nnunet": "score", "gms": "score"}
    (unet, *_), course = course_of(tmp_path, clock, states)
    course.see(unet, Started(device="cpu"))
    assert course.left() is None
    clock.now = 4
    course.see(unet, Finished(dsc={}))
    assert course.left() == 8


def test_a_waiting_cell_takes_the_time_of_stored_cells_of_its_method(tmp_path):
    clock = Clock()
    states = {"unet": "train", "gms": "train"}
    (unet, _), course = course_of(tmp_path, clock, states, seconds={"unet": 70, "gms": 500})
    assert course.left() == 570
    course.see(unet, Started(device="cpu"))
    clock.now = 20
    assert course.left() == 50 + 500  # no epoch is done yet
    course.see(unet, epoch(1))  # slower than the stored ones
    assert course.left() == 180 + 500


def test_else_it_takes_the_pace_of_its_own_method_in_this_run_by_images(tmp_path):
    clock = Clock()
    tasks = [
        Task(request(method=method, seed=seed), "train", id=f"{method}-{seed}")
        for method, seed in (("unet", 0), ("gms", 0), ("unet", 1), ("nnunet", 0))
    ]
    images = {"unet-0": 100, "gms-0": 100, "unet-1": 300, "nnunet-0": 100}
    course = Course(tasks, tmp_path, 1, Known(images), clock)
    for task, seconds in ((tasks[0], 10), (tasks[1], 50)):
        course.see(task, Started(device="cpu"))
        clock.now += seconds
        course.see(task, Epoch(epoch=1, epochs=1, row=epoch(1).row))
        course.see(task, Finished(dsc={}))
    # 0.1 s an image of unet, of which 300 wait; (0.1 + 0.5) / 2 s for a method without a pace.
    assert course.left() == pytest.approx(30 + 30)


def test_a_resumed_cell_gives_the_pace_of_the_epochs_it_did(tmp_path):
    clock = Clock()
    states = {"unet": "train", "gms": "train"}
    (unet, _), course = course_of(tmp_path, clock, states, images={"unet": 20, "gms": 100})
    unet.resume = 8
    course.see(unet, Started(device="cpu"))
    clock.now = 60
    course.see(unet, epoch(9))  # half of its 20 images: 6 s an image
    assert course.left() == 60 + 600


def test_workers_share_what_waits_and_the_last_one_ends_the_run(tmp_path):
    names = ("unet", "gms", "nnunet", "gss")
    seconds = {"unet": 30, "gms": 10, "nnunet": 10, "gss": 100}
    states = dict.fromkeys(names, "train")
    _, two = course_of(tmp_path, Clock(), states, workers=2, seconds=seconds)
    assert two.left() == 10 + 10 + 100
    _, one = course_of(tmp_path, Clock(), states, workers=1, seconds=seconds)
    assert one.left() == 150


def test_a_cell_that_is_done_again_keeps_its_number_and_says_why(run):
    (unet, other), _, course = run
    for task in (unet, other):
        course.see(task, Started(device="cpu of a"))
    assert course.see(unet, Retry(why="Its node is gone.")) == (
        "cell 1 of 2 unet on busi, seed 0: Its node is gone."
    )
    again = course.see(unet, Started(device="cpu of b"))
    assert again == "cell 1 of 2 unet on busi, seed 0: starts again on cpu of b"
    assert (course.begun, course.ended, len(course.working)) == (2, 0, 2)
    course.see(unet, Finished(dsc={}))
    assert course.ended == 1
