"""Regions of shared memory between Python and C: one layout, and nothing torn."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest
from c_programs import compiled
from shared_memory_cases import PATIENCE_S, is_whole, region_name, run

from marlserve.serving.shared_memory.shared_memory import FOLDER, SharedMemoryRegion


@pytest.fixture
def name():
    with region_name() as made:
        yield made


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    return compiled("peer", tmp_path_factory.mktemp("peer"))


@pytest.mark.parametrize("crc", [False, True])
def test_c_writes_what_python_reads(name, peer, crc):
    with SharedMemoryRegion.create(name, 7, crc=crc) as region:
        for number in (1, 2, 9):
            run(peer, name, "write", number)
            seen = region.read_msg_out()
            assert is_whole(seen)
        assert seen.number == 12
        assert 0.0 <= region.heartbeat_age_s() < PATIENCE_S


@pytest.mark.parametrize("crc", [False, True])
def test_python_writes_what_c_reads(name, peer, crc):
    with SharedMemoryRegion.create(name, 7, crc=crc) as region:
        with subprocess.Popen([peer, name, "echo"]) as echo:
            try:
                for number in range(1, 50):
                    region.write_msg_in(np.full(7, float(number)))
                    until_s = time.monotonic() + PATIENCE_S
                    while (seen := region.read_msg_out()) is None:
                        assert time.monotonic() < until_s
                    assert seen.completed.tolist() == [number] * 7
            finally:
                echo.kill()
        run(peer, name, "fill", 3)
        assert region.read_msg_in().weights.tolist() == [3.0] * 7


def test_c_makes_what_python_attaches_to(name, peer):
    pipe = subprocess.PIPE
    with subprocess.Popen([peer, name, "create", "5"], stdin=pipe, stdout=pipe) as maker:
        assert maker.stdout.readline() == b"made\n"
        with SharedMemoryRegion.attach(name) as region:
            assert (region.num_servers, region.owner_is_alive) == (5, True)
        with pytest.raises(ValueError, match="is there already"):
            SharedMemoryRegion.create(name, 5)
        second = subprocess.run([peer, name, "create", "5"], text=True, capture_output=True)
        assert (second.returncode, second.stdout) == (1, "File exists\n")
        maker.communicate(b"\n")
    with SharedMemoryRegion.attach(name) as region:
        assert not region.owner_is_alive


def test_c_refuses_what_python_refuses(name, peer):
    for place in (0, 4, 8, 12, 16, 20, 24, 28, 32):
        with SharedMemoryRegion.create(name, 3) as region:
            path = FOLDER / name
            whole = bytearray(path.read_bytes())
            whole[place] ^= 0x40
            path.write_bytes(whole)
            for file in (whole, whole[:100], whole[:-64], b""):
                path.write_bytes(file)
                done = subprocess.run([peer, name, "write", "1"], text=True, capture_output=True)
                assert (done.returncode, done.stdout) == (1, "Protocol error\n")
            region.unlink()


def test_nothing_is_torn_while_c_writes(name, peer):
    """A C writer at full speed, read by Python; it is killed again and again, at random."""
    rng, checked, kills = np.random.default_rng(0), 0, 0
    with SharedMemoryRegion.create(name, 64, ring=4) as region:
        while kills < 12 or checked <= 100:  # more of them where others are busy
            with subprocess.Popen([peer, name, "write", str(10**12)]) as writer:
                end_s = time.monotonic() + float(rng.uniform(0.01, 0.08))
                while time.monotonic() < end_s:
                    if (seen := region.read_msg_out()) is not None:
                        assert is_whole(seen)
                        checked += 1
                writer.send_signal(signal.SIGKILL)
            kills += 1
            seen = region.read_msg_out()
            assert seen is None or is_whole(seen)


@pytest.mark.slow
def test_nothing_is_torn_while_c_reads(name, peer):
    """C writes, C reads; the number of torn messages that a reader took is what it counts."""
    with (
        SharedMemoryRegion.create(name, 64),
        subprocess.Popen([peer, name, "write", str(10**12)]) as writer,
    ):
        whole, torn, starved, _ = map(float, run(peer, name, "read", 10**9, 3).split())
        writer.kill()
    assert torn == 0
    assert whole > 100
    assert starved < whole


@pytest.mark.slow
def test_sanitizers_find_nothing(name, tmp_path):
    program = compiled(
        "peer", tmp_path, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"
    )
    with SharedMemoryRegion.create(name, 7, crc=True) as region:
        run(program, name, "write", 100_000)
        assert is_whole(region.read_msg_out())
        run(program, name, "fill", 1000)
        with subprocess.Popen([program, name, "echo"]) as echo:
            run(program, name, "pong", 2_000)
            echo.kill()
        region.unlink()
    for file in (b"", bytes(500), os.urandom(3000)):
        (FOLDER / name).write_bytes(file)
        done = subprocess.run([program, name, "write", "1"], text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
def test_threads_race_for_nothing_but_atomics(name, tmp_path):
    """By ThreadSanitizer, in one process: across two it sees nothing. It does not model fences, so
    whether messages are whole is looked at as elsewhere."""
    flags = ("-g", "-O1", "-fsanitize=thread", "-Wno-tsan", "-pthread")
    program = compiled("peer", tmp_path, *flags)
    with SharedMemoryRegion.create(name, 7, crc=True):
        whole, torn, _, _ = map(float, run(program, name, "share", 10**9, 3).split())
    assert torn == 0
    assert whole > 100
