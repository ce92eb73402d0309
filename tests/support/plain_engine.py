"""One engine of `replica`, written again as plainly as its rules are told, and slowly.

A cached block is an object; what is idle lies in a list, the one to go first in front.
"""

from dataclasses import dataclass, field


@dataclass(eq=False)
class Block:
    key: object = None
    users: int = 0


@dataclass(eq=False)
class Request:
    number: int
    arrival_ns: int
    prompt: int
    output: int
    chain: tuple
    generated: int = 0
    computed: int = 0
    blocks: list = field(default_factory=list)
    admitted: list = field(default_factory=list)  # time and reused tokens of every admission
    tokens_ns: list = field(default_factory=list)
    rejected: bool = False

    @property
    def known(self):
        return self.prompt + self.generated

    def key(self, index, size, chain_tokens):
        end = (index + 1) * size
        ids = (end - 1) // chain_tokens + 1
        if end <= self.prompt and ids <= len(self.chain):
            return self.chain[:ids], index
        return self.number, index


class PlainEngine:
    """`play` serves requests, sorted by arrival, and returns them with their times."""

    def __init__(self, engine, chain_tokens):
        self.engine, self.chain_tokens = engine, chain_tokens
        self.free = [Block() for _ in range(engine.num_blocks)]
        self.idle, self.copies = [], {}  # copies: {key: blocks, the oldest first}
        self.running, self.waiting, self.passes = [], [], []

    def play(self, requests):
        ahead, now_ns = list(requests), 0
        while ahead or self.waiting or self.running:
            if not (self.waiting or self.running):
                now_ns = max(now_ns, ahead[0].arrival_ns)
            while ahead and ahead[0].arrival_ns <= now_ns:
                self.waiting.append(ahead.pop(0))
            now_ns = self.one_pass(now_ns)
        return requests

    def one_pass(self, start_ns):
        size, budget, preempted = (
            self.engine.block_tokens,
            self.engine.max_num_batched_tokens,
            False,
        )
        there = {}
        for request in list(self.running):
            if budget == 0 or request not in self.running:
                break
            take = min(request.known - request.computed, budget)
            while self.lacking(request, take) > len(self.free) + len(self.idle):
                preempted = True
                victim = self.running.pop()
                self.give_back(victim)
                victim.computed = 0
                self.waiting.insert(0, victim)
                if victim is request:
                    break
            if request not in self.running:
                break
            there[request.number] = min(request.computed, request.prompt)
            self.compute(request, take)
            budget -= take
        while not preempted and self.waiting and len(self.running) < self.engine.max_num_seqs:
            request = self.waiting[0]
            whole = -(-request.known // size)
            if whole > self.engine.num_blocks:
                self.waiting.pop(0).rejected = True
                continue
            hits = self.hits(request)
            in_use = sum(block.users > 0 for block in hits)
            take = min(request.known - len(hits) * size, budget)
            if whole - in_use > len(self.free) + len(self.idle) or take == 0:
                break
            self.waiting.pop(0)
            for block in hits:
                if block.users == 0:
                    self.idle.remove(block)
                block.users += 1
            request.blocks, request.computed = list(hits), len(hits) * size
            request.admitted.append((start_ns, request.computed))
            self.running.append(request)
            there[request.number] = min(request.computed, request.prompt)
            self.compute(request, take)
            budget -= take
        return self.end_pass(start_ns, there)

    def end_pass(self, start_ns, there):
        spans = [
            (there[request.number], min(request.computed, request.prompt))
            for request in self.running
            if there.get(request.number, request.prompt) < min(request.computed, request.prompt)
        ]
        ready = [request for request in self.running if request.computed == request.known]
        lengths = [request.known for request in ready if request.generated > 0]
        end_ns = start_ns + self.length_ns(spans, lengths)
        self.passes.append((start_ns, end_ns, spans, lengths, len(self.waiting)))
        for request in ready:
            if request.generated < request.output:
                request.generated += 1
                request.tokens_ns.append(end_ns)
            if request.generated == request.output:
                request.done_ns = end_ns
                self.running.remove(request)
                self.give_back(request)
        return end_ns

    def length_ns(self, spans, lengths):
        """Of a pass that computes these spans of prompts, and decodes with these contexts."""
        timing, total_ns = self.engine.timing, 0
        if spans:
            before, after = (sum(x) // len(spans) for x in zip(*spans, strict=True))
            new = len(spans) * (after - before)
            ms = timing.prefill_ms + timing.per_new_ms * new + timing.per_new2_ms * new * new
            total_ns += round(1e6 * ms) if new > 0 else 0
        if lengths:
            x = min(sum(lengths), timing.full_context) / timing.context_unit
            ms = timing.decode_ms + timing.per_context_ms * x + timing.per_context2_ms * x * x
            total_ns += round(1e6 * max(timing.least_decode_ms, ms))
        return total_ns

    def hits(self, request):
        found, size = [], self.engine.block_tokens
        while self.engine.prefix_caching and len(found) < (request.known - 1) // size:
            copies = self.copies.get(request.key(len(found), size, self.chain_tokens))
            if not copies:
                break
            found.append(copies[0])
        return found

    def lacking(self, request, take):
        return -(-(request.computed + take) // self.engine.block_tokens) - len(request.blocks)

    def compute(self, request, take):
        size = self.engine.block_tokens
        for _ in range(self.lacking(request, take)):
            block = self.free.pop() if self.free else self.idle.pop(0)
            if block.key is not None:
                self.copies[block.key].remove(block)
            block.key, block.users = None, 1
            request.blocks.append(block)
        full = request.computed // size
        request.computed += take
        for index in range(full, request.computed // size if self.engine.prefix_caching else 0):
            block = request.blocks[index]
            block.key = request.key(index, size, self.chain_tokens)
            self.copies.setdefault(block.key, []).append(block)

    def give_back(self, request):
        while request.blocks:
            block = request.blocks.pop()
            block.users -= 1
            if block.users == 0:
                (self.free if block.key is None else self.idle).append(block)
