"""Pictures: every pixel where it belongs, the same bytes for the same numbers."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from gantool.runs import curves, pictures, scatter
from gantool.runs.figures import new_figure
from gantool.runs.headings import headings, text_of

pytestmark = pytest.mark.usefixtures("with_plots")


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", ["Schöne Grüße", "Кошка", "Γάτα", "naïve…"])
def test_names_are_drawn_in_their_letters(name):
    """No letter looks like the box for one that the font lacks, or is left out."""
    box, letters = text_of("\U0010ffff"), [text_of(letter) for letter in name if letter != " "]
    assert all(letter.tobytes() != box.tobytes() for letter in letters)
    assert len({letter.tobytes() for letter in letters}) == len(set(name) - {" "})
    assert all(letter.getextrema()[0] < 128 for letter in letters)


def test_a_name_may_have_what_cannot_be_drawn():
    assert text_of("a\nb\x00c").tobytes() == text_of("a b c").tobytes()


def test_a_grid_has_every_pixel_in_its_place(tmp_path):
    """5 images of 2x3 in 3 columns, a pixel enlarged 16 times to 32x48, 2 px of white around each."""
    images = torch.randint(0, 255, (5, 3, 2, 3), dtype=torch.uint8)
    pictures.grid(images, 3, tmp_path / "grid.png")
    sheet = pixels(tmp_path / "grid.png")
    assert sheet.shape == (2 * 34 + 2, 3 * 50 + 2, 3)
    expected = np.full_like(sheet, 255)
    for index in range(5):
        for y in range(32):
            for x in range(48):
                place = (2 + index // 3 * 34 + y, 2 + index % 3 * 50 + x)
                expected[place] = images[index, :, y // 16, x // 16]
    assert (sheet == expected).all()


@pytest.mark.parametrize(
    ("shape", "size", "mode"),
    [
        ((4, 1, 8, 8), (70, 70), "L"),
        ((4, 3, 64, 64), (134, 134), "RGB"),
        ((2, 1, 28, 28), (2 + 58, 2 + 58 * 2), "L"),  # 28 is enlarged to 56, the first whole factor above 32
        ((1, 2, 32, 32), (36, 36), "L"),
        ((1, 4, 32, 32), (36, 36), "RGB"),
    ],
)
def test_a_cell_is_enlarged_by_a_whole_factor(tmp_path, shape, size, mode):
    pictures.grid(torch.zeros(shape), 2, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert (image.height, image.width, image.mode) == (*size, mode)


def test_floats_from_minus_one_to_one_are_black_to_white(tmp_path):
    values = torch.tensor([-9.0, -1.0, 0.0, 1.0, 9.0, math.nan]).view(6, 1, 1, 1)
    pictures.grid(values, 6, tmp_path / "grid.png")
    assert pixels(tmp_path / "grid.png")[2, 2::34].tolist() == [0, 0, 128, 255, 255, 128]


def test_equal_numbers_give_equal_bytes_and_no_scratch_files(tmp_path):
    images, points = torch.rand(7, 1, 8, 8), torch.randn(50, 2)
    rows = [{"step": step, "images": 64 * step, "d_loss": 1 / step, "g_loss": step, "fid": 3} for step in range(1, 50)]
    for name in ("a", "b"):
        pictures.grid(images, 3, tmp_path / name / "step_00000001.png")
        scatter.scatter(points, points + 1, tmp_path / name / "scatter.png")
        curves.draw(rows, tmp_path / name / "curves.png")
        pictures.animation([tmp_path / name / "step_00000001.png"] * 2, tmp_path / name / "training.webp")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["curves.png", "scatter.png", "step_00000001.png", "training.webp"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def drawn(path, colour):
    """Bounding box (left, top, right, bottom) of the pixels near a colour, and how many there are."""
    near = (np.abs(pixels(path)[..., :3].astype(int) - colour).sum(axis=2) < 40).nonzero()
    return (near[1].min(), near[0].min(), near[1].max(), near[0].max()), len(near[0])


def test_generated_points_are_drawn_where_they_lie(tmp_path):
    """All at one place: the mark moves right and up as they do, over axes that the real points set."""
    real = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    blue, boxes = [31, 111, 180], []
    for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.25)):
        scatter.scatter(torch.full((400, 2), 1.0) * torch.tensor([x, y]), real, tmp_path / "scatter.png")
        picture = pixels(tmp_path / "scatter.png")
        assert picture.shape[:2] == (480, 480)
        picture = picture.copy()
        picture[:30] = 255  # the legend, which stands above the axes
        Image.fromarray(picture).save(tmp_path / "scatter.png")
        boxes.append(drawn(tmp_path / "scatter.png", blue)[0])
    first, right, up = boxes
    unit = right[0] - first[0]
    assert unit > 100 and right[1] == first[1] and up[0] == right[0]
    assert right[1] - up[1] == pytest.approx(0.75 * unit, abs=1.5)  # equal axes


def test_marks_lie_where_matplotlib_would_draw_them(tmp_path):
    """To a tenth of a pixel, over axes of its own of the same ends; and a mark is as dark as its films say."""
    real = torch.tensor([[-2.0, -3.0], [4.0, 1.0]])  # so the ends are -4.4 and 5.4
    lone = torch.tensor([[-3.3, -3.1], [0.0, 0.0], [1.234, 3.456], [4.81, -2.22], [-1.0, 5.05]])
    scatter.scatter(lone, real, tmp_path / "marked.png")
    scatter.scatter(lone[:0], real, tmp_path / "bare.png")
    bare = pixels(tmp_path / "bare.png")
    cover = (bare[..., 0].astype(float) - pixels(tmp_path / "marked.png")[..., 0]) / (255 - 31)
    figure = new_figure(4.8, 4.8, fitted=False)
    axes = figure.add_axes(scatter.BOX)
    axes.set(xlim=(-4.4, 5.4), ylim=(-4.4, 5.4), aspect="equal")
    figure.canvas.draw()
    for x, y in axes.transData.transform(lone.numpy()):
        left, top = int(x) - 4, int(480 - y) - 4
        near = cover[top : top + 9, left : left + 9]
        across, down = (np.arange(9) + 0.5 + start for start in (left, top))
        centre = (near.sum(0) @ across / near.sum(), near.sum(1) @ down / near.sum())
        assert centre == pytest.approx((x, 480 - y), abs=0.1)
        assert near.sum() == pytest.approx(0.7 * math.pi * 1.5**2, rel=0.1)
    scatter.scatter(lone[[2, 2, 2]], real, tmp_path / "three.png")
    left, top = (int(at) for at in axes.transData.transform(lone[2].numpy()) * [1, -1] + [0, 480])
    assert pixels(tmp_path / "three.png")[top, left, 0] == round(255 * 0.3**3 + 31 * (1 - 0.3**3))
    ends = torch.tensor([[-4.4, 0.0], [5.4, 0.0], [0.0, -4.4], [0.0, 5.4]])
    scatter.scatter(ends, real, tmp_path / "ends.png")
    rows, columns = (pixels(tmp_path / "ends.png") != bare).any(axis=2).nonzero()
    box = axes.get_window_extent()
    assert box.x0 < columns.min() and columns.max() < box.x1 and box.y0 < 480 - rows.max() and 480 - rows.min() < box.y1


def test_the_page_of_a_run_is_drawn_once_and_says_what_lies_outside(tmp_path):
    """With the real points of another run there is another page; what lies inside is not told of."""
    real, others = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), torch.tensor([[-1.0, -1.0], [1.0, 0.0]])
    before = scatter._page_of.cache_info()
    for name, points in (("in", [[0.0, 0.0]]), ("out", [[0.0, 0.0], [9.0, 0.0]])):
        scatter.scatter(torch.tensor(points), real, tmp_path / f"{name}.png")
    after = scatter._page_of.cache_info()
    assert (after.misses - before.misses, after.hits - before.hits) == (1, 1)
    rows, columns = (pixels(tmp_path / "in.png") != pixels(tmp_path / "out.png")).any(axis=2).nonzero()
    assert len(rows) > 100 and rows.min() > 400 and columns.max() < 400  # the note alone
    scatter.scatter(torch.zeros(1, 2), others, tmp_path / "others.png")
    assert (pixels(tmp_path / "in.png") != pixels(tmp_path / "others.png")).any()


def test_a_line_goes_to_each_of_the_joined(tmp_path):
    real, points = torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), torch.tensor([[-1.0, 0.0]])
    scatter.scatter(points, real, tmp_path / "alone.png")
    scatter.scatter(points, real, tmp_path / "joined.png", joined=torch.tensor([[[1.0, 0.0], [-1.0, -1.0]]]))
    rows, columns = (pixels(tmp_path / "joined.png") != pixels(tmp_path / "alone.png")).any(axis=2).nonzero()
    along, up = np.bincount(rows, minlength=480), np.bincount(columns, minlength=480)
    assert along.max() > 250 and up.max() > 125  # the width and half the height of what the real points span


@pytest.mark.parametrize(
    ("way", "told"),
    [
        ({}, ["real", "generated"]),
        ({"joined": torch.ones(4, 2, 2)}, ["real", "generated", "to its nearest real"]),
        ({"row": 2}, ["real", "generated, each 2 a path"]),
    ],
)
def test_the_legend_says_what_is_drawn(tmp_path, monkeypatch, way, told):
    figures, real = [], torch.tensor([[-1.0, -1.0], [1.0, 1.5]])
    monkeypatch.setattr(scatter, "_pixels", lambda figure: figures.append(figure) or np.zeros((480, 480, 3), np.uint8))
    scatter.scatter(torch.zeros(4, 2), real, tmp_path / "a.png", **way)
    assert figures[0].axes[0].get_legend_handles_labels()[1] == told


@pytest.mark.parametrize("middle", [0, -1000, 999, 12345, -7000, -0.3])
@pytest.mark.parametrize("reach", [1e-2, 1, 300, 1e6])
def test_labels_are_not_cut(monkeypatch, middle, reach):
    """By what matplotlib says of the place of each, in a figure of 480 pixels."""
    seen = []
    monkeypatch.setattr(scatter, "_pixels", lambda figure: seen.append(figure) or np.zeros((480, 480, 3), np.uint8))
    real = middle + reach * np.array([[-1.0, -1.0], [1.0, 1.0]])
    scatter._page(real, real, [])
    (figure,) = seen
    figure.canvas.draw()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    for axis in (axes.xaxis, axes.yaxis):
        within = [
            label for at, label in zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True) if low <= at <= high
        ]
        assert len(within) > 2 and all(label.get_text() for label in within)
        for label in [*within, axis.get_offset_text()]:
            box = label.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 480 and box.y1 <= 480, label


def test_paths_join_the_points_of_a_row_in_order(tmp_path):
    """Two rows from left to right: each has its colour all along its height, and none goes from one to the other."""
    real = torch.tensor([[-1.0, -1.0], [1.0, 1.0]])
    across = torch.linspace(-1, 1, 5)
    points = torch.cat([torch.stack([across, torch.full((5,), height)], 1) for height in (-0.5, 0.5)])
    scatter.scatter(points, real, tmp_path / "paths.png", row=5)
    axes = Image.open(tmp_path / "paths.png").crop((0, 60, 480, 480))
    axes.save(tmp_path / "axes.png")
    first, second = (drawn(tmp_path / "axes.png", [int(colour[i : i + 2], 16) for i in (1, 3, 5)])
                     for colour in scatter.WAYS[:2])  # fmt: skip
    (left, top, right, bottom), _ = first
    line = pixels(tmp_path / "axes.png")[top : bottom + 1, left : right + 1, :3].min(axis=(0, 2))
    assert right - left > 200 and bottom - top < 15 and (line < 200).all()
    assert second[0][1] < first[0][1]  # the second row lies above the first


@pytest.mark.parametrize(
    ("points", "reference"),
    [
        (torch.randn(30, 1), torch.randn(30, 1)),
        (torch.randn(30, 1), None),
        (torch.randn(30, 2), None),
        (torch.randn(30, 5), torch.randn(30, 5)),
        (torch.randn(30, 2).bfloat16(), torch.randn(30, 2)),
        (torch.empty(0, 2), torch.randn(30, 2)),
        (torch.full((30, 2), math.nan), None),
        (torch.tensor([[1.0, math.inf], [100.0, 1.0], [0.0, 0.0]]), torch.randn(9, 2)),
        (torch.zeros(3, 2), torch.zeros(3, 2)),
    ],
)
def test_any_points_can_be_drawn(tmp_path, points, reference):
    pictures.picture(points, tmp_path / "a.png", columns=3, reference=reference)
    assert pixels(tmp_path / "a.png").shape[:2] == (480, 480)


def frames(folder, count, side=40):
    paths = [folder / f"step_{step:08d}.png" for step in range(count)]
    for step, path in enumerate(paths):
        image = Image.new("L", (side, side), round(255 * step / max(count - 1, 1)))
        noise = np.random.default_rng(step).integers(256, size=(20, 20), dtype=np.uint8)
        image.paste(Image.fromarray(noise), (20, 10))  # no two frames are alike, or the encoder would join them
        image.save(path)
    return paths


@pytest.mark.parametrize(("count", "shown"), [(2, 2), (5, 5), (130, 100)])
def test_an_animation_goes_from_the_first_frame_to_the_last_and_rests(tmp_path, count, shown):
    path = tmp_path / "training.webp"
    pictures.animation(frames(tmp_path, count), path)
    with Image.open(path) as film:
        assert film.format == "WEBP" and film.n_frames == shown and film.info["loop"] == 0
        shades, lengths = [], []
        for index in range(shown):
            film.seek(index)
            shades.append(film.convert("L").getpixel((10, film.height - 20)))
            lengths.append(film.info["duration"])
    assert shades == sorted(shades) and shades[0] < 5 and shades[-1] > 250
    assert lengths[-1] == 2000 and sum(lengths[:-1]) == pytest.approx(min(10_000, 500 * (shown - 1)), rel=0.02)


def test_fewer_than_two_frames_are_no_animation(tmp_path):
    path = tmp_path / "training.webp"
    pictures.animation([], path)
    pictures.animation(frames(tmp_path, 1), path)
    pictures.animation([*frames(tmp_path, 1), tmp_path / "gone.png"], path)
    assert not path.exists()


def test_an_animation_leaves_out_frames_of_another_size_and_shrinks_large_ones(tmp_path):
    small = frames(tmp_path, 3)
    (tmp_path / "large").mkdir()
    large = frames(tmp_path / "large", 2, side=1600)
    pictures.animation(small + large, tmp_path / "training.webp")
    with Image.open(tmp_path / "training.webp") as film:
        assert (film.n_frames, film.width) == (2, 800) and film.height > 800
        heads = []
        for index in range(2):
            film.seek(index)
            head = np.asarray(film.convert("L"))[: film.height - 800]
            assert head.min() < 100 and (head[:, 200:] > 200).all(), "the number of the step stands above"
            heads.append(head)
        assert np.abs(heads[0].astype(int) - heads[1]).max() > 50, "and each frame has its own"


def test_pictures_import_nothing_heavy_before_they_draw_and_never_pyplot(tmp_path):
    script = """
import sys
from pathlib import Path
from gantool.runs import curves, pictures, scatter
from gantool.runs.headings import headings, text_of
assert not {"torch", "matplotlib", "numpy", "PIL"} & set(sys.modules), "imported too early"
curves.draw([{"step": 1, "d_loss": 1.0}], Path(sys.argv[1]))
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, tmp_path / "curves.png"], check=True)


@pytest.mark.parametrize(
    ("classes", "columns", "over", "beside"),
    [
        ("abcabcab", 3, list("abc"), []),  # the last row is not full
        ("aabbaabb", 4, list("aabb"), []),
        ("aaabbbcc", 3, [], list("abc")),
        ("abcd", 4, list("abcd"), []),
        ("abcd", 3, [], []),  # a column of a and d, and rows of several
        ("aaaa", 2, [], []),  # nothing to tell apart
    ],
)
def test_names_stand_where_they_are_true(classes, columns, over, beside):
    assert headings(list(classes), columns) == (over, beside)


@pytest.mark.parametrize("names", [["cat", "dog"], ["a name that is wider than its column", "dog"]])
@pytest.mark.parametrize(("order", "columns"), [([0, 1, 0, 1], 2), ([0, 0, 1, 1], 2)])
def test_names_are_drawn_beside_the_grid_and_change_nothing_in_it(tmp_path, names, order, columns):
    images = torch.randint(0, 255, (4, 1, 8, 8), dtype=torch.uint8)
    pictures.grid(images, columns, tmp_path / "bare.png")
    pictures.grid(images, columns, tmp_path / "named.png", classes=[names[i] for i in order])
    bare, named = pixels(tmp_path / "bare.png"), pixels(tmp_path / "named.png")
    height, width = bare.shape
    top, left = named.shape[0] - height, named.shape[1] - width
    assert (named[top:, left:] == bare).all()
    assert (top > 0, left > 0) == ((True, False) if order == [0, 1, 0, 1] else (False, True))
    margin = named[:top] if top else named[:, :left]
    halves = np.array_split(margin, 2, axis=1 if top else 0)
    assert all(half.min() < 100 for half in halves), "each column or row has its name"
    assert (margin[:, 0] == 255).all() and (margin[0] == 255).all() or left, "and it is not cut off"


def test_a_cell_can_be_larger(tmp_path):
    pictures.grid(torch.zeros(4, 1, 28, 28), 2, tmp_path / "grid.png", cell=100)
    assert pixels(tmp_path / "grid.png").shape == (2 + 2 * 114, 2 + 2 * 114)  # 28 times 4 is the first above 100
