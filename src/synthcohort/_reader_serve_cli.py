"""The command `reader serve`: arguments in, one Python call, links out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .reader.serve import Links


def reader_serve(
    study: Annotated[Path, typer.Argument(help="Folder of the study.", show_default=False)],
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="To listen at; 0 for a free one.")] = 8400,
    database: Annotated[
        str | None, typer.Option("--database", help="PostgreSQL's URL; else answers.sqlite in STUDY.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option("--tls-cert", help="Certificate chain, PEM.")] = None,
    tls_key: Annotated[Path | None, typer.Option("--tls-key", help="Its key, PEM.")] = None,
    behind_proxy: Annotated[
        str | None, typer.Option("--behind-proxy", help="Address of the TLS proxy before the server.")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Under which readers reach the server.")] = None,
    texts: Annotated[Path | None, typer.Option("--texts", help="A translation of texts_en.json.")] = None,
) -> None:
    """Serve a reader study until Ctrl-C; print one link for each reader and one for the administrator."""
    from .reader.serve import serve

    serve(
        study,
        host=host,
        port=port,
        database_url=database,
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=behind_proxy,
        name=name,
        texts=texts,
        tell=lambda links: _tell(links, study),
    )


def _tell(links: Links, study: Path) -> None:
    for reader, link in links.readers.items():
        typer.echo(f"{reader}  {link}")
    if not links.readers:
        typer.echo("Readers: the study's invitations.csv was taken away; the links sent before still open it.")
    typer.echo(f"administrator, until this stops  {links.administrator}")
    typer.echo(f"Ctrl-C ends it. The answers: synthcohort reader analyse {study} --out analysis")
    if links.warning:
        typer.echo(f"warning: {links.warning}.", err=True)
