"""The settings of the KV-compression problem, and the named ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from marlserve.envs import checks
from marlserve.envs.kv_compression.arms import GRID, REAL, Arm, distinct
from marlserve.envs.kv_compression.observation import GROUPS
from marlserve.envs.kv_compression.rewards import REWARDS
from marlserve.envs.sims.kv_compression.compression import check_budget
from marlserve.envs.sims.kv_compression.gguf_files import SMOLLM2
from marlserve.envs.sims.kv_compression.language_model import SMALL_LLAMA
from marlserve.envs.sims.kv_compression.tasks import Family

_SPLITS = ("train", "validation", "test")
_WHOLE = {  # at least, at most
    "recent": (0, 1_000_000),
    "num_prompts": (1, 1_000_000),
    "train_prompts": (0, 1_000_000),
    "prompt_seed": (0, float("inf")),
    "prompt_tokens": (1, 1_000_000),
    "num_facts": (1, 1_000_000),
    "num_turns": (1, 1000),
    "max_prompt_tokens": (16, 1_000_000),
    "answer_tokens": (1, 100_000),
}
_MOST = 1_000_000  # entries
_TEXTS = ("model_name", "device", "text_encoder", "table_path", "prompts_path")
_FLAGS = ("trust_remote_code", "tagged")


@contextmanager
def _named(name: str, value: Any) -> Iterator[None]:
    """Let an error from deeper down say which field it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{name} is {value!r}: {error}") from error


@dataclass(frozen=True)
class Config:
    """Every field has a default that runs: the small model, which reads synthetic prompts.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    arms: tuple[str, ...] = GRID  # compression methods by name, see sims.kv_compression.methods
    # Entries per layer and KV head; below 1, a share of the prompt. Each prompt has one of them.
    budgets: tuple[int | float, ...] = (16,)
    recent: int = 4  # of which the newest tokens take so many
    context: tuple[str, ...] = ("tag", "length", "budget", "diversity", "repetition")
    reward: str = "agreement"  # or "cosine" or "score"
    entry_price: float = 0.0  # taken from the reward for every entry that is kept

    model_name: str = SMALL_LLAMA  # or SMOLLM2, a folder, a .gguf file, or a model on the hub
    device: str = "cpu"  # of the model, as "cuda:0"
    text_encoder: str = ""  # for the context "text" and the reward "cosine"; "": none
    trust_remote_code: bool = False  # run the code that a text encoder comes with
    table_path: str = ""  # a folder of tables that make-table wrote; "": ask the model

    split: str = "train"  # or "validation" or "test": which prompts
    num_prompts: int = 500  # in each split
    train_prompts: int = 0  # in "train", where these are others; 0: num_prompts
    prompt_seed: int = 0  # of synthetic prompts, and of how others are split
    tagged: bool = False  # the prompt names its type, and so may the context
    prompt_tokens: int = 256  # of synthetic prompts
    num_facts: int = 24  # in each of them
    num_turns: int = 4  # questions after each of them
    prompts_path: str = ""  # a file of marlserve.traces.longbench; "": synthetic prompts
    max_prompt_tokens: int = 7500  # of such prompts; longer ones lose their middle
    answer_tokens: int = 32  # at most, of their answers

    def __post_init__(self):
        checks.tuples(self, "arms", "budgets", "context")
        for name in ("arms", "context"):
            values = getattr(self, name)
            texts = isinstance(values, tuple) and all(isinstance(value, str) for value in values)
            checks.require(self, name, texts, "a tuple of names")
        for name, bounds in _WHOLE.items():
            checks.whole(self, name, *bounds)
        for name in _TEXTS:
            checks.kind(self, name, str)
        for name in _FLAGS:
            checks.kind(self, name, bool)
        good = isinstance(self.budgets, tuple) and bool(self.budgets)
        good = good and all(map(_is_budget, self.budgets))
        allowed = f"one or more whole numbers from 1 to {_MOST}, or shares between 0 and 1"
        checks.require(self, "budgets", good, allowed)
        with _named("arms", self.arms):
            own = [arm.budget for arm in self.parsed_arms() if arm.budget is not None]
        with _named("arms", self.arms), _named("budgets", self.budgets):
            for budget in (*self.budgets, *own):
                if budget >= 1:  # of others, prompts decide
                    check_budget(int(budget), self.recent)
        checks.choice(self, "reward", REWARDS)
        checks.choice(self, "split", _SPLITS)
        for name in self.context:
            checks.require(self, "context", name in GROUPS, f"some of {tuple(GROUPS)}")
        checks.require(self, "context", bool(self.context), f"some of {tuple(GROUPS)}")
        once = len(set(self.context)) == len(self.context)
        checks.require(self, "context", once, "each group once")
        checks.number(self, "entry_price", 0.0, 1e6)
        if "text" in self.context and not self.text_encoder:
            raise ValueError("context has 'text', which needs a text_encoder; it is ''")
        if self.text_encoder and not self.prompts_path:
            raise ValueError(
                f"text_encoder is {self.text_encoder!r}, but synthetic prompts have no text; "
                "allowed is '', or prompts of a prompts_path"
            )
        with _named("num_turns", self.num_turns), _named("prompt_tokens", self.prompt_tokens):
            self.family()

    @property
    def split_prompts(self) -> int:
        """Prompts of the split."""
        own = self.train_prompts if self.split == "train" else 0
        return own or self.num_prompts

    @property
    def kind_of_prompts(self) -> str:
        """What bandits are set by: "texts", or of synthetic prompts "tagged" or "untagged"."""
        return "texts" if self.prompts_path else "tagged" if self.tagged else "untagged"

    def parsed_arms(self) -> tuple[Arm, ...]:
        """The arms; action i is the i-th."""
        return distinct(self.arms, self.budgets)

    def family(self) -> Family:
        """The synthetic prompts."""
        return Family(self.prompt_tokens, self.num_facts, self.num_turns, self.tagged)


def _is_budget(value: Any) -> bool:
    share = isinstance(value, float) and 0.0 < value < 1.0
    return share or checks.is_whole(value, 1, _MOST)


TUNING_PROMPTS, PROMPTS = 0, 1  # seeds: what is tuned never meets what is compared
UNTAGGED = Config(num_prompts=3000, prompt_seed=PROMPTS)
# The tag says all that the best arms depend on: more would only be more to learn.
TAGGED = Config(
    num_prompts=3000, prompt_seed=PROMPTS, tagged=True, context=("tag", "length", "budget")
)
SHARES = (0.05, 0.1, 0.25)
PROMPTS_FILE = "runs/kv_compression/prompts.jsonl"  # where make-prompts writes it
_REAL = Config(
    budgets=(0.1,),
    context=("tag",),  # more of it misleads: chosen by the validation prompts
    model_name=SMOLLM2,
    num_prompts=320,
    tagged=True,  # the request says what kind of task it is
    prompts_path=PROMPTS_FILE,
    max_prompt_tokens=2048,
    answer_tokens=16,
)
# All arms at all budgets, whose table serves the others; each budget by itself.
_AT = {share: tuple(f"{name}@{share:g}" for name in REAL) for share in SHARES}
REAL_PRESETS = {
    "smollm2": replace(_REAL, arms=(*(x for arms in _AT.values() for x in arms), "full")),
    **{f"smollm2_{share:.0%}".rstrip("%"): replace(_REAL, arms=_AT[share]) for share in SHARES},
}
PRESETS = {"untagged": UNTAGGED, "tagged": TAGGED, **REAL_PRESETS}
