from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from scenery import TINY, build_network, film
from synthetic import read_planes, write_clip
from torch import Tensor
from typer.testing import CliRunner

from framepred import adaptation
from framepred.adaptation import Lessons, fine_tune, plan_lessons
from framepred.checkpoint import save_model
from framepred.cli import app
from framepred.clips import Situation
from framepred.predictor import Predictor
from framepred.reports import AdaptationReport, Progress
from framepred.tasks import Task, list_tasks
from framepred.timeline import Gap, Plan, Slot, plan_gaps

ROOT = Path(__file__).parents[1]
SIZE = (40, 48)


def make_plan(
    n: int, gaps: Sequence[tuple[int, int]], *, cuts: Sequence[int] = (), **rules: int
) -> Plan:
    """A plan of ``n`` slots with frames in all of them but the gaps."""
    missing = {slot for start, stop in gaps for slot in range(start, stop)}
    slots = [Slot(Fraction(i, 25), None if i in missing else i) for i in range(n)]
    chosen: dict[str, Any] = {"context": 4, **rules}
    return plan_gaps(slots, [], step=Fraction(1, 25), cuts=cuts, **chosen)


def plan_all(plan: Plan, *, size: tuple[int, int] = SIZE) -> Lessons:
    return plan_lessons(plan, list_tasks(plan, 4), size=size)


def hide(tasks: Sequence[Task]) -> set[int]:
    return {slot for task in tasks for slot in range(task.start, task.stop)}


def learnt(lessons: Lessons) -> list[int]:
    return [slot for start, stop in lessons.pieces for slot in range(start, stop)]


# What is learnt, what is judged.


def test_checks_are_judged_by_and_their_hidden_frames_never_learnt() -> None:
    plan = make_plan(60, [(30, 32)])
    lessons = plan_all(plan)
    checks = [task for task in list_tasks(plan, 4) if task.is_check]
    assert lessons.obstacle is None
    assert lessons.situations == (Situation(4, 2, 4, stride=1),)
    assert set(checks) < set(lessons.trials)
    extra = [task for task in lessons.trials if task not in checks]
    # From the end of each run that the checks leave: 0..24 and 38..60.
    assert [(task.first, task.start, task.stop, task.last) for task in extra] == [
        (14, 18, 20, 24),
        (50, 54, 56, 60),
    ]
    assert lessons.pieces == ((0, 18), (38, 54))
    assert lessons.slots == {*range(30), *range(32, 60)}


def test_nothing_to_make_is_nothing_to_learn() -> None:
    for plan in (
        make_plan(60, []),
        make_plan(60, [(20, 40)], max_gap=8),  # left
        plan_gaps(  # held
            make_plan(60, []).slots, [Gap(20, 40, "named")], step=Fraction(1, 25), max_gap=8
        ),
    ):
        lessons = plan_all(plan)
        assert lessons.obstacle == "the network has nothing to make"
        assert lessons.slots == frozenset()


def test_too_few_frames_are_an_obstacle() -> None:
    lessons = plan_all(make_plan(24, [(11, 13)]))
    assert lessons.obstacle is not None
    assert "22 known frames are too few" in lessons.obstacle
    assert (lessons.trials, lessons.pieces) == ((), ())


def test_what_a_forecast_hides_is_neither_learnt_nor_judged() -> None:
    plan = make_plan(100, [])
    task = Task(72, 80, 88, 88, gap=0)
    lessons = plan_lessons(plan, [task], size=SIZE, unknown=range(80, 100))
    assert lessons.situations == (Situation(8, 8, 0, stride=1),)
    assert lessons.trials
    assert max(lessons.slots) < 80
    assert all(trial.last == trial.stop for trial in lessons.trials)


def test_what_precedes_a_film_is_learnt_as_a_forecast() -> None:
    lessons = plan_all(make_plan(60, [(0, 3)]))
    assert lessons.situations == (Situation(4, 3, 0, stride=1),)


def test_long_gaps_and_contexts_are_learnt_at_the_length_of_the_training() -> None:
    plan = make_plan(600, [(300, 316)], context=100)
    lessons = plan_lessons(plan, list_tasks(plan, 100), size=SIZE)
    assert lessons.situations == (Situation(8, 8, 8, stride=1),)


def test_far_frames_are_not_learnt_from() -> None:
    lessons = plan_all(make_plan(5000, [(2500, 2501)]))
    assert min(lessons.slots) >= 2500 - 128
    assert max(lessons.slots) < 2501 + 128


@pytest.mark.parametrize("size", [(270, 480), (1080, 1920), (2160, 3840)])
def test_what_is_held_does_not_grow_with_the_video(size: tuple[int, int]) -> None:
    gaps = [(start, start + 2) for start in range(60, 3000, 60)]
    lessons = plan_all(make_plan(3000, gaps), size=size)
    shrink = {270: 1, 1080: 4, 2160: 8}[size[0]]  # to a short side below 540
    assert lessons.obstacle is None
    assert len(learnt(lessons)) * size[0] * size[1] <= 2**26 * shrink**2
    assert 1 <= len(lessons.trials) <= 8
    span = max(trial.last - trial.first for trial in lessons.trials)
    assert len(lessons.trials) * span * size[0] * size[1] <= 2**27
    # Evenly spread, not the first ones only.
    assert lessons.pieces[0][0] < 500
    assert lessons.pieces[-1][1] > 2500
    # What the checks hide that are not judged by is kept from the learning too.
    checks = [task for task in list_tasks(make_plan(3000, gaps), 4) if task.is_check]
    assert not hide(checks) & set(learnt(lessons))


def list_free_runs(n: int, forbidden: set[int], cuts: Sequence[int]) -> list[list[int]]:
    """Slots that are not forbidden, in runs, a new one at each cut: by looking at every slot."""
    runs: list[list[int]] = [[]]
    for slot in range(n):
        if slot in cuts or slot in forbidden:
            runs.append([])
        if slot not in forbidden:
            runs[-1].append(slot)
    return [run for run in runs if run]


@given(
    n=st.integers(1, 400),
    holes=st.dictionaries(st.integers(1, 398), st.integers(1, 12), max_size=6),
    cuts=st.sets(st.integers(1, 399), max_size=3),
    context=st.integers(1, 10),
    max_gap=st.integers(1, 12),
    forecast=st.booleans(),
    height=st.sampled_from([32, 272, 1080, 4320]),
)
@example(n=300, holes={30: 1, 90: 2, 200: 9}, cuts={120}, context=4, max_gap=12, forecast=False,
         height=272)  # fmt: skip
@example(n=400, holes={9: 4}, cuts=set(), context=8, max_gap=4, forecast=True, height=32)
def test_lessons_restated(
    n: int,
    holes: dict[int, int],
    cuts: set[int],
    context: int,
    max_gap: int,
    forecast: bool,
    height: int,
) -> None:
    plan = make_plan(
        n,
        [(start, min(start + length, n - 1)) for start, length in holes.items() if start < n - 1],
        cuts=[cut for cut in sorted(cuts) if cut < n],
        context=context,
        max_gap=max_gap,
    )
    first_unknown = n * 3 // 4
    forecast = forecast and n > 1 and plan.slots[first_unknown - 1].source is not None
    unknown = range(first_unknown, n) if forecast else range(0)
    tasks = list_tasks(plan, context)
    if forecast:
        tasks = [Task(first_unknown - 1, first_unknown, n, n, gap=0)]
    size = (height, 2 * height)
    lessons = plan_lessons(plan, tasks, size=size, unknown=unknown)

    problems = [task for task in tasks if not (task.is_check or task.is_hold)]
    checks = [task for task in tasks if task.is_check]
    far = {s for s in range(n) if all(not t.start - 128 <= s < t.stop + 128 for t in problems)}
    gaps = {s for each in plan.gaps for s in range(each.gap.start, each.gap.stop)}
    forbidden = far | gaps | set(unknown) | hide(checks) | hide(lessons.trials)

    if lessons.obstacle is not None:
        assert lessons.slots == frozenset()
        return
    assert problems
    assert 1 <= len(lessons.trials) <= 8
    for trial in lessons.trials:
        window = set(range(trial.first, trial.last))
        assert trial.is_check
        assert trial.start > trial.first or trial.last > trial.stop
        assert not window & (gaps | set(unknown))
        assert not any(trial.first < cut < trial.last for cut in plan.cuts)
        if trial not in checks:
            sides = trial.start - trial.first, trial.stop - trial.start, trial.last - trial.stop
            assert Situation(*sides, stride=1) in lessons.situations
            assert not window & (hide(checks) | far)
    for situation in lessons.situations:
        assert 1 <= situation.n_missing <= 8
        assert 1 <= situation.n_before <= 8
        assert 0 <= situation.n_after <= 8

    slots = learnt(lessons)
    assert len(slots) == len(set(slots)) >= 32
    assert not set(slots) & forbidden
    shortest = min(situation.span for situation in lessons.situations)
    runs = list_free_runs(n, forbidden, plan.cuts)
    for start, stop in lessons.pieces:
        assert shortest <= stop - start <= 48
        assert any({start, stop - 1} <= set(run) for run in runs)
    shrink = 1
    while height // shrink >= 540:
        shrink *= 2
    enough = [slot for run in runs if len(run) >= shortest for slot in run]
    budget = 2**26 * shrink**2 // (size[0] * size[1])
    if len(enough) <= budget:
        assert slots == enough
    else:
        assert len(slots) <= max(budget, 48)


# Learning.


def make_predictor(*, seed: int = 0, strength: float = 0.05) -> Predictor:
    """A little network with every weight disturbed: there is much to learn for it."""
    network = build_network(strength=strength, seed=seed)
    return Predictor(network, name="tiny", device=torch.device("cpu"))


LESSONS = plan_all(make_plan(80, [(40, 42)]))
FILM = film(80, *SIZE)


def pictures(frames: Sequence[np.ndarray] | np.ndarray = FILM) -> Iterator[tuple[int, np.ndarray]]:
    return ((slot, frames[slot]) for slot in sorted(LESSONS.slots))


def weights_of(predictor: Predictor) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in predictor.model.named_parameters()}


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def learn(predictor: Predictor, **options: Any) -> tuple[Predictor, AdaptationReport]:
    return fine_tune(predictor, LESSONS, pictures(), **{"n_steps": 3, "seed": 1} | options)


def force(
    monkeypatch: pytest.MonkeyPatch, before: float, after: float, halfway: float | None = None
) -> None:
    """Say how good the network is, then its copy, then what is half-way between the two."""
    each = iter((before, after, after - 1 if halfway is None else halfway))
    monkeypatch.setattr(adaptation, "_judge", lambda *_: next(each))


def test_the_same_seed_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for seed in (1, 1, 2):
        force(monkeypatch, 20.0, 21.0)
        torch.manual_seed(seed + len(found))  # nothing but the seed may matter
        found.append(weights_of(learn(make_predictor(), seed=seed)[0]))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_a_better_copy_is_kept_and_the_network_given_stays_as_it_is() -> None:
    told: list[Progress] = []
    predictor = make_predictor()
    before = weights_of(predictor)
    made = predictor.fill(FILM[:2], FILM[4:6], 2)
    adapted, report = learn(predictor, n_steps=8, on_progress=told.append)
    assert adapted is not predictor
    assert not same(weights_of(adapted), before)
    assert same(weights_of(predictor), before)
    assert not predictor.model.training
    assert all(p.grad is None for p in predictor.model.parameters())
    assert np.array_equal(predictor.fill(FILM[:2], FILM[4:6], 2), made)

    assert report.kept
    assert report.reason == "the hidden frames came out better"
    assert report.psnr_before is not None
    assert report.psnr_after is not None
    assert report.psnr_after > report.psnr_before
    assert (report.steps_asked, report.steps_done) == (8, 8)
    assert report.windows_judged == len(LESSONS.trials)
    assert report.windows_learnt == len(LESSONS.pieces)
    assert report.frames_learnt == len(learnt(LESSONS))
    assert report.seconds > 0
    assert (adapted.name, adapted.device) == (predictor.name, predictor.device)
    assert told == [Progress("adapt", step, 8) for step in range(9)]
    # The report's figures, by hand.
    for who, figure in ((predictor, report.psnr_before), (adapted, report.psnr_after)):
        means = []
        for trial in LESSONS.trials:
            shown = FILM[trial.first : trial.start], FILM[trial.stop : trial.last]
            made = who.fill(*shown, trial.stop - trial.start)
            errors = (made.astype(float) - FILM[trial.start : trial.stop]) ** 2
            means.append(np.mean(10 * np.log10(255**2 / errors.mean((1, 2, 3)))))
        assert figure == pytest.approx(np.mean(means))


@pytest.mark.parametrize("after", [20.0, 19.9])
def test_a_copy_that_is_no_better_is_dropped(monkeypatch: pytest.MonkeyPatch, after: float) -> None:
    force(monkeypatch, 20.0, after)
    predictor = make_predictor()
    kept, report = learn(predictor)
    assert kept is predictor
    assert not report.kept
    assert report.reason == "the hidden frames came out no better"
    assert (report.steps_done, report.psnr_before, report.psnr_after) == (3, 20.0, after)


@pytest.mark.parametrize(
    "after",
    [20.5, *(pytest.param(score, marks=pytest.mark.exhaustive) for score in (19.0, math.nan))],
)
def test_half_of_what_was_learnt_may_be_better(
    monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    predictor = make_predictor()
    found = []
    for scores in ((20.0, 30.0, 25.0), (20.0, after, 21.0)):
        force(monkeypatch, *scores)
        copied, report = learn(predictor)
        assert report.kept
        found.append(weights_of(copied))
    assert (report.psnr_after, copied.name) == (21.0, predictor.name)
    assert report.reason == "the hidden frames came out better with half of what was learnt"
    for name, weights in weights_of(predictor).items():
        torch.testing.assert_close(found[1][name], (weights + found[0][name]) / 2)


def test_a_copy_that_learnt_nonsense_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = dataclasses.replace(adaptation._CONFIG, learning_rate=3.0, warmup_steps=1)
    monkeypatch.setattr(adaptation, "_CONFIG", wild)
    predictor = make_predictor(strength=0.0)
    before = weights_of(predictor)
    kept, report = learn(predictor)
    assert kept is predictor
    assert not report.kept
    assert same(weights_of(predictor), before)


def test_a_loss_that_is_not_finite_ends_the_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    wild = dataclasses.replace(adaptation._CONFIG, learning_rate=1e30, warmup_steps=1)
    monkeypatch.setattr(adaptation, "_CONFIG", wild)
    predictor = make_predictor()
    kept, report = learn(predictor, n_steps=50)
    assert kept is predictor
    assert not report.kept
    assert report.reason == "the loss was no longer finite"
    assert 1 <= report.steps_done < 50
    assert report.psnr_before is not None
    assert report.psnr_after is None


def test_nothing_is_learnt_from_hidden_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the hidden frames and the gap blackened the copy comes out the same."""
    black = FILM.copy()
    black[[*range(40, 42), *hide(LESSONS.trials)]] = 0
    found = []
    for frames in (FILM, black):
        force(monkeypatch, 20.0, 21.0)
        adapted, _ = fine_tune(make_predictor(), LESSONS, pictures(frames), n_steps=3, seed=1)
        found.append(weights_of(adapted))
    assert same(*found)


def test_deep_pictures_are_learnt_from_like_others(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for frames in (FILM, FILM.astype(np.uint16) * 257):
        force(monkeypatch, 20.0, 21.0)
        adapted, _ = fine_tune(make_predictor(), LESSONS, pictures(frames), n_steps=2, seed=1)
        found.append(weights_of(adapted))
    assert same(*found)


def test_pictures_that_do_not_come_are_done_without() -> None:
    quarters = ((0, 14), (14, 28), (48, 61), (61, 74))
    lessons = dataclasses.replace(LESSONS, pieces=quarters)
    some = [pair for pair in pictures() if pair[0] != 16]
    predictor, report = fine_tune(make_predictor(), lessons, some, n_steps=1, seed=1)
    assert (report.windows_learnt, report.frames_learnt) == (3, 14 + 13 + 13)
    assert report.windows_judged == len(lessons.trials)
    kept, report = fine_tune(predictor, lessons, (), n_steps=1, seed=1)
    assert kept is predictor
    assert report.reason == "too few of the known frames are sound and of one size"
    assert report.steps_done == 0


def test_pictures_of_changing_size_are_done_without() -> None:
    mixed = [image if slot % 5 else image[:-2] for slot, image in enumerate(FILM)]
    predictor = make_predictor()
    kept, report = fine_tune(predictor, LESSONS, pictures(mixed), n_steps=1, seed=1)
    assert kept is predictor
    assert "of one size" in report.reason


def test_an_obstacle_reads_nothing() -> None:
    def explode() -> Iterator[tuple[int, np.ndarray]]:
        raise AssertionError("read")
        yield

    predictor = make_predictor()
    kept, report = fine_tune(
        predictor, Lessons((), (), (), "no reason"), explode(), n_steps=3, seed=1
    )
    assert kept is predictor
    assert (report.kept, report.reason, report.steps_done) == (False, "no reason", 0)


@pytest.mark.parametrize("n_steps", [0, -1])
def test_no_steps_are_an_error(n_steps: int) -> None:
    with pytest.raises(ValueError, match="n_steps"):
        learn(make_predictor(), n_steps=n_steps)


def test_pictures_are_learnt_from_at_the_size_of_their_motion() -> None:
    """Full HD is held four times smaller each way, and only one trial is held whole."""
    lessons = Lessons((Situation(2, 1, 2, stride=1),), (Task(0, 2, 3, 5, 0, True),), ((5, 20),))
    big = np.zeros((1080, 1920, 3), np.uint8)
    tracemalloc.start()
    trials, pieces = adaptation._gather(lessons, ((slot, big) for slot in range(20)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [tuple(piece.shape) for piece in pieces] == [(15, 3, 270, 480)]
    assert [trial.hidden.shape for trial in trials] == [(1, 1080, 1920, 3)]
    assert peak < 3 * (5 * big.nbytes + 15 * big.nbytes / 16)


# Through the commands.


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, build_network(strength=0.05).state_dict(), TINY, {})
    return path


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """80 ideal frames at 25 a second, without two of them, stored without loss."""
    kept = [slot for slot in range(80) if slot not in (40, 41)]
    times = [Fraction(slot, 25) for slot in kept]
    return write_clip(tmp_path / "clip.mkv", list(FILM[kept]), times=times, codec="ffv1")


def call(*arguments: object) -> Any:
    """Run a command in this process; what it reports."""
    answer = CliRunner().invoke(app, [*map(str, arguments), "--json", "-"])
    assert answer.exit_code == 0, answer.stderr
    return json.loads(answer.stdout)


def test_fill_gaps_adapts(clip: Path, model: Path) -> None:
    weights = model.read_bytes()
    reports, films = [], []
    for name in ("one.mkv", "two.mkv"):
        output = clip.with_name(name)
        reports.append(
            call(
                *("fill-gaps", clip, "-o", output, "--model", model, "--lossless"),
                *("--adapt", 4, "--seed", 1, "--context", 4),
            )
        )
        films.append(read_planes(output))
    facts = reports[0]["adaptation"]
    assert facts["kept"]
    assert facts["psnr_after"] > facts["psnr_before"]
    assert facts["steps_asked"] == facts["steps_done"] == 4
    assert facts["windows_judged"] == len(LESSONS.trials)
    assert facts["frames_learnt"] == len(learnt(LESSONS))
    assert reports[0]["model"] == str(model)

    made = {Fraction(slot, 25) for slot in (40, 41)}
    assert [pair for pair in films[0] if pair[0] not in made] == read_planes(clip)
    assert [at for at, _ in films[0]] == [Fraction(slot, 25) for slot in range(80)]
    for report in reports:
        del report["adaptation"]["seconds"]
    assert reports[0]["adaptation"] == reports[1]["adaptation"]
    assert reports[0]["gaps"] == reports[1]["gaps"]
    assert films[0] == films[1]
    assert model.read_bytes() == weights

    # The copy, and not the network, made the frames.
    plain = clip.with_name("plain.mkv")
    report = call("fill-gaps", clip, "-o", plain, "--model", model, "--lossless")
    assert report["adaptation"] is None
    assert {pair for pair in films[0] if pair not in read_planes(plain)} == {
        pair for pair in films[0] if pair[0] in made
    }


def test_what_came_of_it_is_told(clip: Path, model: Path) -> None:
    answer = CliRunner().invoke(
        app, ["fill-gaps", str(clip), "--model", str(model), "--adapt", "2", "--gap", "1:79"]
    )
    assert answer.exit_code == 0
    assert "not adapted: the network has nothing to make" in answer.stderr


def test_nothing_to_fill_is_nothing_to_adapt_to(tmp_path: Path, model: Path) -> None:
    whole = write_clip(tmp_path / "whole.mkv", list(FILM), codec="ffv1")
    assert call("fill-gaps", whole, "--model", model, "--adapt", 2)["adaptation"] is None


def test_a_forecast_does_not_learn_from_what_it_is_scored_against(
    tmp_path: Path, model: Path
) -> None:
    found = []
    for shift in (0, 3):
        frames = [*FILM[:56], *np.roll(FILM[56:60], shift, axis=1)]
        source = write_clip(tmp_path / f"{shift}.mkv", frames, codec="ffv1")
        report = call(
            *("forecast", source, "--frames", 4, "--hold-out", "--model", model),
            *("--context", 4, "--adapt", 4, "--seed", 1),
        )
        facts = report["adaptation"]
        assert facts["steps_done"] == 4
        found.append((facts["psnr_before"], facts["psnr_after"], facts["frames_learnt"]))
    assert found[0] == found[1]


@pytest.mark.parametrize("arguments", [["--adapt", "0"], ["--adapt", "2", "--seed", str(2**32)]])
def test_wrong_usage(clip: Path, model: Path, arguments: list[str]) -> None:
    answer = CliRunner().invoke(app, ["fill-gaps", str(clip), "--model", str(model), *arguments])
    assert answer.exit_code == 2
    assert arguments[-2] in answer.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="signals are a matter of POSIX")
def test_a_signal_while_learning_leaves_nothing(clip: Path, model: Path) -> None:
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # jobs in the background ignore it
from framepred.cli import run
sys.argv = ["framepred", "fill-gaps", {str(clip)!r}, "--model", {str(model)!r},
            "--adapt", "1000000", "--progress", "machine"]
run()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "adapt" in line)
        assert json.loads(told)["total"] == 1_000_000
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(timeout=20) == 130
    assert "Traceback" not in said
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mkv"]
