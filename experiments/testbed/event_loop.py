"""The loop of events that servers and clients run: uvloop's, which takes half of asyncio's time."""

import asyncio


def event_loop() -> asyncio.AbstractEventLoop:
    """A new one. Its own clock counts milliseconds: whoever needs more asks `time.monotonic`.

    Raises:
        ImportError: without the library.
    """
    try:
        import uvloop
    except ImportError as error:
        raise ImportError(
            f'real traffic needs uvloop; pip install "marlserve[balancers]" ({error})'
        ) from error
    return uvloop.new_event_loop()
