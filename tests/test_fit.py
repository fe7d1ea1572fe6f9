"""Do objective, tricks, networks and data fit? What does not is refused before a step, with a way out that works."""

import ast
import json
import shutil
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from cli_helpers import Gantool, files, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.architectures import mlp
from gantool.config import compatibility, compose, fit
from gantool.config.build import Builder
from gantool.config.schema import conf_dir
from gantool.game.game import Game
from gantool.game.hooks import Objective
from gantool.game.images import hide_labels
from gantool.objectives.minimax import Minimax
from gantool.objectives.non_saturating import NonSaturating
from image_files import save
from toys import composed_game, pictures, points, refusal

CLASSES, NO_CLASSES = pictures(20), pictures(20)._replace(labels=torch.full((20,), -1), names=())
FEW_LABELS = hide_labels(CLASSES, 4, 0)
TOLD, PROJECTED = "architecture.class_conditional=true", "architecture.projection=true"


class Mirror(mlp.Discriminator):
    """Stands for a D whose verdict is an error of reconstruction."""

    energy = True


MATCHED = "objective=feature_matching"
AUTOENCODER = f"architecture.discriminator._target_={__name__}.Mirror"


class Case(NamedTuple):
    chosen: list[str]  # what does not fit
    said: str  # by name
    ways: dict[str, list[str]]  # a word of the sentence -> what is chosen by somebody who follows it
    images: object = CLASSES
    instead: object = None  # other data, where that is a way out


CASES = {
    "no autoencoder": Case(
        ["objective=began"], "objective began needs a discriminator that is an autoencoder",
        {"architecture=autoencoder": ["objective=began", AUTOENCODER]},
    ),
    "an autoencoder": Case(
        ["objective=hinge", AUTOENCODER], "which objective hinge has no use for",
        {"objective=began": ["objective=began", AUTOENCODER], "another architecture": ["objective=hinge"]},
    ),
    "an autoencoder that is to tell data from samples": Case(
        ["objective=began", AUTOENCODER, "meta=ada_gan"], "does not tell real from fake",
        {"leave out meta": ["objective=began", AUTOENCODER], "another architecture": ["meta=ada_gan"]},
    ),
    "more codes than latents": Case(
        ["objective=info", "architecture.latent_dim=11"], "the codes of objective info are 12 numbers",
        {
            "architecture.latent_dim=12": ["objective=info", "architecture.latent_dim=12"],
            "fewer codes": ["objective=info", "architecture.latent_dim=11", "objective.continuous=1"],
        },
    ),
    "told a class that is not there": Case(
        [TOLD], "architecture.class_conditional=true needs a dataset with classes", {"leave it out": []}, NO_CLASSES
    ),
    "needs classes": Case(
        ["objective=semi_supervised"], "objective semi_supervised needs a dataset with classes",
        {"another dataset": ["objective=semi_supervised"]}, NO_CLASSES, CLASSES,
    ),
    "must be told the class": Case(
        ["objective=auxiliary_classifier"], "objective auxiliary_classifier trains a generator that is told the class",
        {TOLD: ["objective=auxiliary_classifier", TOLD]},
    ),
    "known by its class": Case(
        [TOLD], "16 examples have no class",
        {"objective=auxiliary_classifier": [TOLD, "objective=auxiliary_classifier"], "leave out labels=": [TOLD]},
        FEW_LABELS, CLASSES,
    ),
    "projection of nothing": Case(
        [PROJECTED], "architecture.projection=true is about the class", {TOLD: [PROJECTED, TOLD]}
    ),
    "projection of what is hidden": Case(
        ["objective=auxiliary_classifier", TOLD, PROJECTED], "objective auxiliary_classifier hides the class",
        {"drop architecture.projection=true": ["objective=auxiliary_classifier", TOLD]},
    ),
    "projection onto no number": Case(
        ["objective=mmd", TOLD, PROJECTED], "objective mmd has no verdict that a projection could be added to",
        {"drop architecture.projection=true": ["objective=mmd", TOLD]},
    ),
    "features of a class that is projected onto them": Case(
        ["objective=feature_matching", TOLD, PROJECTED],
        "objective feature_matching has G match features of D, in which there is no class",
        {"drop architecture.projection=true": ["objective=feature_matching", TOLD]},
    ),
    "features of a D that is not told the class": Case(
        [MATCHED, "objective@objective.base=semi_supervised", TOLD],
        "objective feature_matching has G match features of a D that is not told the class",
        {
            "architecture.class_conditional=false": [MATCHED, "objective@objective.base=semi_supervised"],
            "objective=semi_supervised": ["objective=semi_supervised", TOLD],
        },
    ),
    "steep critic": Case(
        ["objective=wasserstein"], "objective wasserstein needs a critic of bounded slope",
        {
            "trick=[gradient_penalty]": ["objective=wasserstein", "trick=[gradient_penalty]"],
            "[weight_clipping]": ["objective=wasserstein", "trick=[weight_clipping]"],
            "[spectral_norm]": ["objective=wasserstein", "trick=[spectral_norm]"],
            "objective=wgan_gp": ["objective=wgan_gp"],
            "or wgan,": ["objective=wgan"],
        },
    ),
    "no targets": Case(
        ["objective=hinge", "trick=[label_smoothing]"],
        "trick.label_smoothing changes D's target labels, and objective hinge has none",
        {"drop it": ["objective=hinge"]},
    ),
    "no critic": Case(
        ["objective=mmd", "trick=[spectral_norm]"],
        "trick.spectral_norm acts on a discriminator that learns, and objective mmd has none",
        {"drop it": ["objective=mmd"]},
    ),
    "no number": Case(
        ["objective=mmd_gan", "trick=[top_k]"], "trick.top_k asks how real D takes an example for",
        {"drop it": ["objective=mmd_gan"]},
    ),
    "no line between real and fake": Case(
        ["objective=relativistic", "trick=[adaptive_augment]"],
        "trick.adaptive_augment asks whether D takes a real for one, and D of objective relativistic",
        {"drop it": ["objective=relativistic"]},
    ),
    "best of fakes that count together only": Case(
        ["objective=semi_supervised", "trick=[top_k]"],
        "trick.top_k weighs G's fakes one by one, and objective semi_supervised compares whole batches",
        {"drop it": ["objective=semi_supervised"]},
    ),
    "no last layer": Case(
        ["objective=began", AUTOENCODER, "trick=[minibatch_stddev]"],
        "trick.minibatch_stddev adds to what D's last layer sees, and an autoencoder has no such layer",
        {"drop it": ["objective=began", AUTOENCODER]},
    ),
    "images only": Case(
        ["trick=[diff_augment]"], "trick.diff_augment is for images, and this dataset holds points",
        {"drop it": []}, points(20),
    ),
    "old fakes of other codes": Case(
        ["objective=info", "trick=[replay_buffer]"], "trick.replay_buffer shows D fakes of other codes",
        {"drop it": ["objective=info"]},
    ),
}  # fmt: skip


def built(compose, *overrides: str, images: object = CLASSES) -> Game:
    return composed_game(compose, *overrides, builder=Builder((__name__,), 100), images=images)


@pytest.mark.parametrize("name", CASES)
def test_refused_by_name_and_every_way_out_works(compose, name):
    case = CASES[name]
    said = refusal(built, compose, *case.chosen, images=case.images)
    assert case.said in said
    for word, chosen in case.ways.items():
        assert word in said
        images = case.images if word.startswith("objective=") else case.instead or case.images
        game = built(compose, *chosen, images=images)
        assert all(bool(torch.isfinite(loss)) for loss in turns(game))


def turns(game: Game) -> list[torch.Tensor]:
    game.source.reserve(3)
    game.source.prepare(3)
    return [game.d_loss()[0], game.g_loss()[0]]


def test_every_refusal_has_a_case():
    """fit.py says as many sentences as there are cases here: one that nobody tests is noticed."""
    tree = ast.parse(Path(fit.__file__).read_text("utf-8"))
    assert sum(isinstance(node, ast.Yield) for node in ast.walk(tree)) == len(CASES)


@pytest.mark.parametrize(
    "chosen",
    [
        [TOLD, "objective=auxiliary_classifier"],  # D is not told, and learns from those that have a class
        ["objective=semi_supervised"],
        [],  # nobody is told
    ],
)
def test_few_labels_where_d_is_not_told_the_class(compose, chosen):
    assert turns(built(compose, *chosen, images=FEW_LABELS))


@pytest.mark.parametrize("objective", ["began", "mmd", "mmd_gan"])
def test_no_projection_without_a_verdict(compose, objective):
    net = [AUTOENCODER] if objective == "began" else []
    said = refusal(built, compose, f"objective={objective}", TOLD, PROJECTED, *net)
    assert "no verdict that a projection could be added to" in said


def test_no_projection_where_nothing_learns():
    """Also for a user's own objective that leaves `realness` as it is."""
    mine = type("Mine", (Objective,), {"critic": False})()
    chosen = fit.Choice(
        "objective mine", mine, {}, mlp.Discriminator, 4, (8,), 2, 0, class_conditional=True, projection=True
    )
    assert [said.partition(":")[0] for said in fit.misfits(chosen)] == [
        "objective mine has no verdict that a projection could be added to"
    ]


def test_what_a_base_needs_its_extension_needs(compose):
    """Info over wasserstein wants a bounded slope, over hinge it has no targets."""
    info = ["objective=info", "architecture.latent_dim=12"]
    bare = refusal(built, compose, *info, "objective@objective.base=wasserstein")
    assert "objective info needs a critic of bounded slope" in bare
    said = refusal(built, compose, *info, "objective@objective.base=hinge", "trick=[label_smoothing]")
    assert "objective info has none" in said
    assert built(compose, *info, "objective@objective.base=wasserstein", "trick=[spectral_norm]")


def test_matched_features_must_hold_the_class_however_deep_the_match_is(compose):
    """G of feature matching moves with the class that is asked of it only where D's features do, and a projection comes
    after them (Miyato and Koyama 2018). A classifier's own term asks G for the class, whatever the features hold.
    """
    info = ["objective=info", "objective@objective.base=feature_matching", "architecture.latent_dim=12"]
    assert "in which there is no class" in refusal(built, compose, *info, TOLD, PROJECTED)
    auxiliary = ["objective=auxiliary_classifier", "objective@objective.base=feature_matching"]
    assert "trick.top_k weighs" in refusal(built, compose, *auxiliary, TOLD, "trick=[top_k]")
    for chosen in ([*info, TOLD], [*auxiliary, TOLD]):
        torch.manual_seed(0)
        game = built(compose, *chosen)
        turns(game)
        image, (one, other) = torch.randn(3, 1, 8, 8), (torch.full((3,), label) for label in (0, 1))
        said = [game.nets["discriminator"](image, label) for label in (one, other)]
        named = game.objective.class_logits(said[0].logits) is not None and not game.objective.tells_class
        assert named or not torch.equal(said[0].features, said[1].features)


def test_tricks_that_bound_no_slope(compose):
    for trick in ("ema", "instance_noise"):
        assert "bounded slope" in refusal(built, compose, "objective=wasserstein", f"trick=[{trick}]")
    player = ["trick=[spectral_norm]", "trick.spectral_norm.player=generator"]
    assert "bounded slope" in refusal(built, compose, "objective=wasserstein", *player)
    assert "bounded slope" in refusal(built, compose, "objective=wgan_gp", "trick.gradient_penalty.weight=0")


@pytest.mark.parametrize("objective, brought", [("wgan", "weight_clipping"), ("wgan_gp", "gradient_penalty")])
@pytest.mark.parametrize("tricks", ["[]", "[ema]", "[instance_noise,ema]"])
def test_objective_keeps_the_trick_that_it_brings(compose, objective, brought, tricks):
    chosen = [name for name in tricks.strip("[]").split(",") if name]
    game = composed_game(compose, f"objective={objective}", f"trick={tricks}")
    assert sorted(game.tricks) == sorted([brought, *chosen])


@pytest.mark.parametrize("objective, kind", [("minimax", Minimax), ("non_saturating", NonSaturating)])
def test_objective_that_was_asked_for_is_played(compose, objective, kind):
    """Trap: "minimax" that is the non-saturating cost."""
    assert type(composed_game(compose, f"objective={objective}").objective) is kind


# ---------------------------------------------------------------- the command line


SMALL = (
    "architecture.generator.hidden=[8]", "architecture.discriminator.hidden=[8]", "steps=2", "batch_size=8",
    "logger=[]",
)  # fmt: skip


def test_a_refused_run_writes_nothing(gantool: Gantool, tmp_path: Path):
    for chosen, said in [
        (["objective=wasserstein"], "objective wasserstein needs a critic of bounded slope"),
        (["objective=hinge", "trick=[label_smoothing]"], "trick.label_smoothing changes D's target labels"),
        ([TOLD, "labels=100"], "1517 examples have no class"),
        ([PROJECTED], "architecture.projection=true is about the class"),
    ]:
        done = gantool("train", *SMALL, *chosen)
        assert (done.code, files(tmp_path)) == (2, [])
        assert said in done.err and "Traceback" not in done.err


def test_own_images_are_decoded_only_for_what_fits(gantool: Gantool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GANTOOL_CACHE", str(tmp_path / "cache"))
    save(tmp_path / "images" / "a.png")
    for chosen, said in [
        (["architecture=dcgan", "dataset.resolution=100"], "architecture=dcgan cannot build 100 x 100 pixels"),
        (["objective=wasserstein"], "objective wasserstein needs a critic of bounded slope"),
        ([TOLD], "architecture.class_conditional=true needs a dataset with classes"),
    ]:
        done = gantool("train", "dataset=folder", "dataset.path=images", *chosen)
        assert done.code == 2 and said in done.err
        assert not Path("cache").exists() and not Path("outputs").exists()


@pytest.mark.parametrize("update", ["unrolled", "consensus"])
def test_what_cannot_be_differentiated_so_often_is_refused(gantool: Gantool, tmp_path: Path, update: str):
    chosen = (*SMALL, f"update={update}", "trick=[gradient_penalty]", "architecture.discriminator.normalization=batch")
    done = gantool("train", *chosen)
    assert (done.code, files(tmp_path)) == (2, [])
    assert "BatchNorm has no third derivative" in done.err
    assert gantool("train", *chosen, "architecture.discriminator.normalization=layer").code == 0
    assert gantool("train", *chosen, "trick=[]").code == 0


def test_in_a_sweep_the_others_run(gantool: Gantool):
    done = gantool("train", "-m", *SMALL, "objective=wasserstein,hinge", "hydra.sweep.dir=sweep")
    assert done.code != 0 and "1 done, 1 not done" in done.out
    told = {
        name: json.loads(Path(f"sweep/objective-{name}/status.json").read_text("utf-8"))
        for name in ("wasserstein", "hinge")
    }
    assert told["hinge"]["state"] == "done"
    assert told["wasserstein"]["state"] == "failed" and "bounded slope" in told["wasserstein"]["error"]
    assert [
        file for file in files(Path("sweep/objective-wasserstein")) if "checkpoint" in file or "samples" in file
    ] == []


# ---------------------------------------------------------------- the table of conf/README.md


def cells(lines: list[str]) -> dict[str, dict[str, str]]:
    """The table as objective -> column -> cell, footnotes as sentences."""
    notes = {f"({line.partition('. ')[0]})": line.partition(". ")[2] for line in lines if line[:1].isdigit()}
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, _, *body = rows

    def spelt(cell: str) -> str:
        answer, _, numbers = cell.partition(" ")
        return " ".join([answer, *(notes[f"{number})"] for number in numbers.split(")") if number)])

    return {row[0]: dict(zip(head[1:], map(spelt, row[1:]), strict=True)) for row in body}


def test_table_says_what_builder_does(compose):
    """The first column against games that are really built; the others by example."""
    found = cells(compatibility.table())
    assert set(found) == {path.stem for path in (conf_dir() / "objective").glob("*.yaml")}
    for objective, row in found.items():
        if row["by itself"] != "yes":
            said = refusal(built, compose, f"objective={objective}")
            assert said.partition(" ")[2].partition(" ")[2] in row["by itself"]  # without the objective's name
    assert found["hinge"]["label_smoothing"].startswith("no trick.label_smoothing changes D's target labels")
    assert found["wasserstein"]["label_smoothing"].count("this objective") == 1, "only what is refused besides"
    assert found["wgan"]["by itself"] == found["wgan_gp"]["by itself"] == "yes", "they bring their trick along"
    (everywhere,) = [line for line in compatibility.table() if line.startswith("Every objective goes with ")]
    assert "`class_conditional`" in everywhere and "`dcgan`" in everywhere
    assert found["semi_supervised"]["data without classes"].startswith("no this objective needs a dataset")
    assert all(len({row[column] for row in found.values()}) > 1 for column in found["hinge"]), (
        "a column of nothing but yes"
    )


def test_new_options_appear_by_themselves(tmp_path, monkeypatch):
    """An objective, a trick and an architecture that were not there before, among a few that were."""
    shutil.copytree(conf_dir(), tmp_path / "conf")
    for module in (compatibility, compose):
        monkeypatch.setattr(module, "conf_dir", lambda: tmp_path / "conf")
    monkeypatch.setattr(compatibility, "_columns", cache(compatibility._columns.__wrapped__))
    mirror = type("Mirror", (mlp.Discriminator,), {"energy": True, "__module__": mlp.__name__})
    monkeypatch.setattr(mlp, "Mirror", mirror, raising=False)
    for path in (tmp_path / "conf" / "objective").iterdir():
        if path.stem not in ("minimax", "began", "non_saturating"):  # the last is the default
            path.unlink()
    for group, name, like in [("objective", "zeta", "hinge"), ("trick", "softening", "label_smoothing")]:
        text = (conf_dir() / group / f"{like}.yaml").read_text("utf-8")
        (tmp_path / "conf" / group / f"{name}.yaml").write_text(text.replace(f"trick.{like}", f"trick.{name}"), "utf-8")
    text = (conf_dir() / "architecture" / "mlp.yaml").read_text("utf-8")
    (tmp_path / "conf" / "architecture" / "mirror.yaml").write_text(
        text.replace("mlp.Discriminator", "mlp.Mirror"), "utf-8"
    )
    found = cells(compatibility.table.__wrapped__())
    assert found["zeta"]["softening"].startswith("no trick.softening changes")
    assert found["minimax"]["softening"] == "yes"
    assert found["zeta"]["mirror"].startswith("no the discriminator of architecture=autoencoder")
    assert found["began"]["mirror"] == "yes"


def test_objectives_declare_what_the_table_reads():
    """Every attribute of Objective that fit.py asks for exists on the base class, so that a user's own has it too."""
    asked = {node.attr for node in ast.walk(ast.parse(Path(fit.__file__).read_text("utf-8")))
             if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "objective"}  # fmt: skip
    assert asked and all(hasattr(Objective, name) for name in asked)
