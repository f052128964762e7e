"""An S3 server on this machine (moto's), with faults on the way to it, and buckets of pictures."""

import random
import threading
from collections import Counter
from contextlib import contextmanager

from batch_examples import picture_bytes

# botocore tries five times by itself; here it is for the batch to do so.
KEYS = {
    "AWS_MAX_ATTEMPTS": "1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_INTERNAL = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class Faults:
    """Between clients and the server: refuses some requests, as a busy store does.

    Attributes:
        share: of the requests to objects that is refused.
        broken: keys that are never given or taken.
        seen: requests by method and status; parts of uploads as "PART".
    """

    def __init__(self, app):
        self._app, self._lock = app, threading.Lock()
        self.share, self.broken, self.seen, self._dice = 0.0, frozenset(), Counter(), random.Random(5)

    def __call__(self, environ, start_response):
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        object_asked = path.count("/") >= 2 and path.rpartition("/")[2]
        with self._lock:
            refused = object_asked and self._dice.random() < self.share
        if refused or any(one in path for one in self.broken):
            body, status = (_SLOW_DOWN, "503 Slow Down") if self._dice.random() < 0.5 else (_INTERNAL, "500 Internal")
            self.seen[method, status[:3]] += 1
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            return [] if method == "HEAD" else [body]
        if "partNumber=" in environ.get("QUERY_STRING", ""):
            self.seen["PART", "sent"] += 1

        def told(status, *rest):
            self.seen[method, status[:3]] += 1
            return start_response(status, *rest)

        return self._app(environ, told)


@contextmanager
def server():
    """URL of a server, and the faults before it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *arguments):
            pass

    faults = Faults(DomainDispatcherApplication(create_backend_app))
    serving = make_server("127.0.0.1", 0, faults, threaded=True, request_handler=Quiet)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{serving.port}", faults
    finally:
        serving.shutdown()


def bucket(name, count):
    """A new bucket with ``count`` pictures below ``source/``."""
    files = filesystem()
    files.mkdir(name)
    for at in range(count):
        files.pipe_file(f"{name}/source/{at % 2}/{at}.png", picture_bytes(at))
    return files


def filesystem():
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    return s3fs.S3FileSystem(use_listings_cache=False)
