"""A server of files, stopped after each test."""

import pytest

from tests.data.server import FileServer


@pytest.fixture
def server():
    server = FileServer()
    yield server
    server.stop()
