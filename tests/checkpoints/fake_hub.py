"""A Hub on 127.0.0.1: the routes that huggingface_hub's own code asks for, over repositories that are held in memory.

Written from what huggingface_hub 2.4 sends and expects. Large files go by git's LFS protocol, as they do where Xet is
switched off.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin", ".msgpack", ".h5")


@dataclass
class Repository:
    """commits: the files of each. refs: from branches and tags to commits. gated: whether files are refused."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    private: bool = False

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        seed = json.dumps([len(self.commits), branch, sorted(files)]).encode()
        name = hashlib.sha1(seed).hexdigest()
        self.commits[name] = dict(files)
        self.refs[branch] = name
        return name

    def find(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.refs.get(revision)


class FakeHub:
    """repositories: by name. requests: (method, path) of every request. down: answer everything with 503.
    broken: files that are cut off in the middle. card_errors: what it says of every README.md."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str]] = []
        self.large: dict[str, bytes] = {}
        self.down = False
        self.broken: set[str] = set()
        self.card_errors: list[str] = []
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def add(self, name: str, folder: Path, branch: str = "main", **extra: bytes) -> str:
        """The files of a folder as a commit, and further ones (`__` in a name stands for its dot)."""
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        files |= {key.replace("__", "."): content for key, content in extra.items()}
        return self.repositories.setdefault(name, Repository()).commit(files, branch)

    def downloaded(self) -> list[str]:
        """The files that were asked for, once each."""
        found = (re.fullmatch(r".*/resolve/[^/]+/(.+)", path) for method, path in self.requests if method == "GET")
        return sorted({match[1] for match in found if match})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, path))
        self.content = self.read()
        if self.hub.down:
            return self.send({"error": "down"}, 503)
        for pattern, method in _ROUTES:
            if match := re.fullmatch(pattern, path):
                return getattr(self, method)(*match.groups())
        return self.send({"error": f"no such route: {path}"}, 404)

    def read(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(self, body: Any, status: int = 200, **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"Content-Length": str(len(content)), "Content-Type": "application/json"} | headers
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def refuse(self, code: str, status: int = 404) -> None:
        self.send({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def find(self, name: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.hub.repositories.get(name)
        if repository is None:
            self.refuse("RepoNotFound", 401)
            return None
        commit = repository.find(revision)
        if commit is None:
            self.refuse("RevisionNotFound")
            return None
        return repository, commit

    def info(self, name: str, _: str | None = None, revision: str = "main") -> None:
        if found := self.find(name, revision or "main"):
            repository, commit = found
            siblings = [{"rfilename": file} for file in repository.commits[commit]]
            self.send({"id": name, "sha": commit, "siblings": siblings, "private": repository.private, "tags": []})

    def tree(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            repository, commit = found
            rows: list[dict[str, Any]] = []
            for file, content in repository.commits[commit].items():
                row = {"type": "file", "path": file, "size": len(content), "oid": _blob(content)}
                if file.endswith(LARGE):
                    oid = hashlib.sha256(content).hexdigest()
                    row["lfs"] = {"oid": oid, "size": len(content), "pointerSize": 134}
                rows.append(row)
            self.send(rows)

    def resolve(self, name: str, revision: str, file: str) -> None:
        found = self.find(name, revision)
        if found is None:
            return None
        repository, commit = found
        content = repository.commits[commit].get(file)
        if content is None:
            return self.refuse("EntryNotFound")
        if repository.gated:
            return self.refuse("GatedRepo", 403)
        etag = hashlib.sha256(content).hexdigest() if file.endswith(LARGE) else _blob(content)
        start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
        length = len(content) - start
        headers = {"ETag": f'"{etag}"', "X_Repo_Commit": commit, "Content_Length": str(length)}
        if start:
            headers["Content_Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if start else 200)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            if file in self.hub.broken:
                self.wfile.write(content[start : start + length // 2])
                self.close_connection = True
                return None
            self.wfile.write(content[start:])
        return None

    def create(self) -> None:
        told = json.loads(self.content)
        name = f"{told['organization']}/{told['name']}" if told.get("organization") else told["name"]
        if name in self.hub.repositories:
            return self.send({"error": "exists", "url": f"{self.hub.address}/{name}"}, 409)
        if name.startswith("others/"):
            return self.send({"error": "not your namespace"}, 403)
        repository = Repository(private=told.get("visibility") == "private" or bool(told.get("private")))
        repository.commit({".gitattributes": b""})
        self.hub.repositories[name] = repository
        return self.send({"url": f"{self.hub.address}/{name}", "id": name})

    def branch(self, name: str, branch: str) -> None:
        repository = self.hub.repositories[name]
        if branch in repository.refs:
            return self.send({"error": "exists"}, 409)
        repository.refs[branch] = repository.refs["main"]
        return self.send({})

    def check_card(self) -> None:
        errors = [{"message": message} for message in self.hub.card_errors]
        self.send({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, revision: str) -> None:
        if found := self.find(name, revision):
            repository, commit = found
            files = [
                {
                    "path": row["path"],
                    "uploadMode": "lfs" if row["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                    "oid": _blob(there) if (there := repository.commits[commit].get(row["path"])) else None,
                }
                for row in json.loads(self.content)["files"]
            ]
            self.send({"files": files})

    def batch(self, name: str) -> None:
        told = json.loads(self.content)
        objects = [
            {**row, "actions": {"upload": {"href": f"{self.hub.address}/large/{row['oid']}"}}}
            for row in told["objects"]
        ]
        self.send({"transfer": "basic", "objects": objects})

    def put(self, oid: str) -> None:
        assert hashlib.sha256(self.content).hexdigest() == oid
        self.hub.large[oid] = self.content
        self.send({})

    def commit(self, name: str, revision: str) -> None:
        found = self.find(name, revision)
        if found is None:
            return
        repository, commit = found
        files = dict(repository.commits[commit])
        for line in self.content.splitlines():
            row = json.loads(line)
            value = row["value"]
            if row["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif row["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            elif row["key"] == "deletedFile":
                del files[value["path"]]
        made = repository.commit(files, revision)
        self.send({"commitUrl": f"{self.hub.address}/{name}/commit/{made}", "commitOid": made, "success": True})


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


_REPO = r"([\w.-]+(?:/[\w.-]+)?)"
_ROUTES = (
    (r"/api/repos/create", "create"),
    (r"/api/validate-yaml", "check_card"),
    (rf"/api/models/{_REPO}/tree/(.+)", "tree"),
    (rf"/api/models/{_REPO}/branch/(.+)", "branch"),
    (rf"/api/models/{_REPO}/preupload/(.+)", "preupload"),
    (rf"/api/models/{_REPO}/commit/(.+)", "commit"),
    (rf"/api/models/{_REPO}(/revision/(.+))?", "info"),
    (rf"/{_REPO}\.git/info/lfs/objects/batch", "batch"),
    (r"/large/(\w+)", "put"),
    (rf"/{_REPO}/resolve/([^/]+)/(.+)", "resolve"),
)
