r"""Combine several predictions of the same frames into one.

    python -m affect_jax.ensemble MEMBER ... --out=FITTED \
        [--config.data.root=STORE] [--config.data.split=NAME]
    python -m affect_jax.ensemble --apply=FITTED \
        --config.data.root=STORE --config.data.split=NAME

The first fits on a split with labels and keeps what it fitted; every choice is made by folds over
groups (videos, speakers) inside that split. The second uses it on other data, prints the scores
and, as the last line, the scores as JSON. Members: runs, RUN@10-19 (epochs), folders of folds,
folds:FOLDS (one member; held-out predictions), ensembles, folders of predictions, feature:NAME
or feature:* of the store, records:FOLDER (pickles of RAS). Features and records may have gaps.

Without --config.data.root, stored predictions of the members are taken. Without labels nothing is
fitted: members are averaged (values and probabilities), or vote.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from data_pipelines.command import Parser, exit_code
from data_pipelines.errors import UserError, listed, nearest
from data_pipelines.paths import require_name, user_path
from data_pipelines.replace_folder import replace_folder, restore_folder

if TYPE_CHECKING:
    from affect_jax.ensemble.choose import Options
    from affect_jax.tasks import Task

KINDS = ("values", "classes", "labels")
CHOOSE = "choose"
LONGEST_WINDOW = 9  # digits


def _parser() -> Parser:
    parser = Parser(
        prog="python -m affect_jax.ensemble",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("members", nargs="*", metavar="MEMBER", help="what to combine, see above")
    add("--out", metavar="FITTED", help="folder of the ensemble, made if it is not there")
    add("--apply", metavar="FITTED", help="use an ensemble on the data named")
    add("--config.data.root", dest="root", metavar="STORE", help="the data; runs predict them")
    add("--config.data.split", dest="split", metavar="NAME", help="its split")
    add(
        "--config.data.train_split",
        dest="train_split",
        metavar="NAME",
        help="whose labels say which class is rarest, for ties of votes (default: train, or the "
        "split that is fitted on where there is none)",
    )
    add("--tasks", metavar="A,B", help="combine only these (default: all, which must agree)")
    add(
        "--values",
        metavar="HOW",
        help="mean, balanced (by deviation), convex, greedy or choose (default)",
    )
    add("--classes", metavar="HOW", help="mean, vote, greedy or choose (default)")
    add("--labels", metavar="HOW", help="mean, vote, threshold, greedy or choose (default)")
    add(
        "--smooth",
        metavar="W",
        help="window of values in frames, none, or search (default); TASK:W,TASK:W for each task",
    )
    add("--windows", default="0,5,10,20,50", metavar="W,W", help="that --smooth=search tries")
    add("--smoothing", default="mean", metavar="KIND", help="mean, gaussian, median, exponential")
    add("--abaw3", metavar="FOLDER", help="also write the files of the ABAW3 original there")
    add("--match", metavar="HOW", help="yes, no or choose (default): give values the labels' mean "
        "and deviation")  # fmt: skip
    return parser


def main(argv: Sequence[str]) -> None:
    """Run one command; raises UserError for the user's mistakes."""
    flags = _parser().parse_all(argv)
    if bool(flags.apply) == bool(flags.out):
        raise UserError("give either --out=FITTED with members, or --apply=FITTED.")
    if flags.apply and flags.members:
        raise UserError(f"--apply={flags.apply} has its own members; leave {flags.members[0]} out.")
    if flags.out and not flags.members:
        raise UserError(
            "no member is named: runs, ensembles, folders of predictions, feature:*, "
            "records:FOLDER."
        )
    from affect_jax.compilation import compilation_cache

    compilation_cache()
    (_apply if flags.apply else _fit)(flags)


def _apply(flags: argparse.Namespace) -> None:
    from affect_jax.ensemble.fitted import Fitted
    from affect_jax.ensemble.member import ensembles_in
    from affect_jax.ensemble.report import predict_and_report

    restore_folder(user_path(flags.apply))
    fitted = Fitted.read(user_path(flags.apply))
    list(ensembles_in(fitted.members, (fitted.folder.resolve(),)))  # none is in itself
    split = flags.split or (fitted.fitted_on or {}).get("split")
    if not split:
        raise UserError("--config.data.split is missing: the split to apply the ensemble to.")
    require_name(split, "--config.data.split")
    abaw3 = _made("--abaw3", flags.abaw3)
    with replace_folder(fitted.folder / "predictions" / split) as new:
        members = fitted.open(flags.root, split, new.parent / "members")
        predict_and_report(fitted, members, new, fitted.folder / "plots", abaw3)


def _fit(flags: argparse.Namespace) -> None:
    from affect_jax.ensemble.agree import common_tasks
    from affect_jax.ensemble.fitted import FITTED_FILE, Fitted
    from affect_jax.ensemble.folder import keep_others, others
    from affect_jax.ensemble.member import ensembles_in, total_of
    from affect_jax.ensemble.members import parse
    from affect_jax.ensemble.report import predict_and_report
    from data_pipelines.join import open_store

    folder = user_path(flags.out)
    restore_folder(folder)
    if others(folder) and not (folder / FITTED_FILE).is_file():
        raise UserError(f"{folder}: exists and is no ensemble. Give another --out.")
    store = open_store(flags.root) if flags.root else None
    if flags.train_split and store is None:
        raise UserError(f"--config.data.train_split={flags.train_split}: of which data? Give "
                        "--config.data.root=STORE.")  # fmt: skip
    if flags.train_split:
        store.split(flags.train_split)
    members = parse(flags.members, store)
    if folder.resolve() in ensembles_in(members):
        raise UserError(f"--out={folder}: is a member, or in one. Give another --out.")
    if inside := [member for member in members if member.is_in(folder)]:
        raise UserError(f"--out={folder}: member {inside[0].name} is in it. Give another --out.")
    tasks = common_tasks(members, flags.tasks, store)
    split = flags.split or members[0].default_split
    if store is not None and not split:
        known = listed(store.splits)
        raise UserError(f"--config.data.split is missing: the split to fit on ({known}).")
    if split:
        require_name(split, "--config.data.split")
    for task in tasks:  # what is wrong in flags is said before anything is predicted
        _options(flags, task, tasks, labelled=False)
    if unfinished := [member.name for member in members if member.unfinished]:
        print(f"warning: {', '.join(unfinished)}: in training still; the checkpoints so far count",
              file=sys.stderr)  # fmt: skip
    draft = Fitted(folder, tuple(members), tasks, {}, total=total_of(members))
    with replace_folder(folder) as new:
        if not split:
            _fit_tasks(draft, None, flags).write(new)
            keep_others(folder, new)
            print(f"{folder}: {len(members)} members, nothing fitted. Use it with "
                  f"--apply={folder}.")  # fmt: skip
            return
        abaw3 = _abaw3(flags.abaw3, folder, new)
        opened = draft.open(flags.root, split, new.parent / "members")
        fitted = _fit_tasks(draft, opened, flags)
        fitted.write(new)
        print(f"ensemble: {folder} ({len(members)} members)")
        predict_and_report(fitted, opened, new / "predictions" / split, new / "plots", abaw3)
        keep_others(folder, new)


def _abaw3(text: str | None, folder: pathlib.Path, new: pathlib.Path) -> pathlib.Path | None:
    """The folder of --abaw3; inside that of the ensemble it is in the one that is written."""
    if text and user_path(text).resolve().is_relative_to(folder.resolve()):
        return new / user_path(text).resolve().relative_to(folder.resolve())
    return _made("--abaw3", text)


def _fit_tasks(draft: Any, opened: Any, flags: argparse.Namespace) -> Any:
    """The ensemble with the recipe of every task; `opened` None: nothing to fit on."""
    import dataclasses

    from affect_jax.ensemble.agree import class_counts
    from affect_jax.ensemble.choose import fit, unfitted
    from affect_jax.ensemble.report import in_words, tried_table

    recipes, equal, tried, counted, tracks = {}, {}, {}, {}, []
    for task in draft.tasks:
        reference, raws = opened.gather(task) if opened is not None else (None, [])
        labelled = reference is not None and reference.label is not None
        options, counts, where = _options(flags, task, draft.tasks, labelled), (), ""
        if task.kind == "classes" and reference is not None:
            counts, where = class_counts(
                task, opened.store, flags.train_split, reference, opened.split
            )
            counted[task.name] = where
        if not options.needs_labels(task.kind):
            fitted = unfitted(task, len(draft.members), options, counts)
        elif reference is None:
            raise UserError(
                f"task {task.name}: this needs data to fit on: --config.data.root=STORE and "
                "--config.data.split=NAME."
            )
        else:
            fitted = fit(task, raws, reference, options, counts)
        recipes[task.name], equal[task.name] = fitted.recipes, fitted.equal
        if fitted.tried:
            tried[task.name] = [one._asdict() for one in fitted.tried]
            print(tried_table(task, fitted.tried))
        by_counts = counts and any(recipe.method == "vote" for recipe in fitted.recipes)
        if fitted.tried or (by_counts and {*where.split("+")} & {*opened.split.split("+")}):
            tracks = [str(track) for track in reference.tracks]
        names = [member.name for member in draft.members]
        print(in_words(task, fitted.recipes, names) + "\n")
    fitted_on = None
    if tracks:
        store = opened.store.name if opened.store is not None else ""
        fitted_on = {"store": store, "split": opened.split, "tracks": tracks}
    notes = {"tried": tried, "classes_counted_in": counted}
    return dataclasses.replace(
        draft, recipes=recipes, equal=equal, fitted_on=fitted_on, notes=notes
    )


def _options(
    flags: argparse.Namespace, task: Task, tasks: Sequence[Task], labelled: bool
) -> Options:
    """Candidates of a task: those of the flags, else all where it is labelled, the mean if not."""
    from affect_jax.ensemble.choose import METHODS, Options
    from affect_jax.smoothing import KINDS as SMOOTHINGS

    methods = {}
    for kind in KINDS:
        how = getattr(flags, kind) or (CHOOSE if labelled else "mean")
        if how not in (*METHODS[kind], CHOOSE):
            raise UserError(f"--{kind}={how}: {nearest(how, (*METHODS[kind], CHOOSE))}")
        methods[kind] = METHODS[kind] if how == CHOOSE else (how,)
    if flags.smoothing not in SMOOTHINGS:
        raise UserError(f"--smoothing={flags.smoothing}: {nearest(flags.smoothing, SMOOTHINGS)}")
    smooth = _smooth(flags.smooth, task, tasks) or ("search" if labelled else "none")
    tried = flags.windows.split(",")
    windows = tried if smooth == "search" else ["0"] if smooth == "none" else [smooth]
    for flag, given in (("--windows", tried), ("--smooth", windows)):
        if not all(window.isdecimal() and len(window) <= LONGEST_WINDOW for window in given):
            raise UserError(
                f"{flag}={','.join(given)}: expected numbers of frames, or --smooth=none, "
                "--smooth=search."
            )
    matches = {"yes": (True,), "no": (False,), CHOOSE: (False, True)}
    match = flags.match or (CHOOSE if labelled else "no")
    if match not in matches:
        raise UserError(f"--match={match}: {nearest(match, matches)}")
    return Options(methods, flags.smoothing, tuple(map(int, windows)), matches[match])


def _smooth(text: str | None, task: Task, tasks: Sequence[Task]) -> str | None:
    """The window of --smooth for a task, None where it says none: W for all, or TASK:W,TASK:W."""
    if not text or not {":", ","} & set(text):
        return text
    values, windows = [one.name for one in tasks if one.kind == "values"], {}
    for name, _, window in (part.partition(":") for part in text.split(",")):
        if name not in values or not window:
            raise UserError(
                f"--smooth={text}: expected W for all, or TASK:W,TASK:W. {nearest(name, values)}"
            )
        if name in windows:
            raise UserError(f"--smooth={text}: names {name!r} twice.")
        windows[name] = window
    return windows.get(task.name)


def _made(flag: str, text: str | None) -> pathlib.Path | None:
    """The folder that a flag names, made if it is not there; None where it names none."""
    if not text:
        return None
    folder = user_path(text)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{flag}={folder}: cannot be made ({error.strerror}).") from None
    return folder


def cli(argv: Sequence[str] | None = None) -> int:
    """Exit code of a command."""
    return exit_code(main, argv)


if __name__ == "__main__":
    sys.exit(cli())
