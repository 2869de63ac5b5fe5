"""The services of a choreography, with the standard library only: order, payment and shipping.

Each reaction is done once per Idempotency-Key; a repeat gets the stored answer.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
answers = {}  # by Idempotency-Key
figures = {}  # effects by reaction and direction
calls = {}  # requests by reaction and direction
away = {"payment": False}
turned_away = {}  # requests to a service that is away


def react(service, reaction, direction, event):
    """Returns the outcome and the body of the answer."""
    if direction == "compensation":
        return "done", {}  # the plan names the event
    if reaction == "charge":
        if event["cents"] > 1000:
            return "refused", {"code": "no-money", "message": "the account is empty"}
        return done("payment.success", {"orderId": event["orderId"]})
    if reaction == "reserve":
        return done("stock.reserved", {"orderId": event["orderId"], "sku": event["sku"]})
    if reaction == "ship":
        created = [one["data"] for one in event]
        if any(data.get("sku") == "LOST" for data in created):
            return done("shipping.failed", {"orderId": created[0]["orderId"]})
        return done("shipping.success", {"orderId": created[0]["orderId"]})
    raise ValueError(reaction)


def done(event, data):
    return "done", {"events": [{"type": event, "data": data}]}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        service = self.path.strip("/")
        if service.startswith("away/"):
            away[service.removeprefix("away/")] = json.loads(body)
            return self.answer(200, None, {})
        if away.get(service):
            with lock:
                turned_away[service] = turned_away.get(service, 0) + 1
            return self.answer(503, None, {})
        reaction, direction = self.headers["Sagamore-Reaction"], self.headers["Sagamore-Direction"]
        key, name = self.headers["Idempotency-Key"], f"{reaction}/{direction}"
        with lock:
            calls[name] = calls.get(name, 0) + 1
            if key not in answers:
                answers[key] = react(service, reaction, direction, json.loads(body))
                figures[name] = figures.get(name, 0) + 1
            outcome, answer = answers[key]
        self.answer(200, outcome, answer)

    def do_GET(self):
        with lock:
            self.answer(200, None, {"effects": figures, "calls": calls, "away": turned_away})

    def answer(self, status, outcome, body):
        content = json.dumps(body).encode()
        self.send_response(status)
        if outcome:
            self.send_header("Sagamore-Outcome", outcome)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
