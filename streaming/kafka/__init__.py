"""Kafka: topics of feeds landed into bronze, and the outbox relayed into topics. The one place that imports a Kafka client."""
