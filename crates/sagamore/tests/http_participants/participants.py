"""The participants cards and seats of a trip, by idempotency key. Prints its port."""
import json, sqlite3, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FILE = sys.argv[1]


def database():
    return sqlite3.connect(FILE, timeout=30)


class Participant(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key, name = self.headers["Idempotency-Key"], self.headers["ce-type"]
        db = database()
        with db:  # effect and result commit together
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT INTO request VALUES (?)", (key,))
            row = db.execute("SELECT outcome, body FROM result WHERE key = ?", (key,)).fetchone()
            if row is None:
                row = self.run(db, name, body)
                db.execute("INSERT INTO result VALUES (?, ?, ?)", (key, *row))
        db.close()
        self.answer(200 if row[0] == "done" else 409, row[0], row[1])

    def run(self, db, name, body):
        if name == "seat.reserve" and body["seat"] == "none":
            return "refused", json.dumps({"code": "no-seat", "message": "sold out"})
        db.execute("INSERT INTO effect VALUES (?)", (name,))
        return "done", json.dumps({"charged": body.get("cents")} if name == "card.charge" else {})

    def do_GET(self):
        db = database()
        rows = db.execute("SELECT name, count(*) FROM effect GROUP BY name").fetchall()
        requests = db.execute("SELECT count(*) FROM request").fetchone()[0]
        db.close()
        self.answer(200, "done", json.dumps({"requests": requests, **dict(rows)}))

    def answer(self, status, outcome, body):
        self.send_response(status)
        self.send_header("Sagamore-Outcome", outcome)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


with database() as db:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE request (key TEXT)")
    db.execute("CREATE TABLE result (key TEXT PRIMARY KEY, outcome TEXT, body TEXT)")
    db.execute("CREATE TABLE effect (name TEXT)")


class Server(ThreadingHTTPServer):
    def handle_error(self, request, address):
        pass  # killed gateways break connections


server = Server(("127.0.0.1", 0), Participant)
print(server.server_address[1], flush=True)
server.serve_forever()
