"""Commands of the registry: create, add, list, promote, rollback; and deploy, which has the workers try first."""

import json
from pathlib import Path
from typing import Annotated

import typer

from recsys.progress import progress_bar
from serving.registry import Registry, who
from serving.registry_contents import Bounds

RegistryPath = Annotated[Path, typer.Argument(metavar="REGISTRY", help="Directory of the registry.")]
BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Directory of the bundle.")]
BundleName = Annotated[str, typer.Argument(metavar="ID", help="Id of a bundle of the registry, or how it begins.")]
By = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who does it; by default this account.")]
Approved = Annotated[
    str | None, typer.Option("--approved-by", metavar="NAME", help="Who else approves; asked for by --two-person.")
]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="For the history.")]
_BOUNDS = Bounds()


def create(
    registry: Annotated[Path, typer.Argument(metavar="REGISTRY", help="A new or empty directory.")],
    two_person: Annotated[
        bool, typer.Option("--two-person", help="Promote and deploy want --approved-by somebody else.")
    ] = False,
) -> None:
    """Make an empty registry, on a disk that every server sees.

    Names are a record, not a proof: whoever may write the directory may change what is served. Give that right to few.
    """
    Registry.create(registry, two_person)
    print(registry)


def add(
    registry: RegistryPath,
    bundle: BundlePath,
    by: By = None,
    why: Why = "",
    refer: Annotated[
        bool, typer.Option("--refer", help="Do not copy; read it where it lies, checked by its hashes each time.")
    ] = False,
) -> None:
    """Verify a bundle and copy it into the registry; prints its id. It is served only once it is promoted."""
    print(Registry(registry).add(bundle, by=by or who(), why=why, refer=refer))


def show(
    registry: RegistryPath,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: bundles, history and workers.")] = False,
) -> None:
    """The bundles, the one in force, the history, and the workers that serve from here."""
    from serving.follower import workers

    found = Registry(registry)
    contents, (alive, _) = found.read(), workers(found)
    if as_json:
        told = contents.model_dump(mode="json", by_alias=True)
        told |= {"promoted": contents.promoted, "workers": [status.model_dump() for status in alive]}
        return print(json.dumps(told, indent=1))
    for bundle_id, entry in contents.bundles.items():
        mark = "in force" if bundle_id == contents.promoted else ""
        print(f"{bundle_id}  {mark:8}  verified {entry.verified}  {entry.path}")
    print()
    for change in contents.history:
        approved = f", approved by {change.approved_by}" if change.approved_by else ""
        why = f": {change.why}" if change.why else ""
        print(f"{change.at}  {change.action:8}  {change.bundle_id}  by {change.by}{approved}{why}")
    print()
    for status in alive:
        print(f"worker {status.worker}: {status.in_force}{f' ({status.problem})' if status.problem else ''}")
    return None


def promote(
    registry: RegistryPath, bundle: BundleName, by: By = None, approved_by: Approved = None, why: Why = ""
) -> None:
    """Verify a bundle again and put it into force. Servers follow within a second or two, without a restart.

    A worker that cannot load it goes on with what it has and says why (recsys registry list). recsys deploy asks the
    workers first.
    """
    found = Registry(registry)
    bundle_id = found.find(bundle)
    found.promote(bundle_id, by=by or who(), approved_by=approved_by, why=why)
    print(bundle_id)


def rollback(registry: RegistryPath, by: By = None, why: Why = "") -> None:
    """Put back into force what was before. Again: what was before that."""
    print(Registry(registry).rollback(by=by or who(), why=why))


def deploy(
    bundle: BundlePath,
    registry: Annotated[Path, typer.Option("--registry", metavar="DIR", help="Registry that the servers follow.")],
    errors: Annotated[
        int, typer.Option("--errors", min=0, help="Questions only the running bundle answers, at most.")
    ] = _BOUNDS.errors,
    overlap: Annotated[
        float, typer.Option("--overlap", min=0, max=1, help="Mean share of the running lists that is kept, at least.")
    ] = _BOUNDS.overlap,
    shift: Annotated[
        float, typer.Option("--shift", min=0, max=1, help="Mean difference of one probability, at most.")
    ] = _BOUNDS.shift,
    slower: Annotated[
        float, typer.Option("--slower", min=0.1, help="Median time of an answer beside the running one's, at most.")
    ] = _BOUNDS.slower,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="To wait for the workers, twice at most.")] = 120,
    by: By = None,
    approved_by: Approved = None,
    why: Why = "",
) -> None:
    """Put a bundle into force if every worker has tried it beside the running one and found it within the bounds.

    Each worker verifies it, loads and warms it, and asks both bundles the last 64 questions that it was asked. If all
    agree, it is promoted and every worker changes over in one step; prints what was measured, as JSON. If one refuses,
    dies of it or is late, nothing changes, the history says why, and the exit code is 1.
    """
    from serving.deploy import deploy as run

    bounds = Bounds(errors=errors, overlap=overlap, shift=shift, slower=slower)
    with progress_bar("Deploying") as progress:
        done = run(
            Registry(registry),
            bundle,
            bounds=bounds,
            seconds=seconds,
            by=by or who(),
            approved_by=approved_by,
            why=why,
            progress=progress,
        )
    print(json.dumps({"bundle_id": done.bundle_id, "workers": done.workers}, indent=1))
