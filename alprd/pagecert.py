"""The certificate of the in-car page for a separate laptop: its name, its key, its request.

The page has the name that :mod:`alprd.pagename` gives it. Central's authority, whose certificate
the car got at its enrolment and the laptop trusts, signs that one name for that one car, so that no
other car's certificate fits. The key is made in the car and never leaves it (R-CJIS-1).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click
from cryptography import x509

from alprd.crypto import generate_key, load_private, save_private
from alprd.errors import AlprdError, ConfigError, StoreError
from alprd.pagename import page_name
from alprd.trust import Trust, certificate_request

KEY: Final = "mdt.key"


def make_request(state_dir: Path) -> str:
    """A signing request (PEM) for the page of the car enrolled in ``state_dir``.

    The key is made at the first request and kept (``keys/mdt.key``, mode 0600).

    Raises:
        ConfigError: the car's name cannot stand in a host name.
        StoreError: the car is not enrolled, or the disk refuses.
    """
    trust = Trust.load(state_dir)
    page_name(trust.vehicle)
    path = state_dir / "keys" / KEY
    try:
        if not path.exists():
            save_private(generate_key(), path)
        return certificate_request(trust.vehicle, load_private(path))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: the page's key cannot be used", remedy="check disk and owner"
        ) from error


def names_of(certificate: Path) -> tuple[str, ...]:
    """The host names a page's certificate is for: by these, too, the page may be asked for.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        made = x509.load_pem_x509_certificate(certificate.read_bytes())
        held = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{certificate}: the page's certificate cannot be read",
            remedy="give its PEM file in [mdt] tls_cert",
        ) from error
    return tuple(held.get_values_for_type(x509.DNSName))


@click.command("page-request")
@click.option(
    "--state",
    "state_dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="State folder of the daemon.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the request is written; it holds nothing secret.",
)
def page_request_command(state_dir: Path, out: Path) -> None:
    """Ask for a certificate of this car's page, for a separate laptop."""
    try:
        text = make_request(state_dir)
        out.write_text(text)
    except AlprdError as error:
        click.echo(f"alprd page-request: {error.diagnostics()}", err=True)
        raise SystemExit(error.exit_code) from error
    except OSError as error:
        click.echo(f"alprd page-request: {out}: {error.strerror}", err=True)
        raise SystemExit(1) from error
    click.echo(f"{out}: bring it to central: alprd-central vehicles page-certificate")
