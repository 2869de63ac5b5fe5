"""The participant `cards`, with a limit of 1000.00 a card.
Run: python3 participants/cards.py [PORT] [FILE]"""
import json, sqlite3, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

db = sqlite3.connect(sys.argv[2] if len(sys.argv) > 2 else "cards.sqlite")
db.execute("CREATE TABLE IF NOT EXISTS charges (card TEXT, cents INTEGER)")
db.execute("CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, outcome TEXT, body TEXT)")

def charge(card, cents):
    spent = db.execute("SELECT SUM(cents) FROM charges WHERE card = ?", [card]).fetchone()[0] or 0
    if spent + cents > 100_000:
        return "refused", {"code": "not-enough-money", "message": f"{card} holds too little"}
    row = db.execute("INSERT INTO charges VALUES (?, ?)", [card, cents]).lastrowid
    return "done", {"receipt": f"R-{row}"}

def refund(card, cents):
    db.execute("INSERT INTO charges VALUES (?, ?)", [card, -cents])
    return "done", {}

HANDLERS = {"cards.charge": charge, "cards.refund": refund}

class Cards(BaseHTTPRequestHandler):
    def do_GET(self):  # what it handles: Sagamore warns of a message that no process handles
        kinds = {"cards.charge": "action", "cards.refund": "compensation"}
        messages = [{"name": name, "kind": kind} for name, kind in kinds.items()]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"participant": "cards", "messages": messages}).encode())

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            outcome, answer = self.answer(self.headers["Idempotency-Key"], json.loads(body))
        except Exception as error:  # nothing was stored: Sagamore sends the command again
            outcome, answer = "fault", repr(error)
        self.send_response(200)
        self.send_header("Sagamore-Outcome", outcome)
        self.end_headers()
        self.wfile.write(answer.encode())

    def answer(self, key, fields):
        with db:  # one transaction: the effect, and its answer for every repeat of the key
            stored = db.execute("SELECT outcome, body FROM answers WHERE key = ?", [key]).fetchone()
            if stored:
                return stored
            outcome, body = HANDLERS[self.headers["ce-type"]](**fields)
            db.execute("INSERT INTO answers VALUES (?, ?, ?)", [key, outcome, json.dumps(body)])
            return outcome, json.dumps(body)

HTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 4001), Cards).serve_forever()
