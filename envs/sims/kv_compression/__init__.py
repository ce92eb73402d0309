"""Language models that answer from compressed KV caches.

tasks           synthetic prompts, whose questions follow after the compression
small_llama     the model that is shipped, and how it is trained
language_model  models by name
methods         which entries stay: one formula each
attention       the scores that methods look at
cache           entries are evicted, positions are not
compression     a prompt is read once, all methods answer side by side
"""
