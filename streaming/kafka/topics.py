"""Whose a topic is: `<source>.<feed>.<sender>` names the feed and the sender, and nothing in a record can say otherwise."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gridlake.contracts import Contracts
from gridlake.senders import Senders
from streaming.rows import Delivery, Refusal

SHAPE = "<source>.<feed>.<sender>"
_NAME = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_RECEIPTS = ".receipt"


@dataclass(frozen=True)
class Route:
    """What a topic's name says."""

    source: str
    feed: str
    sender: str

    @classmethod
    def of(cls, topic: str) -> Route | None:
        """None where the name is not of the shape `<source>.<feed>.<sender>`: it is no feed's topic."""
        found = _NAME.fullmatch(topic)
        return cls(*found.groups()) if found else None

    @property
    def feed_id(self) -> str:
        """The feed as contracts and tables name it."""
        return f"{self.source}__{self.feed}"

    def refusal(self, contracts: Contracts, senders: Senders) -> Refusal | None:
        """Why every row of the topic is refused; None where the sender may send this feed."""
        if self.feed_id not in contracts:
            return Refusal("unknown_feed", f"no contract {self.feed_id}; there are {', '.join(contracts)}")
        contract = contracts[self.feed_id]
        if contract.is_retired:
            return Refusal("retired", f"{contract.source}.{contract.feed} {contract.version} is retired; send the version now in force")
        if self.sender not in senders:
            return Refusal("unknown_sender", f"no such sender; expected a topic {SHAPE} with the sender's code")
        if not senders[self.sender].may_send(contract.source, contract.feed, contract.version):
            return Refusal("not_entitled", f"sender {self.sender} may not send {contract.source}.{contract.feed} {contract.version}")
        return None


def delivery(topic: str, topic_id: str, partition: int, route: Route, refusal: Refusal | None) -> Delivery:
    """A partition as the log that it is; one of a topic that was made again is another log."""
    return Delivery(route.feed_id, route.sender, topic, f"kafka:{topic}/{topic_id}/{partition}", 0, refusal=refusal, is_log=True)


def receipt_topic(topic: str) -> str:
    """Where the receipts of a topic's rows go."""
    return topic + _RECEIPTS
