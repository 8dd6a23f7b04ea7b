"""The part of the Hugging Face hub's API by which a client creates a repository and commits."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_of_alice"


@dataclass(slots=True)
class FakeHub:
    """A hub on which Alice is logged in, and may write to her own repositories.

    Attributes:
        url: Its address.
        files: The content of every file, by repository and name.
        visibility: Of every repository.
        stored: Large files by their sha256, as they were uploaded.
        refused: Parts of the paths that are refused.
    """

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    visibility: dict[str, object] = field(default_factory=dict)
    stored: dict[str, bytes] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, token: str, body: bytes) -> tuple[int, object]:
        """Answer one request: a status and what is sent as JSON."""
        if any(part in path for part in self.refused):
            return 400, {"error": "out of order"}
        if method == "PUT":
            self.stored[path.rsplit("/", 1)[1]] = body
        if method in ("PUT", "HEAD"):
            return 200, {}
        if token != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}
        routes: dict[str, Callable[[str, bytes], tuple[int, object]]] = {
            "/api/whoami-v2": lambda _id, _body: (200, {"type": "user", "name": "alice"}),
            "/api/repos/create": lambda _id, _body: self._create(json.loads(_body)),
            "/api/validate-yaml": lambda _id, _body: (200, {"errors": [], "warnings": []}),
            "/api/models/(.*)/preupload/main": self._choose_modes,
            "/(.*)[.]git/info/lfs/objects/batch": self._accept_large_files,
            "/api/models/(.*)/commit/main": self._commit,
        }
        for route, answer in routes.items():
            if found := re.fullmatch(route, path):
                return answer("".join(found.groups()), body)
        return 404, {"error": f"no such path {path}"}

    def _choose_modes(self, repository: str, body: bytes) -> tuple[int, object]:
        del repository
        paths = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
        files = [
            {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}
            for path, mode in modes.items()
        ]
        return 200, {"files": files}

    def _accept_large_files(self, repository: str, body: bytes) -> tuple[int, object]:
        del repository
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.url}/lfs/{wanted['oid']}"}}}
            for wanted in json.loads(body)["objects"]
        ]
        return 200, {"transfer": "basic", "objects": objects}

    def _create(self, asked: dict[str, str]) -> tuple[int, object]:
        owner = asked.get("organization") or "alice"
        if owner != "alice":
            return 403, {"error": f'You don\'t have the rights to create a model under "{owner}"'}
        repository = f"{owner}/{asked['name']}"
        answer = {"url": f"{self.url}/{repository}", "name": repository, "id": "1"}
        if repository in self.files:
            return 409, answer
        self.files[repository] = {}
        self.visibility[repository] = asked.get("visibility", "public")
        return 200, answer

    def _commit(self, repository: str, body: bytes) -> tuple[int, object]:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[repository][value["path"]] = base64.b64decode(value["content"])
            if line["key"] == "lfsFile":
                content = self.stored[value["oid"]]
                assert hashlib.sha256(content).hexdigest() == value["oid"]
                self.files[repository][value["path"]] = content
        return 200, {"commitUrl": f"{self.url}/{repository}/commit/0", "commitOid": "0" * 40}


@contextmanager
def serve_hub() -> Iterator[FakeHub]:
    """Serve a hub on this machine."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path, token = self.path.split("?")[0], self.headers.get("Authorization") or ""
            status, answer = hub.answer(self.command, path, token, body)
            content = b"" if self.command == "HEAD" else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if isinstance(answer, dict) and "error" in answer:
                self.send_header("X-Error-Message", answer["error"])
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_HEAD = _handle

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
