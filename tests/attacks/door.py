"""Misuse of the socket: lines that are no requests, and dealings that aren't the protocol.

A dealing is the body of a function that returns what it got by it; afterwards the harness goes on
as an honest one, if it still can.
"""

import json
from dataclasses import dataclass, field
from typing import Any

MIB = 1 << 20
HONEST_CALLS = {"weak": 3, "strong": 3, "judge": 6}
SHORT: dict[str, float] = {"idle_s": 0.4}
FEW: dict[str, float] = {"chats": 1, "items": 1}


@dataclass(frozen=True)
class Line:
    """One line, without its line feed, and what its refusal has to say."""

    name: str
    sent: bytes
    why: str = "not JSON"


@dataclass(frozen=True)
class Dealing:
    """``reason`` is the run's; ``asked`` is how often models may be asked, by role."""

    name: str
    source: str
    reason: str = "passed"
    limits: dict[str, float] = field(default_factory=dict)
    asked: dict[str, int] | None = None

    @property
    def calls(self) -> dict[str, int]:
        """The calls of the rollout: those of an honest one, or none, unless said otherwise."""
        if self.asked is not None:
            return self.asked
        return HONEST_CALLS if self.reason == "passed" else {}


def _line(name: str, method: Any, params: Any, why: str) -> Line:
    return Line(name, json.dumps({"id": 1, "method": method, "params": params}).encode(), why)


def _chat(name: str, why: str, **params: Any) -> Line:
    asked = {"agent": "main_agent", "messages": [{"role": "user", "content": "hi"}]}
    return _line(name, "chat", asked | params, why)


def _submit(name: str, why: str, **changes: Any) -> Line:
    result = {
        "paper_title": "", "question_type": "", "reasoning_skills": [], "rounds": [],
        "final_accepted_round": None, "total_rounds": 0,
    }  # fmt: skip
    return _line(name, "submit", {"result": result | changes}, why)


ROUND = {
    "refinement_round": 1, "question": "", "context": "", "reference_answer": "", "rubric": [],
    "accepted": True, "quality_verifier_kimi_passed": True, "quality_verifier_kimi_feedback": "",
    "weak_solver_avg": None, "strong_solver_avg": None, "gap": None, "eval_report": "",
    "eval_output_dir": "",
}  # fmt: skip
TOOL_CALL = {"id": "1", "function": {"name": "f", "arguments": "{}"}}

NOT_JSON = [
    Line("prose", b"no JSON"),
    Line("nothing", b""),
    Line("a NUL byte", b'\0{"id": 1}'),
    Line("a NUL byte in a word", b'{"id": 1, "method": "chat\0"}'),
    Line("a byte-order mark", b'\xef\xbb\xbf{"id": 1}'),
    Line("UTF-16", '{"id": 1}'.encode("utf-16")),
    Line("bytes that are no UTF-8", b'{"id": 1, "x": "\xff"}'),
    Line("overlong UTF-8", b'{"id": 1, "x": "\xc0\xae"}'),
    Line("a surrogate in UTF-8", b'{"id": 1, "x": "\xed\xa0\x80"}'),
    Line("half a surrogate pair", b'{"id": 1, "x": "\\ud800"}', "surrogate"),
    Line("the other half", b'{"id": 1, "x": "\\udc00"}', "surrogate"),
    Line("half a pair as a key", b'{"id": 1, "\\ud800": 1}', "surrogate"),
    Line("two objects", b'{"id": 1} {"id": 2}'),
    Line("two lines for some", b'{"id": 1}\r{"id": 2}'),
    Line("single quotes", b"{'id': 1}"),
    Line("a comment", b'{"id": 1} // hi'),
    Line("a trailing comma", b'{"id": 1,}'),
    Line("half an object", b'{"id": 1'),
    Line("NaN", b'{"id": NaN}', "NaN is not JSON"),
    Line("minus infinity", b'{"id": -Infinity}', "-Infinity is not JSON"),
    Line("infinity in digits", b'{"id": 1, "x": 1e999}', "too large"),
    Line("minus infinity in digits", b'{"id": 1, "x": -1e999}', "too large"),
    Line("an integer of 5,000 digits", b'{"id": 1, "x": ' + b"9" * 5_000 + b"}"),
    Line(
        "a float of a million digits", b'{"id": 1, "x": ' + b"9" * 1_000_000 + b".0}", "too large"
    ),
    Line("a leading zero", b'{"id": 01}'),
    Line("deep lists", b'{"id": 1, "x": ' + b"[" * 70 + b"]" * 70 + b"}", "nested too deeply"),
    Line("bottomless lists", b'{"id": 1, "x": ' + b"[" * 500_000, "nested too deeply"),
    Line("bottomless objects", b'{"x":' * 170_000, "nested too deeply"),
    Line("a key twice", b'{"id": 1, "id": 2}', "duplicate key 'id'"),
    Line("a key twice further in", b'{"id": 1, "x": [{"a": 1, "a": 1}]}', "duplicate key 'a'"),
]
NOT_REQUESTS = [
    Line("a list", b"[1]", "a request is a JSON object"),
    Line("a million zeros", b"[" + b"0," * 500_000 + b"0]", "a request is a JSON object"),
    Line("no method", b'{"id": 1}', "method: must be"),
    Line("no id", b'{"method": "chat"}', "id: must be"),
    Line("a fraction for an id", b'{"id": 1.5, "method": "chat"}', "id: must be"),
    Line("a truth value for an id", b'{"id": true, "method": "chat"}', "id: must be"),
    Line("a list for an id", b'{"id": [1], "method": "chat"}', "id: must be"),
    _line("an unknown method", "shell", {}, "method: must be"),
    _line("an inner method", "_chat", {}, "method: must be"),
    _line("a list for a method", ["chat"], {}, "method: must be"),
    _line("a list for parameters", "chat", [], "params: must be"),
    _line("no parameters", "evaluate", None, "params: must be"),
    _chat("a judge's chat", "agent", agent="judge"),
    _chat("a chat with two agents", "agent", agent=["main_agent"]),
    _chat("a chat without messages", "messages", messages=[]),
    _chat("a thousand and one messages", "messages", messages=[{"role": "user"}] * 1_001),
    _chat("a developer's message", "role", messages=[{"role": "developer", "content": ""}]),
    _chat("an address for a model to fetch", "content", messages=[
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x"}}]}
    ]),
    _chat("33 tool calls", "tool_calls", messages=[
        {"role": "assistant", "tool_calls": [TOOL_CALL] * 33}
    ]),
    _chat("33 tools", "tools", tools=[{"type": "function", "function": {}}] * 33),
    _chat("a provider's own tool", "tools[0].type", tools=[{"type": "web_search"}]),
    _chat("a model of its choice", "model", model="gpt"),
    _chat("a temperature of its choice", "temperature", temperature=0),
    _chat("text for a schema", "schema", schema="{}"),
    _line("a phase that isn't one", "evaluate", {"item": {}, "phase": "strong"}, "phase"),
    _line("a list for an item", "evaluate", {"item": [], "phase": "weak_only"}, "item"),
    _line("a judge of its choice", "evaluate",
          {"item": {}, "phase": "weak_only", "judge": "x"}, "judge"),
    _line("a result that is none", "submit", {"result": {}}, "result.paper_title"),
    _submit("a hundred and one rounds", "rounds", rounds=[ROUND] * 101),
    _submit("a hundred thousand rounds", "rounds", rounds=[0] * 100_000),
    _submit("text for a number", "total_rounds", total_rounds="1"),
    _submit("text for a score", "gap", rounds=[{**ROUND, "gap": "0.8"}]),
]  # fmt: skip
LINES = [*NOT_JSON, *NOT_REQUESTS]

ENDINGS = [
    Dealing("does nothing", "os._exit(0)", "no_result"),
    Dealing("half a line", "send('{\"id\": 1'); os._exit(0)", "no_result"),
    Dealing("exits with a status", "os._exit(3)", "crashed"),
    Dealing("dies after submitting", "call('submit', result=result()); os.abort()", "crashed"),
    Dealing("hangs", "time.sleep(60)", "timed_out", SHORT),
    Dealing(
        "hangs after submitting", "call('submit', result=result()); time.sleep(60)", "timed_out",
        SHORT,
    ),
    Dealing("lingers", "SOCKET.close(); LINES.close(); time.sleep(60)",
            "timed_out", SHORT),
    Dealing(
        "lingers with half of it closed", "SOCKET.shutdown(socket.SHUT_WR); time.sleep(60)",
        "timed_out", SHORT,
    ),
    Dealing(
        "wants no replies",
        """
        SOCKET.shutdown(socket.SHUT_RD)
        send(json.dumps({"id": 1, "method": "submit", "params": {"result": result()}}) + "\\n")
        os._exit(0)
        """,
        "not_accepted",
    ),
    Dealing(
        "leaves in the middle of an evaluation",
        """
        params = {"item": ITEM, "phase": "weak_only"}
        send(json.dumps({"id": 1, "method": "evaluate", "params": params}) + "\\n")
        os._exit(0)
        """,
        "no_result",
        asked={"weak": 3, "judge": 3},
    ),
    Dealing(
        "asks for all, then closes its half",
        """
        asks = [("evaluate", {"item": ITEM, "phase": p}) for p in ("weak_only", "strong_only")]
        asks.append(("submit", {"result": result()}))
        for n, (method, params) in enumerate(asks):
            send(json.dumps({"id": n, "method": method, "params": params}) + "\\n")
        SOCKET.shutdown(socket.SHUT_WR)
        assert [json.loads(LINES.readline())["id"] for _ in asks] == [0, 1, 2]
        os._exit(0)
        """,
    ),
]  # fmt: skip

FLOODS = [
    Dealing("a byte at a time", "while True: send(b'x'); time.sleep(0.01)", "timed_out",
            {"own_s": 0.4}),
    Dealing("a byte now and then", "while True: send(b'x'); time.sleep(0.05)", "timed_out", SHORT),
    Dealing(
        "requests for ever", "while True: call('submit', result=result()); time.sleep(0.05)",
        "timed_out", {"own_s": 0.4},
    ),
    Dealing("a line of two megabytes", "send(b'x' * (2 << 20)); LINES.readline()", "junk"),
    Dealing("a byte too many", "send(b' ' * (1 << 20) + b'\\n'); LINES.readline()", "junk"),
    Dealing("a line without an end", "while True: send(b'x' * 65536)", "junk"),
    Dealing("junk", "while True: send(b'junk\\n' * 1000)", "junk"),
    Dealing("nothing but line feeds", "while True: send(b'\\n' * 1000)", "junk"),
    Dealing(
        "refusals", "while True: call('evaluate', item={}, phase='weak_only')", "junk", FEW
    ),
    Dealing(
        "refusals of a megabyte",
        "while True: call('evaluate', item={'question': 'x' * 1_000_000}, phase='weak_only')",
        "junk", FEW,
    ),
    Dealing(
        "thousands of requests at once",
        """
        line = json.dumps({"id": 1, "method": "submit", "params": {"result": result()}}) + "\\n"
        threading.Thread(target=LINES.read, daemon=True).start()
        send(line * 3_000)
        """,
        "junk",
    ),
    Dealing(
        "replies never read",
        """
        ask = {"agent": "main_agent", "messages": [{"role": "user", "content": "x" * 90000}]}
        line = json.dumps({"id": "i" * 500_000, "method": "chat", "params": ask})
        while True: send(line + "\\n")
        """,
        "timed_out", {**SHORT, "chats": 20}, {"main_agent": 1},
    ),
    Dealing(
        "chats of a megabyte",
        """
        for n in range(40):
            said = [{"role": "user", "content": f"{n:02}" * 480_000}]
            reply = call("chat", agent="main_agent", messages=said)
            if "error" in reply:
                assert reply["error"]["code"] == "limit"
                return None
        return "forty megabytes on our disk"
        """,
        asked={"main_agent": 18, **HONEST_CALLS},
    ),
]  # fmt: skip

SOCKETS = [
    Dealing(
        "descriptors passed along",
        """
        import array
        null = array.array("i", [os.open("/dev/null", 0)] * 100)
        for n in range(15):  # as many as are forgiven
            SOCKET.sendmsg([b"x\\n"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, null)])
            LINES.readline()
        """,
    ),
    Dealing(
        "descriptors in every byte",
        """
        import array
        null = array.array("i", [os.open("/dev/null", 0)] * 200)
        for byte in json.dumps({"id": 1, "method": "chat"}).encode() + b"\\n":
            try:
                passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, null)]
                SOCKET.sendmsg([bytes([byte])], passed)
            except OSError:  # the kernel has had enough of them
                send(bytes([byte]))
        LINES.readline()
        """,
    ),
    Dealing(
        "its own end passed along",
        """
        import array
        mine = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [FD]))]
        SOCKET.sendmsg([b"x\\n"], mine)
        LINES.readline()
        """,
    ),
    Dealing(
        "somebody else's credentials",
        """
        import struct
        forged = [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("3i", 1, 0, 0))]
        SOCKET.sendmsg([b" "], forged)
        """,
    ),
    Dealing(
        "looks for descriptors in replies",
        """
        send(b"x\\n")
        return SOCKET.recvmsg(65536, 65536)[1] or None
        """,
    ),
    Dealing("a byte out of band", "SOCKET.send(b' ', socket.MSG_OOB)"),
    Dealing(
        "bytes out of band in a line",
        """
        for part in (b'{"id": 1, ', b'"method": ', b'"chat"}\\n'):
            SOCKET.send(part)
            try:
                SOCKET.send(b" ", socket.MSG_OOB)
            except OSError:
                pass
        LINES.readline()
        """,
    ),
    Dealing(
        "buffers of a byte",
        """
        SOCKET.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        SOCKET.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        """,
    ),
    Dealing("a hundred handles on it", "for _ in range(100): os.close(os.dup(FD))"),
]

ORDER = [
    Dealing(
        "races for a second throw of the dice",
        """
        asks = [("evaluate", {"item": ITEM, "phase": "weak_only"})] * 8
        lines = [json.dumps({"id": n, "method": m, "params": p}) for n, (m, p) in enumerate(asks)]
        threads = [threading.Thread(target=send, args=(line + "\\n",)) for line in lines]
        [t.start() for t in threads]
        [t.join() for t in threads]
        replies = [json.loads(LINES.readline()) for _ in lines]
        assert sorted(r["id"] for r in replies) == list(range(8))
        return None if all(r["result"] == replies[0]["result"] for r in replies) else replies
        """,
    ),
    Dealing(
        "one id for all",
        """
        asks = [{"method": "evaluate", "params": {"item": ITEM, "phase": "strong_only"}},
                {"method": "submit", "params": {"result": result()}}, {"method": "nothing"}]
        send("".join(json.dumps({"id": 7, **ask}) + "\\n" for ask in asks))
        replies = [json.loads(LINES.readline()) for _ in asks]
        told = [r.get("result") or r["error"]["code"] for r in replies]
        return None if told == ["order", {"accepted": False}, "bad_request"] else told
        """,
    ),
    Dealing(
        "an id of half a megabyte",
        """
        ident = "i" * 500_000
        send(json.dumps({"id": ident, "method": "nothing"}) + "\\n")
        return None if json.loads(LINES.readline())["id"] == ident else "another's"
        """,
    ),
    Dealing(
        "halves of lines from two threads",
        """
        halves = [b'{"id": 1, "method": ', b'"nothing"}\\n'] * 4
        threads = [threading.Thread(target=send, args=(half,)) for half in halves]
        [t.start() for t in threads]
        [t.join() for t in threads]
        for _ in range(4):
            LINES.readline()
        send(b"\\n")  # what may be left of a line
        LINES.readline()
        """,
    ),
    Dealing(
        "goes on after handing in",
        "call('submit', result=result()); call('submit', result=result() | {'rounds': []})",
    ),
    Dealing(
        "lines that end as elsewhere",
        """
        send(b'{"id": 1, "method": "nothing"}\\r\\n')
        return None if json.loads(LINES.readline())["id"] == 1 else "lost"
        """,
    ),
    Dealing(
        "a megabyte of blanks before a request",
        """
        send(b" " * 1_048_000 + b'{"id": 1, "method": "nothing"}\\n')
        return None if json.loads(LINES.readline())["id"] == 1 else "lost"
        """,
    ),
    Dealing(
        "a million empty lists in a request",
        """
        send(b'{"id": 1, "method": "submit", "params": [' + b"[]," * 340_000 + b"[]]}\\n")
        return None if "error" in json.loads(LINES.readline()) else "accepted"
        """,
    ),
    Dealing(
        "an item that steers terminals",
        """
        odd = {**ITEM, "question": "\\0\\x1b[2J\\u202e\\u2028Why?", "context": "\\x1b]0;x\\x07"}
        evaluate(odd)
        call("submit", result=result(odd, quality_verifier_kimi_feedback="\\0\\x9b31m"))
        """,
        asked={"weak": 6, "strong": 6, "judge": 12},
    ),
    Dealing("words that steer terminals", "os.write(2, b'\\x1b[2J\\xff\\xfe\\0\\r\\n')"),
]

DEALINGS = [*ENDINGS, *FLOODS, *SOCKETS, *ORDER]
