"""A small stand-in for the HTTP API of Hugging Face's hub."""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

TOKEN = "hf_of_the_tests"
LARGE = (".pt", ".h5ad", ".h5mu")  # stored as LFS objects


@dataclass
class Repo:
    """Files of each commit, and the newest of them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def commit(self, files, message):
        sha = hashlib.sha1(repr((len(self.order), sorted(files.items()))).encode()).hexdigest()
        self.commits[sha] = files
        self.order.append(sha)
        self.messages.append(message)
        return sha

    def find(self, revision):
        sha = self.order[-1] if revision == "main" else revision
        return (sha, self.commits[sha]) if sha in self.commits else (None, None)


class Hub:
    """Repositories, stored objects, and what was asked."""

    def __init__(self):
        self.repos: dict[str, Repo] = {}
        self.objects: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.url = ""


def _handler(hub: Hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def answer(self, status=200, body=b"", headers=()):
            if not isinstance(body, bytes):
                body = json.dumps(body).encode()
            self.send_response(status)
            for key, value in dict(headers).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def route(self):
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(self.path.split("?")[0])
            hub.asked.append(f"{self.command} {path}")
            may_write = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            for method, pattern, answer, writes in ROUTES:
                match = re.fullmatch(pattern, path)
                if match and self.command in method:
                    if writes and not may_write:
                        return self.answer(401, {"error": "Invalid credentials"})
                    return answer(self, sent, **match.groupdict())
            return self.answer(404, {"error": f"no route for {self.command} {path}"})

        do_GET = do_HEAD = do_POST = do_PUT = route

        def create(self, sent):
            asked = json.loads(sent)
            name = "/".join(filter(None, [asked.get("organization"), asked["name"]]))
            if name in hub.repos:
                return self.answer(409, {"url": f"{hub.url}/{name}"})
            is_private = asked.get("private") or asked.get("visibility") == "private"
            hub.repos[name] = Repo(bool(is_private))
            hub.repos[name].commit({}, "initial commit")
            return self.answer(200, {"url": f"{hub.url}/{name}"})

        def validate(self, sent):
            self.answer(200, {"errors": [], "warnings": []})

        def preupload(self, sent, repo, revision):
            files = [
                {
                    "path": one["path"],
                    "uploadMode": "lfs" if one["path"].endswith(LARGE) else "regular",
                    "shouldIgnore": False,
                }
                for one in json.loads(sent)["files"]
            ]
            self.answer(200, {"files": files})

        def batch(self, sent, repo):
            objects = [
                {**one, "actions": {"upload": {"href": f"{hub.url}/lfs/{one['oid']}"}}}
                for one in json.loads(sent)["objects"]
            ]
            self.answer(200, {"transfer": "basic", "objects": objects})

        def store(self, sent, oid):
            assert hashlib.sha256(sent).hexdigest() == oid
            hub.objects[oid] = sent
            self.answer(200)

        def commit(self, sent, repo, revision):
            found = hub.repos[repo]
            files = dict(found.find(revision)[1])
            summary = ""
            for line in sent.decode().splitlines():
                one = json.loads(line)
                key, value = one["key"], one["value"]
                if key == "header":
                    summary = value["summary"]
                elif key == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif key == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
                elif key == "deletedFile":
                    files.pop(value["path"])
                else:
                    return self.answer(400, {"error": f"unknown operation {key}"})
            sha = found.commit(files, summary)
            url = f"{hub.url}/{repo}/commit/{sha}"
            return self.answer(200, {"success": True, "commitOid": sha, "commitUrl": url})

        def info(self, sent, repo, revision="main"):
            sha, files = hub.repos[repo].find(revision) if repo in hub.repos else (None, None)
            if sha is None:
                code = "RevisionNotFound" if repo in hub.repos else "RepoNotFound"
                return self.answer(404, {"error": code}, {"X-Error-Code": code})
            siblings = [{"rfilename": path} for path in files]
            return self.answer(
                200,
                {
                    "_id": "1",
                    "id": repo,
                    "sha": sha,
                    "siblings": siblings,
                    "private": hub.repos[repo].private,
                    "tags": [],
                    "downloads": 0,
                    "likes": 0,
                },
            )

        def tree(self, sent, repo, revision):
            _, files = hub.repos[repo].find(revision)
            self.answer(200, [self.entry(path, data) for path, data in files.items()])

        def paths(self, sent, repo, revision):
            _, files = hub.repos[repo].find(revision)
            asked = json.loads(sent)["paths"]
            self.answer(200, [self.entry(path, files[path]) for path in asked if path in files])

        def entry(self, path, data):
            found = {
                "type": "file",
                "path": path,
                "size": len(data),
                "oid": hashlib.sha1(data).hexdigest(),
            }
            if path.endswith(LARGE):
                found["lfs"] = {
                    "oid": hashlib.sha256(data).hexdigest(),
                    "size": len(data),
                    "pointerSize": 134,
                }
            return found

        def resolve(self, sent, repo, revision, path):
            sha, files = hub.repos[repo].find(revision) if repo in hub.repos else (None, None)
            if sha is None or path not in files:
                return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
            data = files[path]
            digest = hashlib.sha256 if path.endswith(LARGE) else hashlib.sha1
            headers = {"X-Repo-Commit": sha, "ETag": f'"{digest(data).hexdigest()}"'}
            return self.answer(200, data, headers)

    name, revision = r"(?P<repo>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
    ROUTES = [
        (("POST",), "/api/repos/create", Handler.create, True),
        (("POST",), "/api/validate-yaml", Handler.validate, False),
        (("POST",), f"/api/models/{name}/preupload/{revision}", Handler.preupload, True),
        (("POST",), rf"/{name}\.git/info/lfs/objects/batch", Handler.batch, True),
        (("PUT",), "/lfs/(?P<oid>[0-9a-f]+)", Handler.store, False),
        (("POST",), f"/api/models/{name}/commit/{revision}", Handler.commit, True),
        (("GET",), f"/api/models/{name}", Handler.info, False),
        (("GET",), f"/api/models/{name}/revision/{revision}", Handler.info, False),
        (("GET",), f"/api/models/{name}/tree/{revision}", Handler.tree, False),
        (("POST",), f"/api/models/{name}/paths-info/{revision}", Handler.paths, False),
        (("GET", "HEAD"), f"/{name}/resolve/{revision}/(?P<path>.+)", Handler.resolve, False),
    ]
    return Handler


@contextmanager
def serving():
    """A hub on loopback."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
