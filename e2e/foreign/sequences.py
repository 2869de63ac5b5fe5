"""Sends commands to a payment service and compares its replies with docs/wire-barrier.md.

Replies go to a topic of its own, so no orchestrator takes part. Prints one line per violation.
"""
import json, os, sys, time, uuid
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

BROKERS, URL = os.environ["SAGAMORE__KAFKA__BROKERS"], os.environ["SAGAMORE__POSTGRES__URL"]
NAMESPACE = os.environ["SAGAMORE__NAMESPACE"]
COMMANDS, LETTERS = f"{NAMESPACE}.payment.commands", f"{NAMESPACE}.payment.commands-dlt"
HORIZON, REPLIES = f"{NAMESPACE}.sagamore.horizon", f"{NAMESPACE}.foreign.replies"
BALANCE, AMOUNT, WAIT_S, DAY_MS = 1_000_000, 100, 15, 86_400_000
REFUSED, RESERVED = "not-enough-money", ("already-compensated", "superseded", "undecodable")
violations = []


def check(holds, what):
    if not holds:
        violations.append(what)
        print(f"VIOLATION {what}", flush=True)


class Reader:
    """Reads one topic from its present end on."""

    def __init__(self, topic):
        self.consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": str(uuid.uuid4())})
        partitions = self.consumer.list_topics(topic, 10).topics[topic].partitions
        ends = []
        for number in partitions:
            place = TopicPartition(topic, number)
            end = self.consumer.get_watermark_offsets(place, 10)[1]
            ends.append(TopicPartition(topic, number, end))
        self.consumer.assign(ends)

    def next(self, wait=WAIT_S):
        message = self.consumer.poll(wait)
        return None if message is None or message.error() else message


def headers_of(message):
    return dict(message.headers() or [])


class Step:
    """One saga with one step at the service."""
    number = int(time.time() * 1000)

    def __init__(self):
        Step.number += 1
        self.key = f"probe/{Step.number}:ü"

    def headers(self, kind, generation):
        saga = f"probe:{self.key}"
        type = "payment.charge" if kind == "action" else "payment.refund"
        return {"ce_specversion": "1.0", "ce_id": f"{saga}/pay/{kind}/{generation}",
                "ce_source": "/sagamore", "ce_type": type, "ce_time": "2026-11-29T20:31:05.125Z",
                "ce_subject": self.key, "ce_correlationid": saga, "ce_sagastep": "pay",
                "ce_sagakind": kind, "ce_sagageneration": str(generation),
                "ce_sagadefinition": "probe", "ce_sagaversion": "7", "ce_sagaattempt": "1",
                "ce_sagareplytopic": "foreign.replies", "ce_sagareplypartition": "1",
                "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
                "content-type": "application/json"}

    def send(self, letter, changes=None, body=None, twice=None):
        """Publishes a command: `A1`, `U2`; `A1!` is one that the business refuses."""
        kind = "action" if letter[0] == "A" else "compensation"
        headers = self.headers(kind, int(letter[1]))
        for name, value in (changes or {}).items():
            headers.pop(name) if value is None else headers.update({name: value})
        amount = BALANCE * 10 if letter.endswith("!") else AMOUNT
        order = self.key.split(":")[0]
        fields = {"amountCents": amount, "customerId": "PROBE", "orderId": order}
        text = body if body is not None else json.dumps(fields if kind == "action" else {})
        sent = list(headers.items()) + ([(twice, headers[twice])] if twice else [])
        producer.produce(COMMANDS, text, self.key, partition=0, headers=sent)
        producer.flush()
        return headers


def outcome(message):
    """`done {"a":1}`, `refused CODE`, `fault`."""
    if message is None:
        return "none"
    headers, body = headers_of(message), json.loads(message.value())
    result = headers["ce_sagaoutcome"].decode()
    return {"done": f"done {body.get('amountCents', body)}", "fault": "fault",
            "refused": f"refused {body.get('code')}"}[result]


def check_reply(message, sent):
    """Checks each header of a reply."""
    headers = {name: value.decode() for name, value in message.headers()}
    key = ("ce_correlationid", "ce_sagastep", "ce_sagakind", "ce_sagageneration")
    id = "/".join(sent[name] for name in key)
    expected = {name: sent[name] for name in (*key, "ce_subject", "traceparent")}
    expected |= {"ce_specversion": "1.0", "ce_type": "sagamore.reply", "ce_source": "/payment",
                 "ce_id": f"{id}/reply", "ce_causationid": id}
    for name, value in expected.items():
        check(headers.get(name) == value, f"reply: {name} is {headers.get(name)}, not {value}")
    check(message.key() == sent["ce_subject"].encode(), f"reply: key {message.key()}")
    check(message.partition() == 1, f"reply: partition {message.partition()}")
    check(len(headers) == len(message.headers()), "reply: a header is repeated")


def balance():
    sql = f'SELECT balance_cents FROM "{NAMESPACE}_payment".account WHERE customer_id = \'PROBE\''
    return db.execute(sql).fetchone()[0]


DONE, NOTHING = f"done {AMOUNT}", "done {}"
LATE, OLD = "refused already-compensated", "refused superseded"
SEQUENCES = [  # commands, replies, whether the money is taken in the end
    ("A1 A1", [DONE, DONE], True),
    ("A1! A1!", [f"refused {REFUSED}"] * 2, False),
    ("A1! A1", [f"refused {REFUSED}"] * 2, False),
    ("U1 U1", [NOTHING, NOTHING], False),
    ("U1 A1 A2", [NOTHING, LATE, LATE], False),
    ("A1! U1 A1 A2", [f"refused {REFUSED}", NOTHING, f"refused {REFUSED}", LATE], False),
    ("A1 U1 U1 A1", [DONE, NOTHING, NOTHING, DONE], False),
    ("A1! A2 A1 A3 U1", [f"refused {REFUSED}", DONE, DONE, DONE, NOTHING], False),
    ("A3! A2 A1 A4", [f"refused {REFUSED}", OLD, OLD, DONE], True),
    ("U2 U1 A3", [NOTHING, NOTHING, LATE], False),
]
COMMANDS_SENT = ("A1", "U1", "A1")
GARBLED, NO_REPLY = ["refused undecodable", NOTHING, "refused undecodable"], []
UNREADABLE = [  # changed headers, body, replies to COMMANDS_SENT, whether each has a dead letter
    ({"ce_sagaversion": None}, "", GARBLED, True),
    ({"ce_sagaversion": "seven"}, "", GARBLED, True),
    ({"ce_sagaversion": "007"}, "", GARBLED, True),
    ({"ce_sagaattempt": "-1"}, "", GARBLED, True),
    ({"ce_sagaexpires": "soon"}, "", GARBLED, True),
    ({"ce_type": "no name!"}, "", GARBLED, True),
    ({}, "{", GARBLED, True),
    ({}, "NaN", GARBLED, True),
    ({}, "\ufeff{}", GARBLED, True),
    ({"ce_sagageneration": "0"}, "", NO_REPLY, True),
    ({"ce_sagageneration": "01"}, "", NO_REPLY, True),
    ({"ce_sagageneration": "+1"}, "", NO_REPLY, True),
    ({"ce_sagareplypartition": None}, "", NO_REPLY, True),
    ({"ce_correlationid": "no key"}, "", NO_REPLY, True),
    ({"ce_correlationid": b"probe:\xff"}, "", NO_REPLY, True),
    ({"ce_sagareplytopic": "foreign.missing"}, "", NO_REPLY, True),
    ({"ce_sagareplypartition": "9"}, "", NO_REPLY, True),
    ({"ce_sagaexpires": "1"}, "", [NOTHING], False),
    ({"ce_type": "payment.unheard-of"}, "", ["fault", NOTHING, LATE], False),
    ({"ce_subject": None, "ce_source": None, "ce_id": None, "ce_specversion": "9"}, "",
     [DONE, NOTHING, DONE], False),
]


def sequences(replies):
    for commands, expected, taken in SEQUENCES:
        before, step, found = balance(), Step(), []
        for index, letter in enumerate(commands.split()):
            other = {"ce_id": f"another/{index}", "ce_sagaattempt": str(index + 1)}
            sent = step.send(letter, other if index else None)
            message = replies.next()
            found.append(outcome(message))
            if message:
                check_reply(message, sent)
        check(found == expected, f"{commands}: {found}, not {expected}")
        gone = before - balance()
        check(gone == (AMOUNT if taken else 0), f"{commands}: {gone} cents are taken")


def unreadable(replies, letters):
    for changes, body, expected, has_letters in UNREADABLE:
        what, step, last = f"{changes} {body}", Step(), Step()
        for letter in COMMANDS_SENT:
            step.send(letter, changes, body or None)
        last.send("U1")  # the same partition: its reply follows those of the others
        found = []
        while (message := replies.next()) and message.key() != last.key.encode():
            found.append(outcome(message))
        check(message is not None, f"{what}: no reply to the command behind")
        check(found == expected, f"{what}: {found}, not {expected}")
        for number in range(len(COMMANDS_SENT) if has_letters else 0):
            dead = letters.next()
            check(dead is not None, f"{what}: {number} dead letters")
            if dead:
                check_letter(dead, step.key)
    check(letters.next(1) is None, "a dead letter too many")


def check_letter(dead, key):
    headers = headers_of(dead)
    topic, offset = "payment.commands", headers["sagamore-dlt-offset"].decode()
    expected = {
        "sagamore-dlt-topic": topic.encode(), "kafka_dlt-original-topic": topic.encode(),
        "sagamore-dlt-partition": b"0", "kafka_dlt-original-partition": bytes(4),
        "kafka_dlt-original-offset": int(offset).to_bytes(8, "big"),
        "sagamore-dlt-place": f"{topic}[0]@{offset}".encode(),
        "kafka_dlt-exception-message": headers["sagamore-dlt-reason"]}
    for name, value in expected.items():
        check(headers[name] == value, f"dead letter: {name} is {headers[name]}, not {value}")
    check(dead.key() == key.encode(), f"dead letter: key {dead.key()}, not {key}")
    check(dead.partition() == 0, f"dead letter: partition {dead.partition()}")


def retention(replies):
    """A notice deletes the rows of the definition `probe`, except one saga, and is acknowledged."""
    kept, gone = Step(), Step()
    for step in (kept, gone):
        step.send("A1")
        check(outcome(replies.next()) == DONE, "retention: the charge is not done")
    now = int(time.time() * 1000)
    body = {"started_before": now + 1000, "ended_before": now - 60 * DAY_MS,
            "definitions": ["probe"], "but": [f"probe:{kept.key}"]}
    headers = {"ce_specversion": "1.0", "ce_type": "sagamore.horizon", "ce_source": "/sagamore",
               "ce_sagareplytopic": "foreign.replies", "ce_sagareplypartition": "0"}
    ignored = ("{", json.dumps(body | {"but": None}), json.dumps(body | {"ended_before": now}))
    for text in (*ignored, json.dumps(body)):
        producer.produce(HORIZON, text, "sagamore.horizon", partition=0, headers=headers)
    producer.flush()
    message, is_ours = None, False
    while not is_ours:  # the other services answer as well
        message = replies.next()
        is_ours = message is None or headers_of(message)["ce_source"] == b"/payment"
    if message is None:
        return check(False, "retention: the notice is not acknowledged")
    headers, text = headers_of(message), json.loads(message.value())
    check(headers["ce_type"] == b"sagamore.swept", f"swept: {headers}")
    check(text == {"participant": "payment", "before": body["started_before"]}, f"swept: {text}")
    check(message.partition() == 0, f"swept: partition {message.partition()}")
    sql = f'SELECT DISTINCT saga FROM "{NAMESPACE}_payment".barrier WHERE saga LIKE \'probe:%\''
    rows = db.execute(sql).fetchall()
    return check(rows == [(f"probe:{kept.key}",)], f"retention: rows are left of {rows}")


admin = AdminClient({"bootstrap.servers": BROKERS})
for created in admin.create_topics([NewTopic(REPLIES, 2, 1)]).values():
    created.exception()  # it may exist
producer = Producer({"bootstrap.servers": BROKERS, "acks": "all", "linger.ms": 0})
db = psycopg.connect(URL, autocommit=True)
db.execute(f'INSERT INTO "{NAMESPACE}_payment".account VALUES (\'PROBE\', \'Probe\', {BALANCE})'
           " ON CONFLICT DO NOTHING")
time.sleep(1)
answers = Reader(REPLIES)
Step().send("U1")
check(outcome(answers.next(60)) == NOTHING, "no reply: does the service run?")
begun = time.time()
sequences(answers)
unreadable(answers, Reader(LETTERS))
retention(answers)
seconds = time.time() - begun
print(f"{len(SEQUENCES)} sequences, {len(UNREADABLE)} odd commands, a notice: {seconds:.1f} s")
sys.exit(1 if violations else 0)
