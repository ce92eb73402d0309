"""What the client in C++ has no room for while its trainer is away waits on the disk."""

import numpy as np
import pytest
from cpp_programs import CPP, Console, ready
from external_cases import agent_of, everything, fronted, inlet_of, policy, until
from trainer_process import Trainer, file_of, free_port

pytestmark = CPP


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_trainer_that_was_away_learns_from_what_was_spilled(tmp_path):
    """A real one, with a replay, which learns from steps of any age; one file was broken since."""
    address, spilled = f"127.0.0.1:{free_port()}", tmp_path / "spilled"
    config = file_of(
        tmp_path,
        algorithm_name="DQN",
        type="offpolicy",
        train_server_address=address,
        when_full="drop",
        client_id="policy",
    )
    said = {"max_traj_length": 5, "buffer_steps": 20, "when_full": "spill"}
    own = tmp_path / "own"
    own.mkdir()
    trainer = Trainer(config)
    try:
        with Console(own, address, spill_folder=str(spilled), **said) as client:
            assert client.ask("wait", 120)
            client.live([1.0] * 5)
            until(lambda: client.counts()["sent"] == 5)
            assert trainer.end() == 0
            until(lambda: client.counts()["trouble"])
            for _ in range(20):
                client.live([1.0] * 5)
            files = sorted(spilled.glob("*.fragment"))
            # 20 steps wait in the queue, and some in the hands of the sender.
            assert 10 <= len(files) <= 16
            files[-1].write_bytes(b"broken")
            trainer = Trainer(config)
            until(lambda: client.counts()["sent"] == 100)
            counts = client.close()
        assert counts["lost"] == {"unreadable": 1}
        assert not list(spilled.iterdir())
        until(lambda: trainer.counts()["received"] == 95)
        assert trainer.end() == 0
    finally:
        trainer.kill()


def test_a_client_in_python_sends_what_one_in_cpp_has_left(tmp_path):
    left = tmp_path / "left"
    said = {"when_full": "spill", "spill_folder": str(left)}
    with fronted() as front:
        address, inlet = front.address, inlet_of(front)
        inlet.publish(policy(), 0.0)
        client = ready(tmp_path, front, max_traj_length=5, buffer_steps=5, **said)
        inlet.close()
    with client:
        until(lambda: client.counts()["trouble"])
        for episode in range(8):
            client.live([float(episode)] * 5)
        counts = client.close(0.2)
    files = len(list(left.iterdir()))
    assert files > 0
    assert 5 * files + counts["lost"]["unsent"] == 40
    with fronted(address=address) as front:
        inlet = inlet_of(front)
        inlet.publish(policy(), 0.0)
        with agent_of(front, when_full="spill", spill_folder=left) as agent:
            until(lambda: agent.link.sent == 5 * files)
        got = everything(inlet)
    assert [len(each) for each in got] == [5] * files
    assert all(len(np.unique(each.only.rewards)) == 1 for each in got)
    assert not list(left.iterdir())
