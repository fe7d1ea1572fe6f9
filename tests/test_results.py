"""`gantool results`: what experiments state, what runs reached, and the page that compares them."""

import json
from pathlib import Path
from subprocess import CompletedProcess

from cli_helpers import Gantool, gantool_fixture  # noqa: F401 (it is a fixture)
from gantool.commands import results
from gantool.commands.results import Experiment, Figure
from gantool.config.reference import read_option
from gantool.config.schema import conf_dir
from gantool.runs.folder import RunFolder
from toys import plain, refusal


def finished(base: Path, experiment: Experiment, seed: int, **last: float) -> None:
    run = results.folder_of(base, experiment, seed)
    run.root.mkdir(parents=True)
    versions = {"torch": "2.x", "gantool": "0"}
    told = {"state": "done", "seconds": 60.0 + seed, "last": last, "device": "cpu", "precision": "fp32"}
    run.status.write_text(json.dumps(told | {"versions": versions}), "utf-8")


def test_figures_hold_or_not():
    assert Figure("modes", ">=", 8).holds(8.0) and not Figure("modes", ">=", 8).holds(7.9)
    assert Figure("error", "<=", 0.05).holds(0.05) and not Figure("error", "<=", 0.05).holds(0.06)
    assert not Figure("error", "<=", 0.05).holds(None)


def test_what_a_paper_reports_stands_beside_what_is_reached_and_has_its_place():
    """A line `# Paper: ...` is shown only beside a figure of ours, and ends with where it is to be found."""
    for path in (conf_dir() / "experiment").glob("*.yaml"):
        line = results.PAPER.search(path.read_text("utf-8"))
        assert ("# Paper" in path.read_text("utf-8")) == bool(line)
        assert not line or (path.stem in {each.name for each in results.stated()} and line[1].endswith(")"))


def test_every_experiment_states_its_figures_in_the_form_that_is_read():
    """A line that says "Reaches" and is not understood would be a claim that nobody checks."""
    understood = {experiment.name for experiment in results.stated()}
    claimed = {path.stem for path in (conf_dir() / "experiment").glob("*.yaml") if "Reaches" in path.read_text("utf-8")}
    assert understood == claimed
    assert all(read_option("experiment", conf_dir() / f"experiment/{name}.yaml").source for name in understood)


def test_statement_is_read_from_the_yaml(tmp_path, monkeypatch):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "a.yaml").write_text(
        "# A. Source: me.\n# Reaches: modes >= 8, kl <= 1e-2, x >= -0.5.\n", "utf-8"
    )
    (tmp_path / "experiment" / "b.yaml").write_text("# B. Source: me.\nsteps: 1\n", "utf-8")
    (tmp_path / "experiment" / "c.yaml").write_text(
        "# C. Source: me\n# Reaches: kl <= 1\n# Paper: kl 0.5 ± 0.1 (A 2017).\n", "utf-8"
    )
    monkeypatch.setattr(results, "conf_dir", lambda: tmp_path)
    figures = (Figure("modes", ">=", 8.0), Figure("kl", "<=", 0.01), Figure("x", ">=", -0.5))
    assert results.stated() == [
        Experiment("a", figures),
        Experiment("c", (Figure("kl", "<=", 1.0),), "kl 0.5 ± 0.1 (A 2017)"),
    ]
    (tmp_path / "experiment" / "b.yaml").write_text("# Reaches: about 8\n", "utf-8")
    assert "column >= number" in refusal(results.stated)


def test_page_compares_what_was_reached_with_what_is_stated(tmp_path):
    good = Experiment("good", (Figure("modes", ">=", 8), Figure("kl", "<=", 0.5)), "9 (A 2017)")
    bad, absent = Experiment("bad", (Figure("modes", ">=", 8),)), Experiment("absent", (Figure("fid", "<=", 9),))
    for seed, kl in enumerate((0.1, 0.3)):
        finished(tmp_path, good, seed, modes=8, kl=kl)
        finished(tmp_path, bad, seed, modes=8 - seed)
    lines, reached = results.table([good, bad, absent], range(2), tmp_path)
    assert (
        "| `gantool train experiment=good` | 8 ± 0 (modes >= 8)<br>0.2 ± 0.14 (kl <= 0.5) | 9 (A 2017) | 60 s |"
        in lines
    )
    assert "| `gantool train experiment=bad` | 7.5 ± 0.71, **no** (modes >= 8) |  | 60 s |" in lines
    assert "| `gantool train experiment=absent` | not run here (fid <= 9) |  |  |" in lines
    assert "torch 2.x" in lines and not reached
    assert results.table([good, absent], range(2), tmp_path)[1]
    older = {results.folder_of(tmp_path, good, seed).root for seed in range(2)}
    assert "not run here (modes >= 8)" in results.table([good], range(2), tmp_path, older)[0]


def test_a_run_that_failed_is_not_passed_over(tmp_path):
    part = Experiment("part", (Figure("modes", ">=", 8),))
    finished(tmp_path, part, 0, modes=8)
    lines, reached = results.table([part], range(2), tmp_path)
    assert "**no**: 1 of 2 seeds" in lines and not reached
    broken = results.folder_of(tmp_path, part, 1)
    broken.root.mkdir()
    broken.status.write_text(json.dumps({"state": "diverged", "reason": "d_loss was no longer finite"}), "utf-8")
    lines, reached = results.table([part], range(2), tmp_path)
    assert "**no**: diverged, d_loss was no longer finite" in lines and not reached


def test_command_trains_what_is_missing_once_and_anew_when_it_changed(gantool: Gantool, tmp_path, monkeypatch):
    conf, name = conf_dir() / "experiment", "ring_gradient_penalty"
    assert (conf / f"{name}.yaml").is_file()
    tiny = Experiment(name, (Figure("modes_covered", ">=", 0),))
    monkeypatch.setattr(results, "stated", lambda: [tiny])
    settings = ["steps=2", "metric.modes.samples=9", "logger=[]", "sample_every=2"]
    monkeypatch.setattr(Experiment, "settings", lambda self, seed: [f"experiment={self.name}", *settings])
    printed = gantool("results", "--page", "page.md", "--folder", "runs")
    assert printed.code == 0 and "(modes_covered >= 0)" in printed.out
    assert "(modes_covered >= 0)" in Path("page.md").read_text("utf-8")
    status = RunFolder(Path("runs") / f"{name}_seed_0").status
    first = json.loads(status.read_text("utf-8"))
    assert first["step"] == 2

    def in_process(command: list[str], **_: bool) -> CompletedProcess:  # as that was; a process takes seconds to begin
        done = gantool(*command[3:])
        return CompletedProcess(command, done.code, done.out, done.err)

    monkeypatch.setattr("subprocess.run", in_process)
    assert gantool("results", "--page", "page.md", "--folder", "runs").code == 0
    assert json.loads(status.read_text("utf-8"))["started"] == first["started"]
    settings[0] = "steps=3"
    assert gantool("results", name, "--page", "page.md", "--folder", "runs").code == 0
    assert json.loads(status.read_text("utf-8"))["started"] != first["started"]
    assert json.loads(status.read_text("utf-8"))["step"] == 3
    config = Path("runs") / f"{name}_seed_0" / "config.yaml"
    config.write_text(
        config.read_text("utf-8").replace("truncation: null\n", ""), "utf-8"
    )  # as of a gantool that knew no such key
    folder = RunFolder(config.parent)
    assert "truncation" not in config.read_text("utf-8") and not results.is_older(tiny, 0, folder)
    settings.append("truncation=1")
    assert results.is_older(tiny, 0, folder)


def test_a_run_stays_where_gantool_has_one_more_option_and_not_where_the_recipe_differs():
    then = {"steps": 5, "trick": {"ema": {"decay": 0.9}}, "metric": {}}
    option = {"steps": 5, "compile": "auto", "trick": {"ema": {"decay": 0.9, "every": 1}}, "metric": {}}
    assert results._same(then, then) and results._same(then, option) and not results._same(option, then)
    for change in ({"steps": 6}, {"trick": {}}, {"trick": {"ema": {"decay": 0.9}, "top_k": {}}}, {"metric": None}):
        assert not results._same(then, then | change)


def test_how_a_run_was_played_and_where_its_data_was_make_it_no_other(compose):
    def asked(*overrides: str) -> dict:
        return results._plain(plain(compose("dataset=mnist", *overrides)))

    for same in (
        "device=cpu",
        "compile=step",
        "graph=off",
        "evaluate_every=7",
        "sample_every=7",
        "dataset.root=elsewhere",
        "dataset.download=false",
    ):
        assert asked(same) == asked()
    for other in ("dataset.flip=true", "seed=1", "precision=bf16"):
        assert asked(other) != asked()


def test_a_folder_that_is_not_there_keeps_the_page(gantool: Gantool, tmp_path):
    page = tmp_path / "PAGE.md"
    page.write_text("what was reached")
    refused = gantool("results", "--no-training", "--folder", "typo", "--page", str(page))
    assert refused.code == 2 and "--folder=typo is no folder: name the one that holds the runs" in refused.err
    assert page.read_text() == "what was reached"


def test_unknown_experiment_is_named(gantool: Gantool):
    result = gantool("results", "rong", "--no-training")
    assert result.code == 2 and "no experiment 'rong' states a figure" in result.err
