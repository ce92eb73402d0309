"""What was decided, and what came of it.

- `events`: what a log has, and its two halves joined
- `log`: the log, a SQLite file that a thread of its own writes
- `stream`: from that file to a Redis Stream and from there to other files
"""
