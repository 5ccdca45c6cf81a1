"""A chat-completions server that answers everything with one text after a fixed time.

    python benchmarks/mock_server.py [--port 8765] [--latency 0.2] [--content-file FILE]

One process, asyncio alone, hardly any work per request: it must not be what a benchmark measures.
"""

import argparse
import asyncio
import json
from pathlib import Path


def response(content: str) -> bytes:
    """The whole HTTP response, made once."""
    body = json.dumps(
        {
            "id": "chatcmpl-mock",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "mock",
            "choices": [
                {
                    "index": 0,
                    "finish_reason": "stop",
                    "message": {"role": "assistant", "content": content},
                }
            ],
            "usage": {"prompt_tokens": 120, "completion_tokens": 12, "total_tokens": 132},
        }
    ).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Connection(asyncio.Protocol):
    """Reads requests by their Content-Length; the answer goes out ``latency`` seconds later."""

    def __init__(self, latency: float, answer: bytes) -> None:
        self._latency, self._answer = latency, answer
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._received[:end]).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0] or 0)
            if len(self._received) < end + 4 + length:
                return
            del self._received[: end + 4 + length]
            asyncio.get_running_loop().call_later(self._latency, self._reply)

    def _reply(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(self._answer)


async def serve(port: int, latency: float, content: str) -> None:
    """Serve until killed."""
    loop, answer = asyncio.get_running_loop(), response(content)
    server = await loop.create_server(
        lambda: Connection(latency, answer), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


def main() -> None:
    """Parse the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--latency", type=float, default=0.2, help="seconds")
    parser.add_argument("--content-file", type=Path, help="the text of every answer")
    options = parser.parse_args()
    content = options.content_file.read_text(encoding="utf-8") if options.content_file else "ok"
    asyncio.run(serve(options.port, options.latency, content))


if __name__ == "__main__":
    main()
