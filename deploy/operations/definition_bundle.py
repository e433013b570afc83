"""The definitions that are published as one version: segments, journeys, slots, templates, policy and markets.

A version is the hash of the texts of its files. They refer to one another, so they are checked and put in force
together; how messages leave (`delivery.yaml`), with secrets of its own, belongs to each worker.

To be read, a version is written into a folder below `THROUGHLINE_HOME`. Such a folder is a copy: Redis has the version
in force, ClickHouse every version, and runs under way have their journeys in Redis, so a folder that is missing is
written again. When a new one is written, old ones are removed: all but the ten used last and those used within a day. A
worker uses that of its version every few seconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

import orjson

from deploy.home import home
from deploy.operations.definition_files import DefinitionError, yaml_files
from deploy.operations.engines import Definitions, lint_all, lint_what_loads, load_definitions
from deploy.settings import Settings
from schemas.durations import DAY_S
from schemas.journeys.definitions import MessageNode
from schemas.time import clock_ms

FOLDERS = ("segments", "journeys", "broadcasts", "slots", "templates")
POLICY, MARKETS = "policy.yaml", "markets.yaml"
FOLDERS_KEPT = 10
"""Folders of versions that are kept however long they have not been used."""
_NAMES_SHOWN = 12
_VERSION = re.compile(r"[0-9a-f]{12}")
_GONE = ".gone-"
_PATH = re.compile(rf"({'|'.join(FOLDERS)})/[\w][\w.-]*\.ya?ml|{re.escape(POLICY)}|{re.escape(MARKETS)}")


class Bundle(NamedTuple):
    """Files of definitions.

    Attributes:
        files: Path in the folder → text.
    """

    files: Mapping[str, str]

    @property
    def version(self) -> str:
        """The version: a hash of the files."""
        return hashlib.sha256(orjson.dumps(dict(self.files), option=orjson.OPT_SORT_KEYS)).hexdigest()[:12]


class BundleDifference(NamedTuple):
    """What a version changes of another: the names of what is new, changed or gone, by kind.

    Attributes:
        new: Kind, one of `FOLDERS` → names that the other does not have.
        changed: Kind → names of which the definition is another one.
        gone: Kind → names that only the other has.
        policy: Whether the message policy is another one.
        markets: Whether the table of markets is another one.
    """

    new: Mapping[str, list[str]]
    changed: Mapping[str, list[str]]
    gone: Mapping[str, list[str]]
    policy: bool
    markets: bool

    def lines(self) -> list[str]:
        """Describe the difference: a line for each kind of change."""
        found = [
            f"{kind} {what}: {_listed(names[kind])}"
            for kind in FOLDERS
            for what, names in (("new", self.new), ("changed", self.changed), ("removed", self.gone))
            if names[kind]
        ]
        whole = (("message policy", self.policy), ("table of markets", self.markets))
        return [*found, *(f"{what} changed" for what, is_another in whole if is_another)]


def read_bundle(settings: Settings) -> Bundle:
    """Read the files of the deployment's folder.

    Raises:
        DefinitionError: A file is no text.
    """
    paths = {f"{name}/{path.name}": path for name in FOLDERS for path in yaml_files(settings.definitions_dir / name)}
    files = {}
    for name, path in {**paths, POLICY: settings.policy_file, MARKETS: settings.markets_file}.items():
        try:
            files[name] = path.read_text("utf-8")
        except OSError as error:
            raise DefinitionError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise DefinitionError(f"{path}: not a text in UTF-8") from error
    return Bundle(files)


def settings_of(settings: Settings, bundle: Bundle) -> Settings:
    """Return settings by which the files of a bundle are read, from a folder of its own below `THROUGHLINE_HOME`.

    A version that was published without a table of markets is read with that of the deployment.

    Raises:
        DefinitionError: A path is none that a bundle may have, or the folder cannot be written.
    """
    if wrong := next((path for path in bundle.files if not _PATH.fullmatch(path)), None):
        raise DefinitionError(f"{wrong}: not a file of definitions")
    folder = home() / "definitions" / bundle.version
    removed: list[Path] = []
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _locked(folder.parent):
            if folder.exists():
                os.utime(folder)
            else:
                _write(bundle, folder)
                removed = _set_aside(folder.parent)
    except OSError as error:
        if not folder.exists():  # whoever may only read uses it as it is
            raise DefinitionError(f"{folder}: cannot be written: {error.strerror}") from error
    for one in removed:
        shutil.rmtree(one, ignore_errors=True)
    files = {"definitions_dir": folder, "policy_file": folder / POLICY}
    if MARKETS in bundle.files:
        files["markets_file"] = folder / MARKETS
    return settings.model_copy(update=files)


def note_use(version: str) -> None:
    """Note that the folder of a version is in use, so that it stays; empty: the deployment's own folder is."""
    if version:
        with suppress(OSError):  # it is missing, or not ours: it is written again when it is needed
            os.utime(home() / "definitions" / version)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep other processes from using or removing folders meanwhile."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(bundle: Bundle, folder: Path) -> None:
    made = Path(mkdtemp(dir=folder.parent))  # what a kill leaves of it is removed in a day
    for name, text in bundle.files.items():
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).write_text(text, "utf-8")
    made.rename(folder)


def _set_aside(parent: Path) -> list[Path]:
    """Rename the folders that are not kept, so that no process finds them any more; return their new paths."""
    used: list[tuple[float, Path]] = []
    for one in parent.iterdir():
        with suppress(OSError):
            used += [(one.stat().st_mtime, one)] if one.is_dir() else []
    versions = [path for _, path in sorted(used, reverse=True) if _VERSION.fullmatch(path.name)]
    since, aside = clock_ms() / 1000 - DAY_S, []
    for at, path in used:
        if at < since and path not in versions[:FOLDERS_KEPT]:
            gone = path if path.name.startswith(_GONE) else path.with_name(f"{_GONE}{path.name}")
            with suppress(OSError):
                path.rename(gone)
                aside.append(gone)
    return aside


def checked(settings: Settings) -> Definitions:
    """Read the definitions that settings name, and check all that they refer to.

    Raises:
        DefinitionError: Something is wrong; the message has a line for each error of every file.
    """
    try:
        definitions = load_definitions(settings)
    except DefinitionError as error:
        further = [str(finding) for finding in lint_what_loads(settings) if finding.serious]
        raise DefinitionError("\n".join([str(error), *further])) from error
    if errors := [str(finding) for finding in lint_all(definitions) if finding.serious]:
        raise DefinitionError("\n".join(errors))
    return definitions


def with_journeys(base: Bundle, other: Bundle, names: Iterable[str], settings: Settings) -> Bundle:
    """Return a bundle with some journeys and broadcasts, and the templates that they send, of another one.

    Args:
        base: Has all other files.
        other: Has those journeys.
        names: Their names. One that `other` does not have is left out of the result.
        settings: Of the deployment.

    Raises:
        DefinitionError: A file of a journey is not valid, or neither bundle has a journey of that name.
    """
    theirs, ours = (load_definitions(settings_of(settings, one)) for one in (other, base))
    files = dict(base.files)
    for name in names:
        new, old = _path_of(theirs, name), _path_of(ours, name)
        if not new and not old:
            known = ", ".join(sorted({*theirs.files, *theirs.broadcast_files, *ours.files, *ours.broadcast_files}))
            raise DefinitionError(f"{name}: no journey and no broadcast has this name; there are {known}")
        if old:
            del files[old]
        if new:
            files[new] = other.files[new]
            for template in _templates(theirs, name):
                for path in (f"templates/{template}.yaml", f"templates/{template}.yml"):
                    if path in other.files:
                        files[path] = other.files[path]
    return Bundle(files)


def difference(new: Definitions, old: Definitions | None) -> BundleDifference:
    """Compare two versions; everything is new where there is no old one."""
    now, before = _parts(new), _parts(old) if old else {name: {} for name in FOLDERS}
    return BundleDifference(
        {kind: sorted(now[kind].keys() - before[kind].keys()) for kind in FOLDERS},
        {
            kind: sorted(
                name for name in now[kind].keys() & before[kind].keys() if now[kind][name] != before[kind][name]
            )
            for kind in FOLDERS
        },
        {kind: sorted(before[kind].keys() - now[kind].keys()) for kind in FOLDERS},
        old is not None and new.policy != old.policy,
        old is not None and new.territory.markets != old.territory.markets,
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= _NAMES_SHOWN else f"{len(names)}, among them {', '.join(names[:3])}"


def _parts(definitions: Definitions) -> dict[str, dict[str, object]]:
    folder = definitions.templates_dir
    return {
        "segments": {
            **{one.name: one for one in definitions.segments.segments},
            **{one.name: one for one in definitions.segments.traits},
        },
        "journeys": {one.name: (one.version, one.enabled) for one in definitions.journeys},
        "broadcasts": {one.name: one.as_journey().version for one in definitions.broadcasts},
        "slots": {one.name: one.version for one in definitions.slots},
        "templates": {path.stem: path.read_text("utf-8") for path in yaml_files(folder)},
    }


def _path_of(definitions: Definitions, name: str) -> str:
    """Return the path of the file of a journey or broadcast in a bundle; empty: there is none."""
    for folder, files in (("journeys", definitions.files), ("broadcasts", definitions.broadcast_files)):
        if name in files:
            return f"{folder}/{files[name].name}"
    return ""


def _templates(definitions: Definitions, name: str) -> set[str]:
    if name in definitions.broadcast_files:
        return {template for one in definitions.broadcasts if one.name == name for template in one.templates}
    (found,) = (one for one in definitions.journeys if one.name == name)
    messages = [step for _, step in found.walk() if isinstance(step, MessageNode)]
    return {name for step in messages for name in (step.template, *(one.template for one in step.variants)) if name}
