"""The shop's payment service: a participant on Kafka, with its barrier in PostgreSQL.

It was written from docs/wire.md and docs/wire-barrier.md alone. If a server is lost, the process
ends. Its supervisor starts it again, and the barrier makes that safe.
"""

import json
import logging
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

import barrier
import wire


def setting(key, default):
    """Returns a key of docs/configuration.md from its environment variable."""
    return os.environ.get("SAGAMORE__" + key.upper().replace(".", "__")) or default


SERVICE, SKEW_MS, BATCH = "payment", 60_000, 100
NAMESPACE = setting("namespace", "")
PREFIX, SCHEMA = (f"{NAMESPACE}.", f"{NAMESPACE}_{SERVICE}") if NAMESPACE else ("", SERVICE)
COMMANDS, HORIZON = f"{PREFIX}{SERVICE}.commands", f"{PREFIX}sagamore.horizon"
LISTEN = setting("payment.listen", "127.0.0.1:3002")
RETENTION_DAYS = int(setting("barrier.retention_days", "30"))
KAFKA = {"bootstrap.servers": setting("kafka.brokers", "127.0.0.1:9092")}
PRODUCER = {"acks": "all", "enable.idempotence": True, "message.timeout.ms": 0, "linger.ms": 0,
            "topic.metadata.propagation.max.ms": 2_000}
CONSUMER = {"group.id": PREFIX + SERVICE, "group.instance.id": f"{PREFIX}{SERVICE}-{LISTEN}",
            "partition.assignment.strategy": "cooperative-sticky", "session.timeout.ms": 10_000,
            "auto.offset.reset": "earliest", "enable.auto.commit": False}
LIMITS = "-c statement_timeout=2000 -c idle_in_transaction_session_timeout=10000"


# The business. A handler has no effect outside of its transaction.
def charge(db, body):
    order, customer, amount = body["orderId"], body["customerId"], body["amountCents"]
    paid = db.execute("UPDATE account SET balance_cents = balance_cents - %s WHERE customer_id = %s"
                      " AND balance_cents >= %s", (amount, customer, amount))
    if paid.rowcount == 0:
        raise barrier.Refused("not-enough-money", "the account holds less than the order costs")
    db.execute("INSERT INTO charge VALUES (%s, %s, %s, false)", (order, customer, amount))
    return {"orderId": order, "customerId": customer, "amountCents": amount}


def refund(db, charged):
    db.execute("UPDATE account SET balance_cents = balance_cents + %s WHERE customer_id = %s",
               (charged["amountCents"], charged["customerId"]))
    db.execute("UPDATE charge SET refunded = true WHERE order_id = %s", (charged["orderId"],))
    return {}


HANDLERS = {("payment.charge", "action"): charge, ("payment.refund", "compensation"): refund}
FIELDS = {"payment.charge": {"orderId": str, "customerId": str, "amountCents": int}}


def fits(type_, body):
    fields = FIELDS.get(type_, {}).items()
    return isinstance(body, dict) and all(type(body.get(name)) is kind for name, kind in fields)


def connect():
    db = psycopg.connect(setting("postgres.url", "postgres://postgres@127.0.0.1/sagamore"),
                         autocommit=True, options=LIMITS)
    db.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    db.execute(f'SET search_path = "{SCHEMA}"')
    return db


class Http(BaseHTTPRequestHandler):
    """The address that `reconcile` queries."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url, status, body = urlsplit(self.path), 200, {}
        try:
            if url.path == f"/api/v1/barriers/{SERVICE}":
                with connect() as db:
                    body = barrier.page(db, **dict(parse_qsl(url.query)))
            elif url.path not in ("/livez", "/readyz"):
                status, body = 404, f"{url.path} does not exist"
        except (TypeError, ValueError) as error:
            status, body = 400, str(error)
        except psycopg.Error as error:
            status, body = 503, str(error)
        if status >= 400:
            body = {"type": "about:blank", "title": "The request failed", "status": status,
                    "detail": body, "code": f"HTTP-{status}"}
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Participant:
    """One process of the service. Any number of them share the partitions."""

    def __init__(self):
        self.db, self.producer, self.sweep = connect(), Producer(KAFKA | PRODUCER), None
        self.db.execute(f'CREATE SCHEMA IF NOT EXISTS "{SCHEMA}"')
        self.db.execute(Path(__file__).with_name("schema.sql").read_text())
        self.consumer = Consumer(KAFKA | CONSUMER)
        self.consumer.subscribe([COMMANDS, HORIZON])

    def turn(self):
        """Executes a batch, publishes its replies and dead letters, and commits its offsets."""
        replies, letters, offsets = [], [], {}
        for message in self.consumer.consume(BATCH, 0.2):
            if message.error():
                logging.warning("kafka: %s", message.error())
                continue
            if message.topic() == COMMANDS:
                reply, reason = self.execute(message)
                replies += [(message, reply)] if reply else []
                letters += [(message, reason)] if reason else []
            else:
                self.sweep = self.sweep_for(message)
            offsets[message.topic(), message.partition()] = message.offset() + 1
        errors = self.publish([reply for _, reply in replies])
        for (message, _), error in zip(replies, errors):
            letters += [(message, f"its reply is rejected: {error}")] if error else []
        for message, reason in letters:
            forms = (wire.dead_letter(PREFIX, message, reason, whole) for whole in (True, False))
            if all(self.publish([form])[0] for form in forms):
                logging.error("a dead letter is lost: %s", reason)
        if offsets:
            places = [TopicPartition(*place, offset) for place, offset in offsets.items()]
            self.consumer.commit(offsets=places, asynchronous=False)
        if self.sweep and next(self.sweep, "the end") == "the end":
            self.sweep = None

    def execute(self, message):
        """Returns the reply of a command and the reason of its dead letter, or None for either."""
        try:
            command = wire.decode(message, fits)
        except ValueError as error:
            return None, str(error)
        now = int(time.time() * 1000)
        if command.kind == "action" and command.expires and command.expires + SKEW_MS < now:
            return None, None
        try:
            outcome, body = barrier.execute(self.db, command, lambda *key: HANDLERS.get(key))
        except (barrier.Fault, ValueError, psycopg.Error) as error:
            if self.db.closed:
                raise  # perhaps it was committed: the process ends, and the command is read again
            outcome, body = "fault", json.dumps({"fault": str(error)[:2000]})
        return wire.reply(SERVICE, message, command, outcome, body, now), command.problem

    def sweep_for(self, message):
        """Deletes what a retention notice permits, in steps, and acknowledges it."""
        try:
            has_address = any(name in wire.ADDRESS for name, _ in message.headers() or [])
            address = wire.read(message, wire.ADDRESS) if has_address else None
            notice = wire.parse(message)
            yield from barrier.sweep(self.db, notice, RETENTION_DAYS)
            if address:
                self.publish([wire.acknowledgement(SERVICE, address, notice["started_before"])])
        except (LookupError, TypeError, ValueError) as error:
            logging.warning("a retention notice is ignored: %s", error)

    def publish(self, records):
        return wire.publish(self.producer, PREFIX, records)


def main():
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    running = [True]
    signal.signal(signal.SIGTERM, lambda *_: running.clear())
    participant = Participant()
    host, port = LISTEN.rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Http)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    logging.info("the payment service is ready: http://%s", LISTEN)
    while running:
        participant.turn()
    participant.consumer.close()


if __name__ == "__main__":
    main()
