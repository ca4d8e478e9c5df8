"""Provenance of runs, most of which are folders as a training leaves them, without the training."""

import hashlib
import itertools
import shutil

import numpy as np
import pytest

from affect_jax import config as configs
from affect_jax.chain import chain, scored_tracks
from affect_jax.ensemble.choose import MEANS, unfitted
from affect_jax.ensemble.fitted import Fitted
from affect_jax.ensemble.folder import others
from affect_jax.ensemble.members.ensemble import EnsembleMember
from affect_jax.ensemble.members.feature import FeatureMember
from affect_jax.ensemble.members.folds import FoldsMember
from affect_jax.ensemble.members.predictions import PredictionsMember
from affect_jax.ensemble.members.run import RunMember
from affect_jax.export import cli as export
from affect_jax.folds import Folds, cross_validate, fold_configs
from affect_jax.members import FOLDS_FILE
from affect_jax.prediction_files import Predictions
from affect_jax.provenance import cli, prove
from affect_jax.report.figure_chain import Box, draw_chain
from affect_jax.run import Run
from affect_jax.tasks import tasks_from_config
from affect_jax.train_run import train_run
from data_pipelines.identity import TRACKS
from data_pipelines.replace_file import replace_json
from data_pipelines.store import Store
from data_pipelines.store_writer import StoreWriter
from tests.tiny import tiny_config

SPLITS = {"train": ("a_left", "a_right", "b", "c", "d"), "validation": ("e", "f"), "test": ("g",)}
ALL = [track for tracks in SPLITS.values() for track in tracks]


def make(path, features, *, labels=True, origin=None, splits=SPLITS, name="data"):
    """A store of nine frames a track; a person to the left and one to the right are one group."""
    kinds = {"valence": dict(kind="values", size=1)} if labels else {}
    rng = np.random.default_rng(0)
    with StoreWriter(path, name=name, features=features, labels=kinds, origin=origin) as writer:
        for split, tracks in splits.items():
            for track in tracks:
                writer.add(
                    track=track,
                    split=split,
                    group=track.partition("_")[0],
                    features={key: rng.normal(size=(9, 3)) for key in features},
                    labels={"valence": rng.uniform(-1, 1, 9)} if labels else {},
                )
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make(tmp_path_factory.mktemp("data") / "s", {"x": dict(size=3)})


def trained(folder, root, features=("x",), **changes):
    """The folder of a run, as far as its config goes."""
    changes = {"tasks": "valence", "checkpoint": "last"} | changes
    config = tiny_config(root, **changes)
    config.model.features = features
    run = Run(folder)
    run.create()
    run.write_tasks(tasks_from_config(config))
    configs.save(config, run.config_file)
    return run.folder


def cross_validated(folder, root, features=("x",)):
    """The folder of a cross-validation of two folds, as far as its configs go."""
    config = tiny_config(
        root, tasks="valence", folds__count=2, folds__official=False, data__split=""
    )
    config.model.features = features
    folder.mkdir()
    configs.save(config, folder / FOLDS_FILE)
    replace_json(folder / "scores.json", {})
    for name, own in fold_configs(config).items():
        run = Run(folder / name)
        run.create()
        run.write_tasks(tasks_from_config(own))
        configs.save(own, run.config_file)
    return folder


def exported(path, run, trained_on=()):
    """The store that an export of the run would be."""
    file = next(f for f in (run / FOLDS_FILE, run / "config.json") if f.is_file())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    feature = dict(size=3, run=run.name, extractor=run.name, trained_on=trained_on)
    origin = {"run": run.name, "folder": str(run), "config": digest}
    features = {f"{run.name}/valence": feature}
    return make(path, features, labels=False, origin=origin, name=run.name)


def proof_of(folder, split=""):
    return prove(chain(folder), *scored_tracks(folder, split), ["valence"])


def found(proof):
    findings = [f for f in proof.findings.values() if f.stage.kind != "export"]
    return {f.stage.name: (len(f.saw), len(f.knew)) for f in findings}


def test_a_chain_goes_from_the_data_through_exports_to_the_run(data, tmp_path):
    first = trained(tmp_path / "first", data)
    out = exported(tmp_path / "out", first)
    last = trained(tmp_path / "last", f"{data},{out}", ("x", "first/valence"))
    stages = chain(last)
    assert [(s.kind, s.name) for s in stages.values()] == [
        ("data", "data"),
        ("run", "first"),
        ("export", "first"),
        ("run", "last"),
    ]
    names = [{stages[key].kind for key in s.reads} for s in stages.values()]
    assert names == [set(), {"data"}, {"run"}, {"data", "export"}]
    proof = proof_of(last)
    assert not proof.offending and not proof.doubts
    assert proof.verdict == [
        "None of the 2 tracks of 2 groups (by video) that are scored (validation) is among those "
        "that any of 2 stages was trained on."
    ]
    (mark,) = proof.marks
    assert mark.startswith("run 'last' was trained on outputs of run 'first' for 5 tracks")


def test_a_store_that_the_run_reads_nothing_of_is_no_stage(data, tmp_path):
    out = exported(tmp_path / "out", trained(tmp_path / "first", data))
    last = trained(tmp_path / "last", f"{data},{out}")
    assert [stage.name for stage in chain(last).values()] == ["data", "last"]


@pytest.mark.parametrize(("split", "knew"), [("train+validation", 2), ("train", 0)])
def test_a_stage_two_steps_before_that_was_trained_on_what_is_scored_is_named(
    data, tmp_path, capsys, split, knew
):
    first = trained(tmp_path / "first", data, data__train_split=split, data__split="")
    one = exported(tmp_path / "one", first)
    second = trained(tmp_path / "second", f"{data},{one}", ("first/valence",))
    two = exported(tmp_path / "two", second)
    last = trained(tmp_path / "last", f"{data},{two}", ("second/valence",))
    assert found(proof_of(last))["first"] == (knew, knew)
    assert found(proof_of(last))["second"] == (0, 0)
    assert cli([str(last)]) == (1 if knew else 0)
    said = capsys.readouterr().out
    assert (f"run 'first' was trained on {knew} of the 2 tracks" in said) == bool(knew)
    text = (last / "provenance" / "README.md").read_text()
    assert ("**run 'first' was trained on" in text) == bool(knew)
    assert (last / "provenance" / "chain.png").stat().st_size > 1000


def test_of_folds_a_track_is_known_to_the_runs_that_do_not_hold_it_out_alone(data, tmp_path):
    folds = cross_validated(tmp_path / "folds", data)
    out = exported(tmp_path / "out", folds)
    last = trained(tmp_path / "last", f"{data},{out}", ("x", "folds/valence"))
    assert found(proof_of(last)) == {"data": (0, 0), "folds": (0, 0), "last": (0, 0)}
    assert not proof_of(last).marks  # what it was trained on is out of fold
    stage = chain(last)[str(folds)]
    whole = scored_tracks(last, "train")[1]
    assert len(stage.saw(whole)) == 5 and not stage.knew(whole)
    again = cross_validated(tmp_path / "again", f"{data},{out}", ("x", "folds/valence"))
    proof = proof_of(again)
    assert (proof.split, len(proof.tracks)) == ("all folds", 5) and not proof.offending
    assert found(proof)["folds"] == found(proof)["again"] == (5, 0)
    assert "by the run of their folds that was not trained on its group" in proof.verdict[0]
    assert cli([f"folds:{folds}"]) == cli([str(folds)]) == 0  # as export and ensemble write it
    one = exported(tmp_path / "one", folds / "fold1")
    lone = trained(tmp_path / "lone", f"{data},{one}", ("fold1/valence",), data__split="train")
    assert found(proof_of(lone))["fold1"][1] in (2, 3)


def test_people_of_one_video_are_known_together(data, tmp_path):
    splits = {"train": ("a_left", "b"), "validation": ("a_right", "e")}
    other = make(tmp_path / "other", {"x": dict(size=3)}, splits=splits, name="other")
    last = trained(tmp_path / "last", other)
    proof = proof_of(last)
    assert [f.knew for f in proof.offending] == [{"a_right"}]


@pytest.mark.parametrize(
    ("trained_on", "split", "knew", "doubt"),
    [
        (("data validation",), "validation", 2, False),
        (("data validation",), "test", 0, False),
        (("data train out of fold",), "train", 0, False),
        (("AffectNet",), "validation", 0, False),
        ((), "validation", 0, True),
    ],
)
def test_of_an_extractor_it_is_known_by_name_what_it_has_seen(
    tmp_path, trained_on, split, knew, doubt
):
    feature = dict(size=3, extractor="net", trained_on=trained_on)
    root = make(tmp_path / "s", {"x": feature})
    last = trained(
        tmp_path / "last", root, data__train_split="test" if split != "test" else "train"
    )
    proof = proof_of(last, split)
    assert found(proof)["net"] == (knew, knew)
    assert [d for d in proof.doubts if "not stated" in d] == (
        ["extractor 'net': what net was trained on is not stated"] if doubt else []
    )
    assert ("as far as is known" in proof.verdict[0]) == doubt


def test_weights_that_a_run_began_with_are_a_stage_too(data, tmp_path):
    first = trained(tmp_path / "first", data, data__train_split="validation", data__split="")
    last = trained(tmp_path / "last", data, init__run=first)
    assert found(proof_of(last))["first"] == (2, 2)
    other = trained(tmp_path / "other", data, init__weights=tmp_path / "net.pt")
    (doubt,) = proof_of(other).doubts
    assert doubt.startswith("weights 'net.pt': ")


def test_rows_that_a_run_has_selected_are_read_of_it(data, tmp_path):
    first = trained(tmp_path / "first", data)
    keep = first / "selection" / "keep.txt"
    keep.parent.mkdir()
    keep.write_text("b\n")
    last = trained(tmp_path / "last", data, data__keep=keep)
    assert str(first) in chain(last)[str(last)].reads


def test_what_is_gone_or_has_changed_is_a_doubt(data, tmp_path):
    copy = shutil.copytree(data, tmp_path / "copy")
    first = trained(tmp_path / "first", copy)
    out = exported(tmp_path / "out", first, ("data validation",))
    last = trained(tmp_path / "last", f"{data},{out}", ("first/valence",))
    replace_json(first / "data.json", {TRACKS: "0"})
    (doubt,) = proof_of(last).doubts
    assert "have changed since its training" in doubt
    (first / "data.json").unlink()
    (first / "config.json").write_text((first / "config.json").read_text() + "\n")
    (doubt,) = proof_of(last).doubts
    assert "has changed since the export" in doubt
    shutil.rmtree(copy)
    assert any("its data are gone" in line for line in proof_of(last).doubts)
    shutil.rmtree(first)
    proof = proof_of(last)
    assert any(d.startswith(f"export 'first': its run is gone ({first})") for d in proof.doubts)
    assert [f.stage.kind for f in proof.offending] == ["extractor"]


def test_a_store_of_an_origin_that_no_path_is_is_data(data, tmp_path):
    origin = {"run": "first", "folder": 5, "config": ""}
    out = make(
        tmp_path / "out", {"first/valence": dict(size=3, run="first")}, labels=False, origin=origin
    )
    stages = chain(trained(tmp_path / "last", f"{data},{out}", ("first/valence",)))
    assert stages[str(out)].kind == "data"


def test_a_checkpoint_or_settings_that_the_scored_split_chose_are_marked(data, tmp_path):
    last = trained(tmp_path / "last", data, checkpoint="best")
    (mark,) = proof_of(last).marks
    assert "scored best on 2 of the scored tracks (validation)" in mark
    assert not proof_of(last, "test").marks
    for folds, marks in ((True, 0), (False, 1)):
        name = f"name{marks}"
        swept = trained(tmp_path / name, data, name="search/best.json", sweep__folds=folds)
        assert len(proof_of(swept).marks) == marks


def test_no_arrow_of_a_picture_crosses_a_box():
    reads = {"a": "", "b": "", "c": "a", "d": "c", "e": "d", "f": "abce", "g": "bf", "h": "ga"}
    boxes = {key: Box([key] * (1 + len(of)), of, key == "a", True) for key, of in reads.items()}
    axes = draw_chain(boxes, "title").axes[0]
    assert len(axes.patches) == len(boxes) == len(axes.texts) - sum(map(len, reads.values()))
    spans = [patch.get_bbox() for patch in axes.patches]
    for line in axes.lines:
        for (x, y), (x1, y1) in itertools.pairwise(line.get_xydata()):
            for box in spans:
                inside = min(x1, box.x1) - max(x, box.x0) > 1e-6
                assert not inside or (y == y1 and not box.y0 <= y <= box.y1)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--split=tset"], "no split 'tset'. Did you mean 'test'"),
        (["--splits=test"], "Did you mean --split"),
        (["--config.data.root=s"], "is no ensemble; a run names its own data"),
        ([], "config.data.split is empty. Name a split"),
    ],
)
def test_what_cannot_be_proved_of_is_refused_in_a_line(data, tmp_path, capsys, flags, message):
    last = trained(tmp_path / "last", data, data__split="")
    assert cli([str(last), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert cli([str(tmp_path / "nowhere")]) == 2
    assert "no run here" in capsys.readouterr().err


def ensemble(folder, members, data, *, fitted=()):
    """The folder of an ensemble of two members that was applied to two splits."""
    task = tasks_from_config(tiny_config(data, tasks="valence"))[0]
    recipes = {task.name: unfitted(task, len(members), MEANS).recipes}
    about = {"store": "data", "split": "validation", "tracks": list(fitted)} if fitted else None
    Fitted(folder, members, (task,), recipes, fitted_on=about).write()
    for split in ("validation", "test"):
        names = np.array(SPLITS[split])
        each = np.arange(len(names))
        raw = np.zeros((len(names), 1), np.float32)
        predictions = Predictions(names, each, each + 1, raw, groups=names)
        predictions.write(folder / "predictions" / split / "valence.npz")
    return folder


def test_an_ensemble_knows_what_its_members_and_its_fit_know(data, tmp_path, capsys):
    first = trained(tmp_path / "first", data, data__train_split="train+validation", data__split="")
    folds = cross_validated(tmp_path / "folds", data)
    members = (RunMember(str(first)), FoldsMember(str(folds)))
    plain = ensemble(tmp_path / "plain", members, data)
    assert cli([str(plain)]) == 2
    assert "name a split: --split=SPLIT. Known: test, validation" in capsys.readouterr().err
    assert cli([str(plain), "--split=test"]) == 0
    assert "that any of 2 stages was trained on." in capsys.readouterr().out
    assert cli([str(plain), "--split=validation"]) == 1
    assert "run 'first' was trained on 2 of the 2 tracks" in capsys.readouterr().out
    assert (plain / "provenance" / "README.md").is_file() and not others(plain)
    lone = trained(tmp_path / "lone", data)
    fitted = ensemble(tmp_path / "fitted", (RunMember(str(lone)),), data, fitted=("e",))
    nested = ensemble(tmp_path / "nested", (EnsembleMember(str(fitted)),), data)
    assert cli([str(nested), "--split=test"]) == 0
    assert cli([str(nested), "--split=validation"]) == 1
    assert "ensemble 'fitted' was trained on 1 of the 2 tracks" in capsys.readouterr().out
    of = PredictionsMember(str(tmp_path / "elsewhere"))
    assert cli([str(ensemble(tmp_path / "other", (of,), data)), "--split=test"]) == 0
    assert "not known: predictions 'elsewhere': what it was trained on" in capsys.readouterr().out


def test_a_feature_that_is_a_member_leads_to_its_run_where_its_store_is_named(
    data, tmp_path, capsys
):
    first = trained(tmp_path / "first", data, data__train_split="validation", data__split="")
    out = exported(tmp_path / "out", first)
    plain = ensemble(tmp_path / "plain", (FeatureMember("first/valence"),), data)
    assert cli([str(plain), "--split=validation"]) == 0
    assert "not known: predictions 'first/valence': " in capsys.readouterr().out
    root = f"--config.data.root={data},{out}"
    assert cli([str(plain), "--split=validation", root]) == 1
    assert "run 'first' was trained on 2 of the 2 tracks" in capsys.readouterr().out


@pytest.mark.slow
def test_a_chain_of_trainings_and_exports_is_proved(data, tmp_path, capsys):
    config = tiny_config(data, tasks="valence", epochs=1, folds__count=2, checkpoint="last")
    config.model.features = ("x",)
    folds, out = Folds(tmp_path / "branch"), tmp_path / "out"
    cross_validate(config, folds)
    assert export([f"folds:{folds.folder}", f"--out={out}"]) == 0
    config.data.root, config.model.features = f"{data},{out}", ("x", "branch/valence")
    run = Run(tmp_path / "fusion")
    train_run(config, run)
    capsys.readouterr()
    assert cli([str(run.folder)]) == 0  # the official fold holds out validation
    assert "but for the folds of 'branch'" in capsys.readouterr().out
    assert cli([str(run.folder), "--split=test"]) == 0
    said = capsys.readouterr().out
    assert "None of the 1 track of 1 group" in said and "but for" not in said
    assert cli([str(folds.folder / "fold1"), "--split=train"]) == 1
    assert len(Store(out).tracks) == len(ALL)
