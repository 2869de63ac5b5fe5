"""Records of the wire format: docs/wire.md. Reads commands, builds replies and dead letters."""

import json
import re
import struct
from collections import namedtuple
from datetime import datetime, timedelta, timezone

from confluent_kafka import KafkaException

NAME, ANY = "[a-z][a-z0-9.-]{0,99}", "(?s:.*)"
NUMBER, MS = "0|[1-9][0-9]{0,9}", "0|[1-9][0-9]{0,18}"
BUSINESS_KEY = r"(?!\.{1,2}$)[^\0-\x1f\x7f-\x9f]{1,200}"
ADDRESS = {"ce_sagareplytopic": "[^\0]+", "ce_sagareplypartition": NUMBER}
# without these, no reply is possible
KEY = {"ce_correlationid": f"{NAME}:{BUSINESS_KEY}", "ce_sagastep": NAME,
       "ce_sagakind": "action|compensation", "ce_sagageneration": NUMBER, **ADDRESS}
OPTIONAL = {"ce_sagaattempt": NUMBER, "ce_sagaexpires": MS, "ce_specversion": ANY, "ce_id": ANY,
            "ce_source": ANY, "ce_subject": ANY, "ce_sagadefinition": ANY}
REST = {"ce_type": NAME, "ce_sagaversion": NUMBER, **OPTIONAL}
COPIED = {"ce_correlationid", "ce_sagastep", "ce_sagakind", "ce_sagageneration",
          "traceparent", "tracestate"}
REASON_MAX, LETTER_KEY_MAX = 2_000, 200

Command = namedtuple("Command", ["saga", "step", "kind", "generation", "topic", "partition",
                                 "type", "expires", "body", "problem"])


def read(message, patterns):
    """Returns these headers. Each occurs exactly once, or at most once if it is optional."""
    values = {}
    for name, pattern in patterns.items():
        found = [value or b"" for key, value in message.headers() or [] if key == name]
        if name in OPTIONAL and not found:
            continue
        text = found[0].decode(errors="replace" if pattern == ANY else "strict") if found else ""
        if len(found) != 1 or not re.fullmatch(pattern, text):
            raise ValueError(f"{name} is missing, repeated or malformed: {found}")
        values[name] = int(text) if pattern in (NUMBER, MS) else text
        if pattern == NUMBER and values[name] >= 2**32 or pattern == MS and values[name] >= 2**63:
            raise ValueError(f"{name} is too large: {text}")
    return values


def parse(message):
    return json.loads((message.value() or b"").decode(), parse_constant=int)  # NaN is not JSON


def decode(message, fits):
    """Reads a command. `fits` checks type and body of an action.

    ValueError: the barrier's key or the reply's address is unreadable. Any other defect is the
    command's `problem`.
    """
    key, rest, body, problem = read(message, KEY), {}, None, None
    if key["ce_sagageneration"] == 0:
        raise ValueError("ce_sagageneration is 0")
    if len(business_key(key["ce_correlationid"]).encode()) > 200:
        raise ValueError("the business key is too long")
    try:
        rest, body = read(message, REST), parse(message)
        if key["ce_sagakind"] == "action" and not fits(rest["ce_type"], body):
            raise ValueError(f"the body does not fit {rest['ce_type']}")
    except (ValueError, RecursionError) as error:
        problem = str(error)[:REASON_MAX]
    type_, expires = rest.get("ce_type"), rest.get("ce_sagaexpires")
    return Command(*key.values(), type_, expires, body, problem)


def business_key(saga):
    return saga.split(":", 1)[1]


def rfc3339(ms):
    at = datetime.fromtimestamp(0, timezone.utc) + timedelta(milliseconds=int(ms))
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def envelope(service, id, type, at):
    return [("ce_specversion", "1.0"), ("ce_id", id), ("ce_source", f"/{service}"),
            ("ce_type", type), ("ce_time", rfc3339(at)), ("content-type", "application/json")]


def reply(service, message, command, outcome, body, now):
    id = f"{command.saga}/{command.step}/{command.kind}/{command.generation}"
    key = business_key(command.saga)
    headers = envelope(service, f"{id}/reply", "sagamore.reply", now)
    headers += [("ce_causationid", id), ("ce_subject", key), ("ce_sagaoutcome", outcome)]
    headers += [header for header in message.headers() if header[0] in COPIED]
    return {"topic": command.topic, "partition": command.partition, "key": key, "headers": headers,
            "value": body}


def acknowledgement(service, address, before):
    return {"topic": address["ce_sagareplytopic"], "partition": address["ce_sagareplypartition"],
            "key": "sagamore.swept",
            "value": json.dumps({"participant": service, "before": before}),
            "headers": envelope(service, f"{service}/swept/{before}", "sagamore.swept", before)}


def dead_letter(prefix, message, reason, whole=True):
    """Returns the dead letter of a record, without its contents if `whole` is false."""
    topic, partition = message.topic().removeprefix(prefix), message.partition()
    offset, reason = message.offset(), reason.encode()[:REASON_MAX]
    headers = [
        ("sagamore-dlt-topic", topic), ("kafka_dlt-original-topic", topic),
        ("sagamore-dlt-partition", str(partition)),
        ("kafka_dlt-original-partition", struct.pack(">i", partition)),
        ("sagamore-dlt-offset", str(offset)),
        ("kafka_dlt-original-offset", struct.pack(">q", offset)),
        ("sagamore-dlt-place", f"{topic}[{partition}]@{offset}"),
        ("sagamore-dlt-reason", reason), ("kafka_dlt-exception-message", reason)]
    letter = {"topic": f"{topic}-dlt", "headers": headers}
    if not whole:
        return letter | {"partition": -1, "key": (message.key() or b"")[:LETTER_KEY_MAX]}
    own = [header for header in message.headers() or []
           if not header[0].startswith(("sagamore-dlt-", "kafka_dlt-"))]
    return letter | {"partition": partition, "key": message.key(), "value": message.value(),
                     "headers": own + headers}


def publish(producer, prefix, records):
    """Publishes and waits until the brokers have acknowledged or rejected each. Returns errors."""
    errors = [None] * len(records)
    for index, record in enumerate(records):
        def settle(error, _, index=index):
            errors[index] = error
        topic = record["topic"] if record["topic"].startswith(prefix) else prefix + record["topic"]
        try:
            producer.produce(**record | {"topic": topic}, on_delivery=settle)
        except KafkaException as error:
            errors[index] = error.args[0]
    while producer.flush(1):
        pass  # the client retries while the brokers are unavailable
    return errors
