"""``alprd-central tuf``: the key ceremony, rotations, and what signs what."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from securesystemslib.signer._crypto_signer import CryptoSigner

from alprd.central.commands.clikit import BY, HOME, JSON, errors, show
from alprd.central.publication import ceremony
from alprd.central.staff import people
from alprd.central.storage import repository
from alprd.central.storage.store import Central
from alprd.errors import InputError

ROOT_KEYS: Final = click.option(
    "--root-key",
    "root_keys",
    multiple=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="File of a present root key; as many as the root's threshold asks for.",
)
STDIN: Final = click.option(
    "--passphrase-stdin",
    is_flag=True,
    help="Take passphrases from standard input, a line each: of the --root-key files, in order, "
    "then of the new keys.",
)


@click.group("tuf")
def tuf_group() -> None:
    """Keys that sign what is published (docs/key-ceremony.md)."""


def _asker(from_stdin: bool) -> Callable[[str, bool], str]:
    def ask(what: str, new: bool) -> str:
        if not from_stdin:
            return str(click.prompt(what, hide_input=True, confirmation_prompt=new, err=True))
        line = sys.stdin.readline().rstrip("\n")
        if not line:
            raise InputError(f"{what}: standard input ended", remedy="pipe in a line a passphrase")
        return line

    return ask


def _open(root_keys: tuple[Path, ...], ask: Callable[[str, bool], str]) -> list[CryptoSigner]:
    return [ceremony.load_key(path, ask(f"Passphrase of {path}", False)) for path in root_keys]


def _show(as_json: bool, done: ceremony.Done, text: str) -> None:
    values = {
        "root": done.version,
        "keys": list(done.keyids),
        "threshold": done.threshold,
        "files": [str(path) for path in done.files],
    }
    lines = [text, *(f"  wrote {path}" for path in done.files)]
    show(as_json, values, "\n".join(lines))


def _new_root(
    home: Path,
    out: Path,
    keys: int,
    threshold: int,
    root_keys: tuple[Path, ...],
    from_stdin: bool,
    by: str,
    as_json: bool,
) -> None:
    ask = _asker(from_stdin)
    with Central(home) as central:
        actor = people.named_actor(central, by)
        signers = _open(root_keys, ask)
        passphrases = [
            ask(f"Passphrase of new root key {n + 1} of {keys}", True) for n in range(keys)
        ]
        done = ceremony.hold_ceremony(
            central, out, passphrases, threshold=threshold, actor=actor, signers=signers
        )
    _show(
        as_json,
        done,
        f"root version {done.version}: {threshold} of {keys} keys must sign; the keystore holds "
        "none of them",
    )


_OUT = click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the files of the new keys, such as a memory stick.",
)
_KEYS = click.option("--keys", type=click.IntRange(1, 9), default=1, show_default=True)
_THRESHOLD = click.option(
    "--threshold",
    type=click.IntRange(1, 9),
    default=1,
    show_default=True,
    help="Keys that must sign.",
)


@tuf_group.command("ceremony")
@HOME
@_OUT
@_KEYS
@_THRESHOLD
@STDIN
@BY
@JSON
@errors
def tuf_ceremony(
    home: Path, out: Path, keys: int, threshold: int, passphrase_stdin: bool, by: str, as_json: bool
) -> None:
    """Take the root's key out of the keystore: new root keys, in files under passphrases."""
    _new_root(home, out, keys, threshold, (), passphrase_stdin, by, as_json)


@tuf_group.command("rotate-root")
@HOME
@ROOT_KEYS
@_OUT
@_KEYS
@_THRESHOLD
@STDIN
@BY
@JSON
@errors
def tuf_rotate_root(
    home: Path,
    root_keys: tuple[Path, ...],
    out: Path,
    keys: int,
    threshold: int,
    passphrase_stdin: bool,
    by: str,
    as_json: bool,
) -> None:
    """New root keys in place of those in files; both sign the new root."""
    _new_root(home, out, keys, threshold, root_keys, passphrase_stdin, by, as_json)


@tuf_group.command("rotate-key")
@click.argument("role", type=click.Choice(repository.ONLINE))
@HOME
@ROOT_KEYS
@STDIN
@BY
@JSON
@errors
def tuf_rotate_key(
    role: str,
    home: Path,
    root_keys: tuple[Path, ...],
    passphrase_stdin: bool,
    by: str,
    as_json: bool,
) -> None:
    """A new key for one role; everything is signed again."""
    with Central(home) as central:
        actor = people.named_actor(central, by)
        signers = _open(root_keys, _asker(passphrase_stdin))
        done = ceremony.rotate_key(central, role, actor=actor, signers=signers)
    _show(as_json, done, f"{role} has a new key by root version {done.version}")


@tuf_group.command("renew-root")
@HOME
@ROOT_KEYS
@STDIN
@BY
@JSON
@errors
def tuf_renew_root(
    home: Path, root_keys: tuple[Path, ...], passphrase_stdin: bool, by: str, as_json: bool
) -> None:
    """The same root keys for another year."""
    with Central(home) as central:
        actor = people.named_actor(central, by)
        signers = _open(root_keys, _asker(passphrase_stdin))
        done = ceremony.renew_root(central, actor=actor, signers=signers)
    _show(as_json, done, f"root version {done.version} lives for another year")


@tuf_group.command("status")
@HOME
@JSON
@errors
def tuf_status(home: Path, as_json: bool) -> None:
    """Versions, expiry and keys of each role; exit code 1 when cars would refuse."""
    with Central(home) as central:
        values = ceremony.status(central)
    lines = []
    for role, made in values["roles"].items():
        lines.append(f"{role}: version {made['version']}, until {made['expires'] or 'never made'}")
        for key, here in made["keys"].items():
            lines.append(f"  key {key[:16]} {'in the keystore' if here else 'not here'}")
    lines += [f"! {text}" for text in values["advice"]]
    show(as_json, values, "\n".join(lines))
    if any("expired" in text for text in values["advice"]):
        sys.exit(1)
