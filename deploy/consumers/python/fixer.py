"""A fixer to begin with: follows the discrepancy topic and prints what a real one would do.

python3 fixer.py BOOTSTRAP TOPIC GROUP [REGISTRY]
"""

import json
import signal
import sys

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


class Bodies:
    """Reads a record's value, which is JSON or Avro: its header says which."""

    def __init__(self, registry):
        self.avro = AvroDeserializer(SchemaRegistryClient({"url": registry})) if registry else None

    def read(self, message):
        kind = dict(message.headers() or []).get("content-type")
        if kind == b"application/json":
            return json.loads(message.value())
        if kind == b"application/avro" and self.avro:
            return self.avro(message.value(), SerializationContext(message.topic(), MessageField.VALUE))
        raise ValueError(f"{message.topic()}:{message.partition()}:{message.offset()} is {kind}, which cannot be read")


class Fixer:
    """Decides what to do. A real one keeps the revisions in its own database, beside what it did."""

    def __init__(self):
        self.revisions = {}

    def hear(self, event):
        if event["type"] not in ("opened", "updated", "escalated", "resolved"):
            return
        if event["revision"] <= self.revisions.get(event["id"], 0):
            return
        self.revisions[event["id"]] = event["revision"]
        if event["flap_count"] == 0:
            self.act(event)

    def act(self, event):
        amount, currency = event.get("amount_at_risk") or "-", event.get("currency") or "-"
        revision = f"{event['id']}/{event['revision']}"
        print(event["type"], event["rule"]["id"], event["key"], amount, currency, revision, flush=True)


def main(bootstrap, topic, group, registry=None):
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            # An offset is committed once its record was acted upon.
            "enable.auto.offset.store": False,
        }
    )
    consumer.subscribe([topic])
    bodies, fixer, stopped = Bodies(registry), Fixer(), []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    try:
        while not stopped:
            message = consumer.poll(1.0)
            if message is None:
                continue
            if message.error():
                raise KafkaException(message.error())
            fixer.hear(bodies.read(message))
            consumer.store_offsets(message)
    finally:
        consumer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
