"""The app as a module, for Faust's own command line: `faust -A cxstream.worker.main agents`."""

from cxstream.settings import load
from cxstream.worker.faust.app import create_app

app = create_app(load())
