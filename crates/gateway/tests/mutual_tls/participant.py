"""A participant over HTTPS that requires a client certificate: CERTIFICATE KEY AUTHORITY.

Prints its port, and then a line for each command: its key and the client's name. Without arguments
it serves plain HTTP.
"""

import os
import socket
import ssl
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Participant(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])
        print(self.headers["Idempotency-Key"], subject["commonName"], flush=True)
        self.send_response(200)
        self.send_header("Sagamore-Outcome", "done")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    context = None

    def process_request_thread(self, connection, address):
        if self.context:
            options = {"server_side": True, "do_handshake_on_connect": False}
            connection = self.context.wrap_socket(connection, **options)
            try:
                connection.do_handshake()
            except OSError:
                return drain(connection)
        super().process_request_thread(connection, address)


def drain(connection):
    """Closes a rejected connection once the client has read the alert, which a reset discards."""
    raw = socket.socket(fileno=os.dup(connection.fileno()))
    connection.close()
    try:
        raw.shutdown(socket.SHUT_WR)
        while raw.recv(4096):
            pass
    except OSError:
        pass
    raw.close()


server = Server(("127.0.0.1", 0), Participant)
if len(sys.argv) > 1:
    certificate, key, authority = sys.argv[1:]
    server.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority)
    server.context.verify_mode = ssl.CERT_REQUIRED
    server.context.load_cert_chain(certificate, key)
print(server.server_address[1], flush=True)
server.serve_forever()
