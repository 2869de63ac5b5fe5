"""The barrier of a participant in PostgreSQL: docs/wire-barrier.md."""

import json

from wire import rfc3339

OUTPUT_MAX = 524_288
DAY_MS = 86_400_000
NOW = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"  # of the database server
ON_KEY = "ON CONFLICT (saga, step, direction, generation) DO UPDATE SET"
CLAIM = f"""INSERT INTO barrier VALUES (%s, %s, 'action', 1, 'claimed', '', {NOW})
    {ON_KEY} status = barrier.status RETURNING xmax = 0"""
ROWS = "SELECT direction, generation, status, answer FROM barrier WHERE saga = %s AND step = %s"
STORE = f"""INSERT INTO barrier VALUES (%s, %s, %s, %s, %s, %s, {NOW})
    {ON_KEY} status = excluded.status, answer = excluded.answer, stored_at = excluded.stored_at"""
OLD_STEPS = """SELECT saga, step FROM barrier WHERE direction = 'action' AND generation = 1
    AND stored_at < %s AND (saga, step) > (%s, %s) ORDER BY saga, step LIMIT 100"""
LOCK = """SELECT 1 FROM barrier WHERE saga = %s AND step = %s AND direction = 'action'
    AND generation = 1 FOR UPDATE"""
DELETE = """DELETE FROM barrier b WHERE saga = %s AND step = %s AND NOT EXISTS (
    SELECT 1 FROM barrier y WHERE y.saga = b.saga AND y.step = b.step
    AND (y.stored_at >= %s OR y.stored_at < %s))"""
PAGE = """SELECT saga, step, direction, generation, status, stored_at FROM barrier
    WHERE saga > %s AND (%s::text IS NULL OR saga <= %s)
    ORDER BY saga, step COLLATE "C", direction, generation"""


class Refused(Exception):
    """The business says no: a code and a message, stored and final."""


class Fault(Exception):
    """Something broke: nothing is stored, and the orchestrator sends the command again."""


def execute(db, command, handler):
    """Executes a command in one transaction. Returns outcome and body of its reply.

    `handler` returns the function for a type and a kind. Fault, database error: nothing is stored.
    """
    with db.transaction():
        key = (command.saga, command.step)
        is_new = db.execute(CLAIM, key).fetchone()[0]
        rows = [] if is_new else db.execute(ROWS, key).fetchall()
        outcome, body, stored = decide(db, command, is_new, rows, handler)
        for row in stored:
            db.execute(STORE, key + row)
    return outcome, body


def decide(db, command, is_new, rows, handler):
    """Applies the cases. Returns outcome and body of the reply, and the rows to store."""
    kind, generation = command.kind, command.generation
    if any(status not in ("done", "refused", "tombstone") for _, _, status, _ in rows):  # 1
        raise Fault("a row of the barrier is unreadable")
    own = [row for row in rows if row[0] == kind]
    for _, stored, status, answer in sorted(own, key=lambda row: row[2]):  # `done` comes first
        if status == "done" or status == "refused" and stored == generation:  # 2, 3
            return status, answer, []
    if kind == "action" and any(row[2] == "tombstone" or row[0] != kind for row in rows):  # 4
        return "refused", refusal("already-compensated", "the step was undone before"), []
    if any(row[1] > generation for row in own):  # 5
        return "refused", refusal("superseded", "a later generation was received"), []
    outputs = [row[3] for row in rows if row[0] == "action" and row[2] == "done"]
    if kind == "compensation" and not outputs:  # 8, 9
        tombstone = [("action", 1, "tombstone", "")] if is_new else []
        return "done", "{}", [*tombstone, (kind, generation, "done", "{}")]
    outcome, answer = run(db, command, outputs, handler)  # 6, 7
    first = ("action", 1, "refused", refusal("superseded", "a later generation was first"))
    claimed = [first] if is_new and generation > 1 else []
    return outcome, answer, [*claimed, (kind, generation, outcome, answer)]


def run(db, command, outputs, handler):
    """Runs the handler under a savepoint, to which a refusal rolls back."""
    try:
        with db.transaction():
            if command.problem:
                raise Refused("undecodable", command.problem)
            function = handler(command.type, command.kind)
            if not function:
                raise Fault(f"this service has no {command.kind} {command.type}")
            output = function(db, json.loads(outputs[0]) if outputs else command.body)
    except Refused as refused:
        return "refused", refusal(*refused.args)
    answer = json.dumps(output)
    if len(answer) > OUTPUT_MAX or "\0" in str(output):
        raise Fault("the output is too large, or contains U+0000")
    return "done", answer


def refusal(code, message):
    return json.dumps({"code": code, "message": message})


def sweep(db, notice, retention_days):
    """Deletes the steps that a retention notice permits, one page for each step of this generator.

    LookupError, TypeError, ValueError: the notice is unreadable.
    """
    before, since = int(notice["started_before"]), int(notice.get("started_from", 0))
    now = db.execute(f"SELECT {NOW}").fetchone()[0]
    if int(notice["ended_before"]) > now - (retention_days - 1) * DAY_MS:
        raise ValueError("its sender has a shorter retention")
    definitions, exceptions, last = set(notice["definitions"]), set(notice["but"]), ("", "")
    while steps := db.execute(OLD_STEPS, (before, *last)).fetchall():
        with db.transaction():
            for last in steps:
                if last[0].split(":")[0] in definitions and last[0] not in exceptions:
                    db.execute(LOCK, last)
                    db.execute(DELETE, (*last, before, since))
        yield


def page(db, after="", until=None, limit="100"):
    """Returns a page for `reconcile`, which ends with a whole saga."""
    rows = db.execute(PAGE + " LIMIT %s", (after, until, until, int(limit) + 1)).fetchall()
    following = None
    if len(rows) > int(limit):
        whole = [row for row in rows if row[0] != rows[-1][0]]  # the last saga may have more rows
        rows = whole or db.execute(PAGE, (after, rows[0][0], rows[0][0])).fetchall()
        following = rows[-1][0]
    names = ("saga", "step", "direction", "generation", "status", "storedAt")
    facts = [dict(zip(names, (*row[:5], rfc3339(row[5])))) for row in rows]
    return {"facts": facts, "next": following}
