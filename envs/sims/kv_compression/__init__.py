"""Language models that answer from compressed KV caches.

tasks           synthetic prompts, whose questions follow after the compression
small_llama     the model that is shipped, and how it is trained
language_model  models by name
gguf_files      models in the files of llama.cpp, one that talks among them
methods         which entries stay, by name: `attention_methods`, `key_methods`, `allotments`
method          what they have in common
attention       the scores that methods look at
queries         what the queries to come may be like
cache           entries are evicted, positions are not
compression     a prompt is read once, all methods answer side by side

They need the library transformers, which `pip install "marlserve[kv_compression]"` installs.
"""

try:
    import transformers  # noqa: F401
except ImportError as error:
    raise ImportError(
        "language models need the library transformers; "
        f'pip install "marlserve[kv_compression]" ({error})'
    ) from error
