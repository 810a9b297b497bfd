"""`gridlake land http`: the server that senders push to."""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections.abc import Callable
from socket import socket

import click
import uvicorn

from gridlake.cli import command_options
from gridlake.runs import Run, RunError
from gridlake.settings import Settings
from streaming.feed_lander import prepare
from streaming.push.desk import folder_of
from streaming.push.journal import JournalDamaged, JournalsHeld, only_writer
from streaming.push.reception import Reception
from streaming.push.server import Door

# Seconds that open requests get when the server is stopped; each is answered within a commit or two.
_STOP_WITHIN_S = 20


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8010, show_default=True, help="The port to listen on; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; 0.0.0.0 lets others in. TLS is a proxy's work.")
@command_options
def http(settings: Settings, as_json: bool, port: int, host: str) -> None:
    """Take rows that senders push: POST /feeds/{source}/{feed}, signed; the answer is the receipt.

    \b
    A row is on the disk before it is answered, judged as files are, and in bronze within two seconds.
    What a killed server had taken is landed first when the next one starts.
    Give a sender its key with:  gridlake sender key make CODE
    How to sign and push:        docs/how-to/push-over-http.md
    Whether all is well:         GET /health and /metrics
    """
    try:
        broken = _serve(settings, host, port, as_json=as_json)
    except (JournalDamaged, JournalsHeld) as error:
        raise RunError(str(error)) from None
    if broken:
        raise RunError(f"{type(broken[0]).__name__}: {broken[0]}; the server has stopped, and what it had taken is landed at its next start")


def _serve(settings: Settings, host: str, port: int, *, as_json: bool) -> list[Exception]:
    """Serve until told to stop; gives what broke it, if anything did."""
    broken: list[Exception] = []
    with only_writer(folder_of(settings.home, "http")):
        run = Run.start(settings)
        prepare(run)

        def stop(error: Exception) -> None:
            broken.append(error)
            server.should_exit = True

        reception = Reception(run, stop)
        config = uvicorn.Config(
            Door(reception), host=host, port=port, log_level="warning", lifespan="off", proxy_headers=False, timeout_graceful_shutdown=_STOP_WITHIN_S
        )
        server = _Server(config, lambda: _announce(f"http://{host}:{listening.getsockname()[1]}", as_json=as_json))
        listening = config.bind_socket()
        reception.open()
        # What is loaded by now stays: a full collection that goes through it keeps pushes waiting for tenths of a second.
        gc.collect()
        gc.freeze()
        # uvicorn raises the signal that stopped it once more when it is done; what is judged then has to land still.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        try:
            server.run(sockets=[listening])
        finally:
            reception.close()
    return broken


class _Server(uvicorn.Server):
    """Says where it is once it listens."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._announce = announce

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self._announce()


def _announce(address: str, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"url": address}))
    click.echo(f"Pushes: {address}/feeds/<source>/<feed>, {address}/health, {address}/metrics, {address}/openapi.json. Ctrl+C ends it.", err=True)
    sys.stdout.flush()
