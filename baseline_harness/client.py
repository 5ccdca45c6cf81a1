"""The harness's end of its socket: one JSON object a line, one request at a time.

This file is fixed: it comes back unchanged whatever an edit of the harness does to it.
"""

import json
import os

MAX_LINE = 1 << 20


class Refused(Exception):
    """The other side answered with an error; ``code`` says which kind, ``message`` what is wrong.

    Codes: ``invalid_item``, ``bad_request``, ``order`` (strong_only before WEAK_PASSED) and
    ``limit`` (an allowance of this paper is used up; asking again is no use).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Client:
    """Asks for chats and evaluations and hands in results; raises ``Refused``."""

    def __init__(self) -> None:
        socket = int(os.environ["METAOPT_FD"])
        self._replies = os.fdopen(socket, "rb")
        self._requests = os.fdopen(socket, "wb", closefd=False)
        self._last_id = 0

    def chat(
        self, agent: str, messages: list, tools: list | None = None, schema: dict | None = None
    ) -> dict:
        """Ask an agent's model; returns {"content", "tool_calls", "finish_reason"}."""
        params = {"agent": agent, "messages": messages}
        if tools:
            params["tools"] = tools
        if schema:
            params["schema"] = schema
        return self._call("chat", params)

    def evaluate(self, item: dict, phase: str) -> dict:
        """Have solvers and judge try an item; phase is "weak_only" or "strong_only"."""
        return self._call("evaluate", {"item": item, "phase": phase})

    def submit(self, result: dict) -> dict:
        """Hand in the result so far, in the format of result.json; returns {"accepted"}."""
        return self._call("submit", {"result": result})

    def _call(self, method: str, params: dict) -> dict:
        self._last_id += 1
        request = {"id": self._last_id, "method": method, "params": params}
        line = json.dumps(request, allow_nan=False).encode() + b"\n"
        if len(line) > MAX_LINE:
            raise Refused("bad_request", f"{method}: {len(line)} bytes, at most {MAX_LINE} allowed")
        self._requests.write(line)
        self._requests.flush()
        answer = self._replies.readline()
        if not answer:
            raise ConnectionError("the socket was closed before the reply came")
        reply = json.loads(answer)
        if "error" in reply:
            raise Refused(reply["error"]["code"], reply["error"]["message"])
        return reply["result"]
