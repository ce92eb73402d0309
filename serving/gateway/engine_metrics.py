"""What an engine tells of itself at /metrics, in Prometheus's format.

    said = read(text)          # {"running": 3.0, "waiting": 0.0, "kv_usage": 0.41, ...}

vLLM's names are known, those of its version 0 included, and SGLang's. A number that is not there,
or that is none, is a gap: what was known before goes on being known, and `scrape_age_s` tells how
old that is.
"""

from math import isfinite

from prometheus_client.parser import text_string_to_metric_families

MOST = 1e12
# Ours: those of engines, of which the first that is there counts. Samples of one name are summed,
# as of several engine cores or models; of shares the largest counts.
_NAMES = {
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs"),
    "kv_usage": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"),
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
}
NEEDED = ("running", "waiting", "kv_usage")
_CACHE = "vllm:cache_config_info"  # its labels say how large the cache is
_WANTED = (*(name for names in _NAMES.values() for name in names), _CACHE)


def read(text: str) -> dict[str, float]:
    """What is told, of the keys of `_NAMES` and "cache_tokens".

    Raises:
        ValueError: for a text that is not in the format.
    """
    values: dict[str, list[float]] = {}
    said: dict[str, float] = {}
    # Engines tell thousands of lines, which take the parser some tens of milliseconds.
    wanted = "\n".join(line for line in text.splitlines() if line.startswith(_WANTED))
    try:
        for family in text_string_to_metric_families(wanted):
            for sample in family.samples:
                values.setdefault(sample.name, []).append(sample.value)
                if sample.name == _CACHE:
                    said |= _cache_tokens(sample.labels)
    except Exception as error:  # the parser raises whatever comes of a bad line
        raise ValueError(f"metrics are not in Prometheus's format: {error!r}") from error
    for name, known in _NAMES.items():
        found = next((values[each] for each in known if each in values), None)
        if found is None:
            continue
        value = max(found) if name == "kv_usage" else sum(found)
        if isfinite(value) and 0.0 <= value <= (1.0 if name == "kv_usage" else MOST):
            said[name] = value
    return said


def _cache_tokens(labels: dict[str, str]) -> dict[str, float]:
    blocks, size = labels.get("num_gpu_blocks", ""), labels.get("block_size", "")
    if not (blocks.isdecimal() and size.isdecimal()) or int(blocks) * int(size) == 0:
        return {}
    return {"cache_tokens": float(int(blocks) * int(size))}
