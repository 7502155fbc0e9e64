#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Serves a folder over HTTP, and takes what its page posts: pictures and a report.   serve.py FOLDER PORT"""

import sys
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".m3u8": "application/vnd.apple.mpegurl",
        ".ts": "video/mp2t",
    }

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # The last part of the path only, so that nothing is written elsewhere.
        (Path(folder) / "posted" / Path(self.path).name).write_bytes(body)
        self.send_response(204)
        self.end_headers()

    def end_headers(self):
        # A playlist changes with every segment.
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


folder = sys.argv[1]
(Path(folder) / "posted").mkdir(exist_ok=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), lambda *a: Handler(*a, directory=folder)).serve_forever()
