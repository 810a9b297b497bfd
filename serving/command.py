"""`gridlake serve`: the interface and the pages on the lake's snapshots."""

from __future__ import annotations

import json
import sys

import click
import uvicorn

from gridlake.cli import command_options
from gridlake.runs import RunError
from gridlake.settings import Settings
from serving.api import create_app
from serving.snapshots import NoSnapshot, Snapshots


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="The port to listen on.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 lets others in.")
@command_options
def serve(settings: Settings, as_json: bool, port: int, host: str) -> None:
    """The REST interface and the pages on the published snapshots; a newer snapshot is read as soon as it is published."""
    try:
        current = Snapshots(settings.home).current()
    except NoSnapshot as error:
        raise RunError(str(error)) from None
    address = f"http://{host}:{port}"
    if as_json:
        click.echo(json.dumps({"url": address, "snapshot": current}))
    click.echo(f"Snapshot {current}: {address}/ (pages), {address}/docs (interface), {address}/openapi.json. Ctrl+C ends it.", err=True)
    sys.stdout.flush()
    uvicorn.run(create_app(settings), host=host, port=port, log_level="warning")
