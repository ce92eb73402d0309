"""Pictures of one copy: its prompt, and what was chosen for it."""

from typing import Any

import numpy as np

from marlserve.envs.pictures import drawn, new_figure


def text(problem: Any, copy: int) -> str:
    """Two lines."""
    outcome = "no arm yet"
    if problem.last_actions[copy] >= 0:
        found = {name: values[copy] for name, values in problem.metrics().items()}
        outcome = (
            f"{_arm(problem, copy)} keeps {found['entries']:.0f} entries: "
            f"agreement {found['agreement']:.2f}, cosine {found['cosine']:.2f}"
        )
    return f"prompt {problem.prompts[copy]}, {_type(problem, copy)}\n{outcome}"


def pixels(problem: Any, copy: int) -> np.ndarray:
    """What the policy sees, and what every arm would earn: [height, width, 3] uint8."""
    figure = new_figure(6.4, 3.2)
    seen, earned = figure.subplots(1, 2)
    seen.bar(np.arange(problem.state().shape[1]), problem.state()[copy], width=1.0)
    seen.set_title(f"context of prompt {problem.prompts[copy]}, {_type(problem, copy)}", fontsize=9)
    rewards = problem.rewards_of_all_arms()[copy]
    chosen = np.arange(len(rewards)) == problem.last_actions[copy]
    earned.barh(problem.arm_names, rewards, color=np.where(chosen, "tab:orange", "0.7"))
    earned.tick_params(axis="y", labelsize=5)
    earned.set_title(f"reward of each arm; {_arm(problem, copy)}", fontsize=9)
    return drawn(figure)


def _arm(problem: Any, copy: int) -> str:
    last = problem.last_actions[copy]
    return problem.arm_names[last] if last >= 0 else "none chosen yet"


def _type(problem: Any, copy: int) -> str:
    return f"type {problem.types[problem.prompt_types()[copy]]}"
