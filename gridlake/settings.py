"""Every GRIDLAKE_* variable, once, with its default."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

CHECKOUT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Where the lake lives and how a run behaves; each field is the variable GRIDLAKE_<FIELD>."""

    model_config = SettingsConfigDict(env_prefix="GRIDLAKE_", extra="ignore", frozen=True)

    home: Path = Field(Path("lake"), description="the lake: tables, snapshots, reports, run ledger, logs")
    inbox: Path = Field(Path("inbox"), description="where senders' files lie: <source>/<feed>/<sender>/<file>")
    engine: str = Field("embedded", description="'embedded' (Sail in this process) or sc://host:port (Apache Spark)")
    memory_mb: int = Field(
        2000, gt=0, description="what sorts, aggregates and joins of the embedded engine, and a snapshot's, may hold before they spill to the disk"
    )
    contracts: Path | None = Field(None, description="a folder of further contracts, senders, vocabularies and models")
    key_file: Path | None = Field(None, description="column keys; default <home>.keys.json, beside the lake, never in it")
    secret_file: Path | None = Field(
        None, description="senders' keys and passwords of pulls; default <home>.secrets.json, beside the lake, never in it"
    )
    smtp: str | None = Field(
        None, description="the server that mails go through: smtp://host[:port] (STARTTLS) or smtps://…; ?tls=off and ?timeout=<seconds> may follow"
    )
    smtp_user: str | None = Field(None, description="who logs in there, with the secret `smtp`; default: no log-in")
    smtp_from: str | None = Field(None, description="what mails are sent from, as 平安办 <report@example.gov.cn>; default: smtp_user")
    recipient_file: Path | None = Field(
        None, description="addresses that reports are mailed to; default <home>.recipients.yml, beside the lake, never in it"
    )
    kafka: str = Field("127.0.0.1:9092", description="bootstrap servers of the Kafka cluster, with commas between")
    kafka_client: Literal["python", "confluent"] = Field("python", description="kafka-python, or librdkafka, the faster one (gridlake[confluent])")
    kafka_properties: Path | None = Field(None, description="a file of security.protocol=…, sasl.mechanism=… lines to be let into the cluster")
    cache: Path = Field(
        Path.home() / ".cache" / "gridlake", description="what any lake may use again: how dbt reads its project, lineage of its SQL; may be deleted"
    )
    as_of: datetime | None = Field(None, description="fixes 'now' for a run (ISO 8601); default: the data's own clock")
    openlineage_url: str | None = Field(
        None, description="where OpenLineage events are posted (<url>/api/v1/lineage); OPENLINEAGE_URL and its kin count where it is not set"
    )
    project: Path = Field(CHECKOUT, description="the checkout with expectations/, dbt/ and docs/")

    @property
    def keys(self) -> Path:
        """The file of column keys."""
        return self.key_file or self.home.with_name(self.home.name + ".keys.json")

    @property
    def secrets(self) -> Path:
        """The file of secrets that declarations name."""
        return self.secret_file or self.home.with_name(self.home.name + ".secrets.json")

    @property
    def recipients(self) -> Path:
        """The file of addresses that reports are mailed to."""
        return self.recipient_file or self.home.with_name(self.home.name + ".recipients.yml")

    @property
    def signing_key(self) -> Path:
        """The platform's private key for certificates; beside the lake, never in it."""
        return self.home.with_name(self.home.name + ".signing.pem")

    @property
    def private_files(self) -> dict[str, Path]:
        """The files beside the lake that nobody but its owner reads; a lake that moves without them cannot go on."""
        return {"keys": self.keys, "secrets": self.secrets, "recipients": self.recipients, "signing_key": self.signing_key}

    @property
    def tables(self) -> Path:
        """The folder of Delta tables, <schema>/<table>."""
        return self.home.absolute() / "tables"

    @property
    def expectations(self) -> Path:
        """The folder of contracts, senders, vocabularies, checks and suites that came with the checkout."""
        return self.project / "expectations"
