"""A container that knows nothing of Postback: it answers each POST with JSON. It needs Python alone."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GOOD = {"good", "great", "love", "fine", "happy"}
BAD = {"bad", "awful", "hate", "broken", "sad"}


class Model(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200 if self.path == "/healthz" else 404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        try:
            words = json.loads(body)["text"].lower().split()
        except (ValueError, KeyError, TypeError, AttributeError):
            return self.answer(422, {"error": "the body must be {\"text\": \"…\"}"})
        time.sleep(0.5)  # the model thinks
        score = sum(word.strip(".,!") in GOOD for word in words) - sum(word.strip(".,!") in BAD for word in words)
        self.answer(200, {"score": score, "mood": "good" if score > 0 else "bad" if score < 0 else "neutral"})

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Model).serve_forever()
