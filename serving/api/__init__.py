"""The REST interface and the pages on published snapshots; reads snapshots and files of the lake, writes nothing."""

from serving.api.application import create_app

__all__ = ["create_app"]
