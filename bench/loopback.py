"""The server of the stand-ins."""

from http.server import ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """On a free port of loopback, with a thread for each connection."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, handler):
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, *_):
        """A client that is done closes its connections."""
