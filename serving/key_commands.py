"""Commands about API keys: add, list, revoke, rotate."""

import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from serving.keys import add_key, read_keys, revoke_key, rotate_key, shown

File = Annotated[Path, typer.Argument(metavar="FILE", help="The file of keys, as `serve --keys` reads it.")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id: the middle part of the key.")]


def add(
    file: File,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is, as lists and logs show it.")],
    scope: Annotated[
        list[str], typer.Option("--scope", help="score asks, write changes what is stored, admin looks after it.")
    ],
    rate: Annotated[float, typer.Option("--rate", metavar="N", help="Requests a second that last.")] = 100,
    burst: Annotated[int, typer.Option("--burst", metavar="N", help="Requests at once.")] = 200,
    days: Annotated[
        int | None, typer.Option("--days", metavar="N", min=1, help="Until it ends; never if not given.")
    ] = None,
) -> None:
    """Make a key and print it. It is shown this once: the file holds its hash.

    FILE is made if it is missing, for its owner alone. A running service takes the key within a second.
    """
    print(add_key(file, name, scope, rate, burst, days))
    print(f"kept as a hash in {file}; send it as the header Authorization: Bearer …", file=sys.stderr)


def list_keys(file: File) -> None:
    """Print the keys of a file: id, name, scopes, rate, burst and when it ends, parted by tabs."""
    for key in read_keys(file).keys:
        print(shown(key))


def revoke(file: File, key: KeyId) -> None:
    """End a key. A running service refuses it within a second."""
    revoke_key(file, key)
    print(f"{key} is revoked", file=sys.stderr)


def rotate(
    file: File,
    key: KeyId,
    grace: Annotated[
        float, typer.Option("--grace", metavar="HOURS", min=0, help="How long the old key stays in force.")
    ] = 24,
) -> None:
    """Make a new key with the rights of an old one, print it, and have the old one end after --grace hours."""
    print(rotate_key(file, key, timedelta(hours=grace)))
    print(f"{key} ends in {grace:g} hours", file=sys.stderr)
