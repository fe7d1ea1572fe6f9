"""gantool sample, in process: pictures and files from a run folder alone."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from cli_helpers import Gantool, gantool_fixture, train_once  # noqa: F401 (it is a fixture)
from gantool.commands import sample
from gantool.commands.loading import choose_labels
from gantool.commands.sample import USUAL
from gantool.commands.showing import Shown, whole_columns
from gantool.config.schema import conf_dir
from gantool.errors import UsageError
from gantool.runs import checkpoint
from gantool.runs.folder import RunFolder
from gantool.runs.headings import headings
from gantool.samplers.dump import Dump
from gantool.samplers.interpolation import Interpolation, spherical

NETS = ("architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "logger=[]", "steps=6")
RUN = Path("run")


@pytest.fixture
def digits(gantool: Gantool) -> Gantool:
    train_once(gantool, *NETS, "trick=[ema]", "architecture.class_conditional=true")
    return gantool


def grid(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def images(path: Path) -> np.ndarray:
    with np.load(path) as arrays:
        return arrays["images"]


def test_a_seed_repeats_and_no_seed_does_not(digits: Gantool) -> None:
    for name in ("a", "b"):
        assert digits("sample", "run=run", "n=9", "seed=5", f"out={name}.png").code == 0
        assert digits("sample", "run=run", "n=9", f"out=free_{name}.png").code == 0
    assert (grid(Path("a.png")) == grid(Path("b.png"))).all()
    assert (grid(Path("free_a.png")) != grid(Path("free_b.png"))).any()


def test_a_seed_repeats_what_is_random_within_the_generator(gantool: Gantool) -> None:
    """Noise in G follows from the latents: equal ones give equal samples, and rows of different batches differ."""
    noise = ("architecture.generator.dropout=0.5", "architecture.generator.noise=0.1", "hydra.run.dir=run")
    assert gantool("train", *NETS, *noise).code == 0
    dump = ("sample", "run=run", "sampler=dump", "format=npz", "n=6")
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert gantool(*dump, f"seed={seed}", f"out={name}").code == 0
    found = {name: images(Path(f"{name}.npz")) for name in "abc"}
    assert (found["a"] == found["b"]).all()
    assert (found["a"] != found["c"]).any()


def test_the_path_is_printed_and_lies_in_the_run(digits: Gantool) -> None:
    told = digits("sample", "run=run", "n=4", "seed=1")
    path = Path(told.out.strip())
    assert path.is_file()
    assert path.parent == RUN / "samples"


def test_dump_writes_files_and_arrays_alike(digits: Gantool) -> None:
    dump = ("sample", "run=run", "sampler=dump", "n=7", "seed=2")
    assert digits(*dump, "format=npz", "out=all").code == 0
    assert digits(*dump, "out=each").code == 0
    together = images(Path("all.npz"))
    assert together.shape == (7, 8, 8, 1)
    assert together.dtype == np.uint8
    each = np.stack([grid(path) for path in sorted(Path("each").iterdir())])
    assert (each == together[:, :, :, 0]).all()


def test_a_dump_says_the_class_of_each_sample(digits: Gantool) -> None:
    dump = ("sample", "run=run", "sampler=dump", "n=5", "seed=2", "classes=[7,3]")
    assert digits(*dump, "format=npz", "out=all").code == 0
    assert digits(*dump, "out=each").code == 0
    with np.load("all.npz") as arrays:
        assert [str(arrays["names"][label]) for label in arrays["labels"]] == ["7", "3", "7", "3", "7"]
    assert sorted(path.name for path in Path("each").iterdir())[:2] == ["000000_7.png", "000001_3.png"]


def test_names_of_classes_do_not_leave_the_folder(tmp_path: Path) -> None:
    """Fashion-MNIST has a class T-shirt/top, and a stranger's run any."""
    dump = Dump()
    dump.classes(torch.tensor([0, 1]), ["T-shirt/top", "/../../evil"])
    dump([torch.zeros(2, 1, 8, 8)], None, tmp_path / "deep" / "dumped")
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")} == {
        "deep/dumped/000000_T-shirt-top.png", "deep/dumped/000001_-evil.png"
    }  # fmt: skip


def test_spherical_interpolation_is_even_and_keeps_the_length() -> None:
    """On a quarter of a circle of radius 2 in six dimensions: the angle grows evenly (Shoemake 1985, section 3.3)."""
    axes, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    begin, end = 2 * axes[0], 2 * axes[1]
    places = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    angles = torch.pi / 2 * places
    torch.testing.assert_close(spherical(begin, end, places), angles.cos() * begin + angles.sin() * end)
    for other in (3 * begin, -begin):  # no arc, or too many
        torch.testing.assert_close(spherical(begin, other, places), begin + places * (other - begin))


@pytest.mark.parametrize("path", ["spherical", "linear"])
def test_a_row_goes_from_one_draw_to_another(path: str) -> None:
    """Two codes come first, the choice of a component last: both stay, as the class does."""
    latent, label = torch.randn(7, 9, generator=torch.Generator().manual_seed(1)), torch.arange(7)
    deployed = SimpleNamespace(game=SimpleNamespace(objective=SimpleNamespace(codes=(2,))), latent_dim=8)
    made, kinds = Interpolation(3, path).arrange(latent, label, deployed)
    assert kinds.tolist() == [0, 0, 0, 1, 1, 1]
    for row, (begin, end) in enumerate(((0, 2), (1, 3))):
        rendered = made[3 * row : 3 * row + 3]
        torch.testing.assert_close(rendered[0], latent[begin])
        torch.testing.assert_close(rendered[2, 2:8], latent[end, 2:8])
        assert (rendered[:, [0, 1, 8]] == latent[begin, [0, 1, 8]]).all()
    assert torch.equal(made[1, 2:8], torch.lerp(latent[0, 2:8], latent[2, 2:8], 0.5)) == (path == "linear")


def test_interpolation_of_a_run(digits: Gantool) -> None:
    """The ends of the only row are the first two draws of the seed, here of one class."""
    of = ("sample", "run=run", "seed=4", "classes=[5]")
    assert digits(*of, "sampler=dump", "n=2", "format=npz", "out=ends").code == 0
    assert digits(*of, "sampler=interpolation", "n=2", "columns=5", "out=row").code == 0
    row, ends = grid(Path("row.png")), images(Path("ends.npz"))[:, :, :, 0]
    for place, end in zip((0, 4), ends, strict=True):
        x = 2 + 66 * place  # cells of 64 pixels, eight a side for each of the sample's, and 2 between them
        assert (row[2:66:8, x : x + 64 : 8] == end).all()


def test_samples_are_the_generators_own(digits: Gantool) -> None:
    """Against the weights in the checkpoint, multiplied out by hand: one-hot label beside the latent, ReLU, tanh."""
    assert digits("sample", "run=run", "sampler=dump", "format=npz", "n=3", "seed=4", "classes=[7]",
                  "ema=false", "out=x").code == 0  # fmt: skip
    game = checkpoint.load(checkpoint.choose(RunFolder(RUN), "last"))["game"]
    weights = [game[f"nets.generator.body.{i}.{name}"] for i in (0, 2) for name in ("weight", "bias")]
    latent = torch.randn(3, 64, generator=torch.Generator().manual_seed(4))
    label = torch.zeros(3, 10)
    label[:, 7] = 1
    hidden = torch.relu(torch.cat([latent, label], 1) @ weights[0].T + weights[1])
    pixels = torch.tanh(hidden @ weights[2].T + weights[3]).view(3, 8, 8, 1)
    expected = ((pixels + 1) * 127.5).round()
    assert np.abs(images(Path("x.npz")).astype(int) - expected.numpy()).max() <= 1


def test_a_typo_in_the_dataset_is_told_by_every_sampler(digits: Gantool) -> None:
    for sampler in ("grid", "neighbours"):
        told = digits("sample", "run=run", f"sampler={sampler}", "dataset.rot=elsewhere")
        assert told.code == 2 and "unknown key 'dataset.rot'" in told.err


def test_columns(digits: Gantool) -> None:
    for columns, shape in ((2, (5, 2)), (5, (2, 5))):  # rows and columns of 10 cells
        assert digits("sample", "run=run", "n=10", f"columns={columns}", f"out={columns}.png").code == 0
        height, width = grid(Path(f"{columns}.png")).shape[:2]
        assert height / width == pytest.approx(shape[0] / shape[1], rel=0.1)


def test_a_column_is_of_one_class(digits: Gantool) -> None:
    """100 of three classes: 9 columns, 12 rows; where classes are many, as many columns."""
    assert [whole_columns(classes, 100) for classes in (1, 3, 10, 40)] == [10, 9, 10, 40]
    assert digits("sample", "run=run", "n=12", "classes=[1,2,3,4,5,6]", "out=six").code == 0
    height, width = grid(Path("six.png")).shape[:2]
    assert height / width == pytest.approx(2 / 6, rel=0.2)
    assert digits("sample", "run=run", "n=12", "classes=[1,1,2]", "out=three").code == 0  # 3 columns, 4 rows
    height, width = grid(Path("three.png")).shape[:2]
    assert height / width == pytest.approx(4 / 3, rel=0.2)


def test_pictures_of_other_classes_have_other_names(digits: Gantool) -> None:
    for classes in ("[3]", "[7,1]"):
        assert digits("sample", "run=run", "n=4", "seed=1", f"classes={classes}").code == 0
    names = {path.name for path in Path("run/samples").glob("grid*")}
    assert names == {f"grid_step_00000006_seed_1_classes_{classes}_n_4.png" for classes in ("3", "7+1")}


def test_every_other_picture_has_another_name(digits: Gantool) -> None:
    asked = {
        "grid": [[], ["ema=true"], ["ema=false"], ["n=9"], ["columns=3"], ["truncation=0.5"]],
        "interpolation": [[], ["columns=3"], ["sampler.path=linear"]],
        "neighbours": [[], ["sampler.neighbours=1"]],
    }
    for sampler, changes in asked.items():
        for change in changes:
            assert digits("sample", "run=run", "seed=1", f"sampler={sampler}", *change).code == 0
    names = {path.stem.replace("_step_00000006_seed_1", "") for path in Path("run/samples").glob("*seed_1*")}
    assert names == {
        "grid", "grid_ema_true", "grid_ema_false", "grid_n_9", "grid_columns_3", "grid_truncation_0.5",
        "interpolation", "interpolation_columns_3", "interpolation_path_linear", "neighbours",
        "neighbours_neighbours_1",
    }  # fmt: skip


def test_a_cloud_of_points_has_more_samples_than_a_grid(gantool: Gantool) -> None:
    train_once(gantool, "dataset=ring", *NETS)
    for sampler, n in (("dump", 2000), ("grid", 2000), ("neighbours", 100), ("interpolation", 100)):
        form = ("format=npz",) if sampler == "dump" else ()
        done = gantool("sample", "run=run", "seed=1", f"sampler={sampler}", *form, "out=drawn")
        assert done.code == 0 and f"{n} samples of step 6" in done.err
    with np.load("drawn.npz") as arrays:
        assert arrays["points"].shape == (2000, 2)


def test_what_a_name_leaves_out_is_as_in_the_configuration(compose: Callable) -> None:
    cfg = compose(command="sample")
    assert {name: cfg[name] for name in USUAL} == USUAL


def test_out_may_be_a_folder(digits: Gantool) -> None:
    Path("there").mkdir()
    for folder in ("there", "new/"):
        assert digits("sample", "run=run", "n=4", "seed=1", f"out={folder}").code == 0
        assert [path.name for path in Path(folder).iterdir()] == ["run_grid_step_00000006_seed_1_n_4.png"]


def test_ema_and_raw_weights_differ(digits: Gantool) -> None:
    for name in ("true", "false", "null"):
        assert digits("sample", "run=run", "n=4", "seed=1", f"ema={name}", f"out={name}.png").code == 0
    assert (grid(Path("true.png")) == grid(Path("null.png"))).all()
    assert (grid(Path("true.png")) != grid(Path("false.png"))).any()


def test_truncation_cuts_the_tails(digits: Gantool) -> None:
    """With the tails cut to nothing all latents are one."""
    done = digits("sample", "run=run", "sampler=dump", "format=npz", "n=4", "seed=1", "truncation=1e-6",
                  "classes=[3]", "out=x")  # fmt: skip
    assert done.code == 0, done.err
    four = images(Path("x.npz"))
    assert (four == four[:1]).all()
    for changes in ([], ["truncation=0.5"]):  # which their names tell apart
        assert digits("sample", "run=run", "n=4", "seed=1", *changes).code == 0
    assert len(list(Path("run/samples").glob("grid_step_*_seed_1*.png"))) == 2


def test_a_checkpoint_file_or_a_step_can_be_named(digits: Gantool) -> None:
    step = checkpoint.steps(RunFolder(RUN))[0]
    for name, where in {
        "a": [f"run=run/checkpoints/step_{step:08d}.pt"],
        "b": ["run=run", f"checkpoint={step}"],
    }.items():
        assert digits("sample", *where, "n=4", "seed=1", f"out={name}.png").code == 0
    assert (grid(Path("a.png")) == grid(Path("b.png"))).all()


def test_sweeps_and_patterns_are_all_their_runs(digits: Gantool) -> None:
    for name in "ab":
        shutil.copytree(RUN, f"sweep/{name}")
    for where in ("sweep", "sweep/*"):
        refused = digits("sample", f"run={where}")
        assert refused.code == 2 and "is 2 runs: add -m to sample each of them" in refused.err
        done = digits("sample", "-m", f"run={where}", "n=4", "seed=1")
        assert done.code == 0 and {line.split("/")[-3] for line in done.out.splitlines()} == {"a", "b"}, done.err
    refused = digits("sample", "-m", "run=sweep", "n=4", "seed=1", "out=grid.png")
    assert refused.code == 2 and "each job would write over the one before it" in refused.err
    assert not Path("grid.png").exists()
    for out, count in (("grids/", 2), ("grids", 4)):  # which is there by then
        assert digits("sample", "-m", "run=sweep", "n=4", f"seed={count}", f"out={out}").code == 0
        assert len(list(Path("grids").iterdir())) == count
    refused = digits("sample", "-m", "run=sweep", "n=4", "sampler=dump", "out=dumped/")
    assert refused.code == 2 and "sampler=dump fills a folder, and each job needs its own: leave it out" in refused.err
    assert digits("sample", "-m", "run=run", "n=4,9", "seed=1", "out=${n}.png").code == 0
    assert Path("4.png").is_file() and Path("9.png").is_file()


def test_a_run_may_have_a_comma_in_its_name(digits: Gantool) -> None:
    """Found by a pattern, or quoted, beside others."""
    for name in ("pics", "pics, new"):
        shutil.copytree(RUN, f"p/{name}")
    for where, names in (("p/*", {"pics", "pics, new"}), ("run,'p/pics, new'", {"run", "pics, new"})):
        done = digits("sample", "-m", f"run={where}", "n=4", "seed=1")
        assert done.code == 0 and {line.split("/")[-3] for line in done.out.splitlines()} == names, done.err


def test_latest_is_the_default_and_needs_no_data(gantool: Gantool) -> None:
    pictures = Path("pictures")
    pictures.mkdir()
    for i in range(8):
        Image.new("RGB", (16, 16), (i * 30, 0, 0)).save(pictures / f"{i}.png")
    data = ("dataset=folder", f"dataset.path={pictures}", "dataset.resolution=16", "batch_size=4")
    assert gantool("train", *NETS, *data).code == 0
    for path in pictures.iterdir():
        path.unlink()
    pictures.rmdir()
    done = gantool("sample", "n=4")
    assert done.code == 0, done.err
    assert "outputs/folder/non_saturating" in done.out


def test_classes_may_be_called_like_a_number_or_truth(gantool: Gantool) -> None:
    for name in ("true", "null", "1e3"):
        Path("pictures", name).mkdir(parents=True)
        for i in range(4):
            Image.new("L", (8, 8), i * 30).save(Path("pictures", name, f"{i}.png"))
    data = ("dataset=folder", "dataset.path=pictures", "dataset.resolution=8", "batch_size=4")
    told = gantool("train", *NETS, *data, "architecture.class_conditional=true", "hydra.run.dir=run")
    assert told.code == 0, told.err
    for classes in ("true", "[null,1e3]", "1e3"):
        done = gantool("sample", "run=run", "n=4", f"classes={classes}", "seed=1")
        assert done.code == 0, done.err
    names = {path.name.partition("_classes_")[2] for path in Path("run/samples").glob("grid*")}
    assert names == {"true_n_4.png", "null+1e3_n_4.png", "1e3_n_4.png"}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["n=0"], "n must be a whole number >= 1"),
        (["checkpoint=best"], "best.metric"),
        (["checkpoint=12345"], "12345"),
        (["classes=[eleven]"], "there is no class 'eleven'; choose among 0, 1, 2"),
        (["run=nowhere"], "nowhere"),
        (["truncation=-1"], "truncation must be a number > 0"),
        (["sampler=gird"], "did you mean 'grid'?"),
        (["out=x.jpg"], "x.jpg would be written as .png: give a name that ends so"),
        (["sampler=dump", "format=npz", "out=x.png"], "x.png would be written as .npz"),
        (["sampler=dump", "out=x.npz"], "x.npz is the name of one file, and sampler=dump writes many PNG files"),
        (["sampler=interpolation", "n=1"], "n=1 is too few for a row, which has two ends: give n=2 or more"),
        (["sampler=interpolation", "columns=1"], "columns=1 shows no way between two samples"),
        (["format=npz"], "format=npz is of sampler=dump: add that, or leave it out"),
    ],
)
def test_bad_settings_get_one_sentence(digits: Gantool, settings: list[str], sentence: str) -> None:
    run = [] if settings[0].startswith("run=") else ["run=run"]
    refused = digits("sample", *run, *settings)
    assert refused.code == 2, refused.err
    assert sentence in refused.err
    assert "Traceback" not in refused.err


def test_ema_that_was_never_kept_and_classes_that_are_none(gantool: Gantool) -> None:
    assert gantool("train", *NETS, "hydra.run.dir=run").code == 0
    for settings, sentence in ((["ema=true"], "this run kept no average"), (["classes=[1]"], "class_conditional=true")):
        refused = gantool("sample", "run=run", *settings)
        assert refused.code == 2
        assert sentence in refused.err


def test_foreign_truncated_and_malicious_checkpoints(digits: Gantool) -> None:
    path = checkpoint.choose(RunFolder(RUN), "last")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused = digits("sample", f"run={path}")
    assert refused.code == 2
    assert "Traceback" not in refused.err

    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (Path("pwned"),))

    torch.save({"format": "gantool-1", "evil": Evil()}, path)
    refused = digits("sample", f"run={path}")
    assert refused.code == 2
    assert not Path("pwned").exists()


PLANTED = [
    "asyncio.run",
    "${oc.env:HOME}",
    "gantool.commands.assembly.Assembly",  # would build what its own argument names
    "gantool.cli.job.Job",
    "gantool.runs.folder.RunFolder",
]


@pytest.mark.parametrize("planted", PLANTED)
def test_config_of_a_stranger_cannot_name_code_to_run(digits: Gantool, planted: str) -> None:
    text = (RUN / "config.yaml").read_text("utf-8")
    (RUN / "config.yaml").write_text(text.replace("gantool.priors.normal.Normal", planted), "utf-8")
    refused = digits("sample", "run=run")
    assert refused.code == 2, refused.err
    assert "Traceback" not in refused.err


TRICKS = sorted(path.stem for path in (conf_dir() / "trick").glob("*.yaml"))
NORMS = [trick for trick in TRICKS if trick.endswith("_batch_norm")]  # of which a network takes one
OTHERS = [trick for trick in TRICKS if trick not in NORMS]


@pytest.mark.parametrize("tricks", [*([norm] for norm in NORMS), *(OTHERS[at::4] for at in range(4))], ids=",".join)
def test_runs_with_every_trick_can_be_sampled(gantool: Gantool, tricks: list[str]) -> None:
    normed = ("architecture.generator.normalization=batch",) if tricks[0] in NORMS else ()
    assert gantool("train", *NETS, *normed, f"trick=[{','.join(tricks)}]").code == 0
    done = gantool("sample", "n=4")
    assert done.code == 0, done.err


def test_dump_does_not_mix_with_older_files(digits: Gantool) -> None:
    assert digits("sample", "run=run", "sampler=dump", "n=5", "out=all").code == 0
    refused = digits("sample", "run=run", "sampler=dump", "n=2", "out=all")
    assert refused.code == 2
    assert "all is not empty" in refused.err
    assert len(list(Path("all").iterdir())) == 5


def test_a_checkpoint_without_its_parts_is_refused(digits: Gantool) -> None:
    path = checkpoint.choose(RunFolder(RUN), "last")
    checkpoint.save(path, {"step": 1})
    refused = digits("sample", "run=run")
    assert refused.code == 2
    assert "is no checkpoint of gantool train: it lacks data, game" in refused.err


def test_numbers_are_indices_only_where_no_class_is_called_by_one():
    def chosen(names: list[str], *classes: int | str) -> list[int] | None:
        return choose_labels(list(classes), {"class_counts": [5] * len(names), "names": names}, len(classes))

    assert chosen(["cat", "dog"], 1, "cat") == [1, 0]
    assert chosen(["10", "2", "9"], 2, "10", 9) == [1, 0, 2]
    for names, item in ((["10", "2", "9"], 0), (["1", "cat"], 0), (["001", "002"], 1)):
        with pytest.raises(UsageError, match=rf"there is no class {item} \(numbers are names here\); choose among"):
            chosen(names, item)
    with pytest.raises(UsageError, match=r"there is no class 'dog'; choose among cat, 'dog, big'$"):
        chosen(["cat", "dog, big"], "dog")


@pytest.mark.parametrize(
    ("one", "other"),
    [(["a b"], ["a-b"]), (["a+b"], ["a", "b"]), (["x" * 70, "y"], ["x" * 70, "z"]), (["a_b"], ["a b"])],
)
def test_other_classes_are_another_file(one: list[str], other: list[str]):
    names = [sample._word(*classes) for classes in (one, other)]
    assert names[0] != names[1] and all(re.fullmatch(r"[\w+-]{1,80}", name) for name in names)
    assert sample._word("cat", "dog", 3) == "cat+dog+3"


def test_names_of_classes_are_over_the_columns_and_beside_interpolations(digits: Gantool) -> None:
    for name, settings in (
        ("over", ("n=20", "classes=[0,1,2,3,4,5,6,7,8,9]")),
        ("none", ("n=20", "classes=[7]", "columns=10")),
        ("beside", ("n=20", "sampler=interpolation")),
        ("large", ("n=20", "classes=[7]", "columns=10", "sampler.cell=80")),
    ):
        assert digits("sample", "run=run", "seed=1", f"out={name}.png", *settings).code == 0
    sizes = {name: grid(Path(f"{name}.png")).shape for name in ("over", "none", "beside", "large")}
    assert sizes["none"] == (2 + 2 * 66, 2 + 10 * 66) and sizes["large"] == (2 + 2 * 82, 2 + 10 * 82)
    assert sizes["over"][0] > sizes["none"][0] and sizes["over"][1] == sizes["none"][1]
    assert sizes["beside"][1] > sizes["none"][1] and sizes["beside"][0] == sizes["none"][0]
    trained = grid(RUN / "samples" / "step_00000006.png")
    assert trained.shape[0] > 2 + 10 * 34 and trained.shape[1] == 2 + 10 * 34


@pytest.mark.parametrize(
    ("classes", "shape", "columns", "n"),
    [(0, [1, 8, 8], 10, 100), (1, [1, 8, 8], 10, 100), (2, [1, 8, 8], 10, 100), (3, [1, 64, 64], 9, 99),
     (10, [3, 128, 128], 10, 30), (40, [1, 8, 8], 10, 100), (3, [2], 45, 2000)],
)  # fmt: skip
def test_grids_of_a_run_show_a_class_a_column_where_they_can(classes, shape, columns, n):
    prior = SimpleNamespace(
        latents=lambda n, generator: torch.zeros(n, 4), labels=lambda n, generator: torch.full((n,), -1)
    )
    names = [f"c{number}" for number in range(classes)]
    shown = Shown(prior, {"shape": shape, "class_counts": [5] * classes, "names": names}, 0)
    assert (shown.columns, len(shown.latents), len(shown.labels)) == (columns, n, n)
    if not classes:
        assert shown.classes() is None
        return
    counts = [shown.classes().count(name) for name in names]
    assert max(counts) - min(counts) <= 1
    if classes in (2, 3, 10) and len(shape) == 3:
        heads, _ = headings(shown.classes(), shown.columns)
        assert heads == sorted(heads, key=names.index) and set(heads) == set(names)
