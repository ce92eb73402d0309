"""An engine behind OpenAI's interface, on a real socket, that takes its time from the simulator.

    async with engine() as made:
        made.url, made.seen            # what it was asked
        made.mode = "hangs"            # see MODES

Tokens come pass by pass, as `envs.sims.replica_timing` says: a prompt by what its cache does not
have, then one token after the other, with the context of all that run. A second is `SCALE` of a
second. It tells of itself what vLLM tells.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from marlserve.envs.sims.replica_timing import Timing, pass_ns

SCALE = 0.05
BLOCK, NUM_BLOCKS = 16, 4_096
MODES = (
    *("well", "fails", "is busy", "hangs", "closes", "cuts", "babbles", "stops before a token"),
    *("is unwell", "keeps quiet", "tells NaN", "tells nonsense"),
)
_HEAD = "HTTP/1.1 {status} Whatever\r\ncontent-type: {kind}\r\nx-engine: {name}\r\n"


class Engine:
    """See the module.

    Attributes:
        slowness: times as slow.
        goes_on: cleared, it makes no more tokens until it is set again.
        seen: (headers, body) of requests for completions.
        asked: requests of any kind, by path.
        running: that are under way now.
        left: requests that were given up by who asked.
    """

    def __init__(self) -> None:
        self.mode, self.slowness, self.port = "well", 1.0, 0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.seen: list[tuple[dict[str, str], dict]] = []
        self.asked: Counter[str] = Counter()
        self.running: dict[int, int] = {}  # {number: tokens}
        self.left = self.hits = self.queries = 0
        self._blocks: set[int] = set()
        self._timing = Timing().row()
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task, asyncio.StreamWriter] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """As if its process had ended: connections break, its cache is gone."""
        assert self._server is not None
        self._server.close()
        for task, writer in list(self._open.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._open)
        self._open.clear()
        self._blocks.clear()
        self.running.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while (line := await reader.readline()) != b"\r\n":
                    name, _, value = line.decode().partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                await self._answer(method, target, headers, body, reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # whoever asked is gone, or it was killed
        finally:
            self._open.pop(task, None)
            writer.close()

    async def _answer(self, method, target, headers, body, reader, writer) -> None:
        path = target.partition("?")[0]
        self.asked[path] += 1
        if path == "/health":
            self._whole(writer, 503 if self.mode == "is unwell" else 200, "")
        elif path == "/metrics":
            if self.mode == "keeps quiet":
                await asyncio.sleep(60)
            self._whole(writer, 200, self._metrics())
        elif path == "/v1/models":
            self._whole(writer, 200, json.dumps({"object": "list", "data": [{"id": "tiny"}]}))
        else:
            await self._complete(path, headers, body, reader, writer)

    async def _complete(self, path, headers, body, reader, writer) -> None:
        said = json.loads(body)
        self.seen.append((headers, said))
        number, mode = len(self.seen), self.mode
        if mode in ("fails", "is busy"):
            error = {"error": {"message": mode, "code": 500}}
            self._whole(writer, 500 if mode == "fails" else 429, json.dumps(error))
        elif mode == "babbles":
            writer.write(b"how do you do?\r\n\r\n")
        elif mode == "closes":
            writer.transport.abort()
        elif mode == "hangs":
            await asyncio.sleep(60)
        elif not isinstance(said.get("max_tokens", 8), int):
            error = {"error": {"message": "max_tokens", "code": 400}}
            self._whole(writer, 400, json.dumps(error))
        else:
            try:
                await self._generate(number, path, said, reader, writer)
            except ConnectionError:
                self.left += 1
            finally:
                self.running.pop(number, None)

    async def _generate(self, number, path, said, reader, writer) -> None:
        prompt = said.get("messages") or said.get("prompt") or ""
        tokens = prompt if isinstance(prompt, list) else json.dumps(prompt).split()
        tokens = list(map(str, tokens))
        cached = self._cached(tokens)
        output, is_chat = said.get("max_tokens", 8), "chat" in path
        self.running[number] = len(tokens)
        usage = {
            "prompt_tokens": len(tokens),
            "completion_tokens": output,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
        stream = said.get("stream", False)
        if stream:
            writer.write(self._head(200, "text/event-stream", "transfer-encoding: chunked"))
        if self.mode == "stops before a token":
            await writer.drain()
            writer.transport.abort()
            return
        await self._pass(len(tokens) - cached, 0)
        words = []
        for i in range(output):
            if i:
                await self._pass(0, len(self.running))
            self.running[number] += 1
            words.append(f"w{i} ")
            if reader.at_eof() or writer.transport.is_closing():
                raise ConnectionError
            if stream:
                self._event(writer, self._choice(is_chat, words[-1], number))
                await writer.drain()
            if self.mode == "cuts" and i == output // 2:
                writer.transport.abort()
                return
        whole = self._choice(is_chat, "".join(words), number) | {"usage": usage}
        if not stream:
            self._whole(writer, 200, json.dumps(whole))
            return
        if said.get("stream_options"):
            self._event(writer, {"id": f"cmpl-{number}", "choices": [], "usage": usage})
        writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")

    def _cached(self, tokens: list[str]) -> int:
        """Tokens of full blocks that it has, all but the last token at most; they are there now."""
        found, seed = 0, 0
        for end in range(BLOCK, len(tokens) + 1, BLOCK):
            seed = hash((seed, *tokens[end - BLOCK : end]))
            if seed in self._blocks and found == end - BLOCK and end < len(tokens):
                found = end
            self._blocks.add(seed)
        self.hits, self.queries = self.hits + found, self.queries + len(tokens)
        return found

    async def _pass(self, new: int, sequences: int) -> None:
        context = sum(self.running.values())
        took_ns = pass_ns(self._timing, self.slowness, new, 0.0, sequences, context)
        await asyncio.sleep(SCALE * took_ns / 1e9)
        await self.goes_on.wait()

    def _choice(self, is_chat: bool, text: str, number: int) -> dict:
        what = {"delta": {"content": text}} if is_chat else {"text": text}
        return {"id": f"cmpl-{number}", "choices": [{"index": 0, **what}]}

    def _event(self, writer, content: dict) -> None:
        data = f"data: {json.dumps(content)}\n\n".encode()
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    def _head(self, status: int, kind: str, more: str) -> bytes:
        return f"{_HEAD.format(status=status, kind=kind, name=self.port)}{more}\r\n\r\n".encode()

    def _whole(self, writer, status: int, text: str) -> None:
        data = text.encode()
        writer.write(self._head(status, "application/json", f"content-length: {len(data)}") + data)

    def _metrics(self) -> str:
        if self.mode == "tells nonsense":
            return "no { metrics at all\n"
        usage = sum(self.running.values()) / (BLOCK * NUM_BLOCKS)
        numbers = {
            "num_requests_running": len(self.running),
            "num_requests_waiting": 0,
            "kv_cache_usage_perc": "NaN" if self.mode == "tells NaN" else usage,
            "prefix_cache_hits_total": self.hits,
            "prefix_cache_queries_total": self.queries,
        }
        info = f'vllm:cache_config_info{{block_size="{BLOCK}",num_gpu_blocks="{NUM_BLOCKS}"}} 1'
        told = [f'vllm:{name}{{model_name="tiny"}} {value}' for name, value in numbers.items()]
        return "\n".join([*told, info, ""])


@asynccontextmanager
async def engine(port: int = 0) -> AsyncIterator[Engine]:
    """One that listens."""
    made = Engine()
    made.port = port
    await made.start()
    try:
        yield made
    finally:
        await made.kill()
