"""Curves: every column has its place, of one run and of several."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.runs import curves

pytestmark = pytest.mark.usefixtures("with_plots")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


FULL = {
    "losses": {"d_loss", "g_loss"},
    "D's accuracy": {"d_accuracy_real", "d_accuracy_fake"},
    "D's mean output": {"d_real", "d_fake"},
    "penalties and other terms": {"d_gradient_penalty", "g_info"},
    "divergence": {"divergence"},
    "fid": {"fid"},
    "images/s": {"images_per_second"},
}


def row(step):
    return {"step": step, "images": 64 * step, "seconds": 0.1 * step} | {
        name: math.sin(step / 9) + index for index, name in enumerate(sorted(set().union(*FULL.values())))
    }


def test_each_column_has_its_panel():
    panels = curves._panels([row(1), row(2)])
    assert {title: set(names) for title, names in panels.items()} == FULL and list(panels) == list(FULL)
    empty = {"d_loss": None, "g_loss": 1.0, "note": "text", "step": 3, "flag": None}
    assert {title: set(names) for title, names in curves._panels([empty]).items()} == {"losses": {"g_loss"}}


@pytest.mark.parametrize("count", [1, 2, 29, 30, 31, 700])
def test_curves_of_any_length_are_drawn(tmp_path, count):
    rows = [row(step) for step in range(1, count + 1)]
    rows[-1]["d_loss"] = None
    curves.draw(rows, tmp_path / "curves.png")
    picture = pixels(tmp_path / "curves.png")
    assert picture.shape[1] == 1080 and (picture < 200).any(axis=2).sum() > 2000


def test_a_title_says_what_was_played(tmp_path):
    facts = {"dataset": "ring", "architecture": "mlp", "objective": "hinge", "tricks": ["ema", "top_k"], "seed": 0}
    assert curves.title_of(facts) == "ring, mlp, hinge with ema and top_k, seed 0"
    assert curves.title_of({"dataset": "ring", "objective": "hinge", "tricks": []}) == "ring, hinge"
    rows = [row(step) for step in (1, 2)]
    for name, title in (("with", "ring"), ("without", "")):
        curves.draw(rows, tmp_path / name, title)
    assert (pixels(tmp_path / "with")[:22] < 200).any() and not (pixels(tmp_path / "without")[:4] < 200).any()


def test_a_metric_says_where_it_had_no_number(tmp_path, monkeypatch):
    """A divergence that was infinite is null in metrics.jsonl; other rows were not measured."""
    kept = []
    monkeypatch.setattr(curves, "write_figure", lambda figure, path: kept.append(figure))
    values = [{"modes_kl": None}, {}, {"modes_kl": 2.0}, {"modes_kl": 1.0}]
    rows = [{"step": step, "fid": 1.0} | value for step, value in enumerate(values)]
    curves.draw(rows, tmp_path / "curves.png")
    told = {title: panel(kept[0], title).get_title(loc="right") for title in ("fid", "modes_kl")}
    assert told == {"fid": "", "modes_kl": "no number in 1 of 3"}


@pytest.mark.parametrize(("values", "whole"), [((1.0, 3.0), True), ((0.5, 3.0), False), ((0.96, 1.0), False)])
def test_what_is_counted_has_whole_ticks(values, whole):
    axes = curves.new_figure(4, 3).add_subplot()
    axes.plot([1, 2], values)
    curves._count_whole(axes)
    assert all(float(tick).is_integer() for tick in axes.get_yticks()) == whole


def test_no_rows_are_no_picture(tmp_path):
    curves.draw([], tmp_path / "curves.png")
    curves.draw([{"step": 1, "images": 64}], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_the_running_median_ignores_a_spike():
    values = [2.0] * 200
    values[100] = 1e9
    assert curves._smooth(values).tolist() == [2.0] * 200
    line = [float(value) for value in range(200)]
    assert curves._smooth(line)[10:-10] == pytest.approx(line[10:-10])


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """`drawn(settings)` -> the figure that compare would write."""

    def compared(settings):
        kept = []
        monkeypatch.setattr(curves, "write_figure", lambda figure, path: kept.append(figure))
        assert curves.compare(settings, tmp_path / "curves.png")
        return kept[0]

    return compared


def panel(figure, title):
    (axes,) = (axes for axes in figure.axes if axes.get_title(loc="left") == title)
    return axes


def of(**columns):
    """Rows of these columns at steps 10, 20, ..."""
    length = max(map(len, columns.values()))
    rows = [{"step": 10 * (i + 1)} | {name: values[i] for name, values in columns.items()} for i in range(length)]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def test_a_setting_is_the_mean_of_its_runs_in_a_band_of_their_extremes(drawn):
    figure = drawn({"a": [of(fid=[4.0, 2.0]), of(fid=[8.0, 3.0])], "b": [of(fid=[1.0, None, 5.0], g_loss=[1, 1, 1])]})
    axes = panel(figure, "fid")
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[10, 6], [20, 2.5]], [[10, 1], [30, 5]]]
    corners = {tuple(corner) for corner in axes.collections[0].get_paths()[0].vertices.tolist()}
    assert corners == {(10, 4), (10, 8), (20, 2), (20, 3)}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a (runs: 2)", "b (runs: 1)"]
    assert panel(figure, "g_loss").lines[0].get_color() == axes.lines[1].get_color() != axes.lines[0].get_color()


def test_runs_of_other_lengths_are_compared_as_far_as_each_goes(drawn):
    figure = drawn({"a": [of(fid=[4.0, 2.0, 0.0]), of(fid=[8.0, 4.0])]})
    assert panel(figure, "fid").lines[0].get_xydata().tolist() == [[10, 6], [20, 3], [30, 0]]


def test_what_one_player_does_inside_is_not_compared(drawn):
    columns = {"d_loss": [1.0], "g_loss": [1.0], "d_grad_norm": [1.0], "fid": [1.0], "images_per_second": [9.0]}
    titles = [axes.get_title(loc="left") for axes in drawn({"a": [of(**columns)]}).axes]
    assert titles == ["fid", "d_loss", "g_loss", "images/s"]


def test_more_settings_than_colours_differ_in_their_lines(drawn):
    figure = drawn({str(number): [of(fid=[1.0, number])] for number in range(20)})
    styles = {(line.get_color(), line.get_linestyle()) for line in panel(figure, "fid").lines}
    assert len(styles) == 20


@pytest.mark.parametrize("settings", [{}, {"a": []}, {"a": [[]]}, {"a": [[{"step": 1, "images": 64}]]}])
def test_nothing_to_compare_is_no_picture(tmp_path, settings):
    assert not curves.compare(settings, tmp_path / "curves.png") and not list(tmp_path.iterdir())


def test_a_sweep_draws_its_settings_and_runs_draws_whatever_there_is(gantool: Gantool, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(curves, "compare", lambda settings, path: bool(told.append((settings, path.name)) or settings))
    sweep = ["objective=hinge,least_squares", "seed=1,2", "steps=2", "logger=[]", "device=cpu"]
    assert gantool("train", "-m", "dataset=ring", *sweep, "hydra.sweep.dir=outputs/all").code == 0
    assert gantool("runs", "outputs/all", "--curves", "of_all").code == 0
    (settings, name), (again, other) = told
    assert (name, other) == ("curves.png", "of_all.png")
    for drawn in (settings, again):
        assert {key: len(runs) for key, runs in drawn.items()} == {"objective=hinge": 2, "objective=least_squares": 2}
        for key, runs in drawn.items():
            for seed, rows in enumerate(runs, start=1):
                file = tmp_path / f"outputs/all/{key.replace('=', '-')}_seed-{seed}/metrics.jsonl"
                assert rows == [json.loads(line) for line in file.read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--curves", "a.pdf"], "written as .png"), (["--curves", "a"], "no run below outputs/ has any numbers yet")],
)
def test_runs_says_why_it_draws_nothing(gantool: Gantool, arguments, said):
    result = gantool("runs", *arguments)
    assert result.code == 2 and said in result.err
