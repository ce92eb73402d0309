"""The settings of the KV-compression problem, and the named ones."""

from dataclasses import dataclass

from marlserve.envs.kv_compression.arms import GRID, Arm, distinct
from marlserve.envs.kv_compression.observation import GROUPS
from marlserve.envs.kv_compression.rewards import REWARDS
from marlserve.envs.sims.kv_compression.compression import check_budget
from marlserve.envs.sims.kv_compression.language_model import SMALL_LLAMA
from marlserve.envs.sims.kv_compression.tasks import Family

_SPLITS = ("train", "validation", "test")
_AT_LEAST = {
    "recent": 0,
    "num_prompts": 1,
    "prompt_seed": 0,
    "prompt_tokens": 1,
    "num_facts": 1,
    "num_turns": 1,
    "max_prompt_tokens": 16,
    "answer_tokens": 1,
}


@dataclass(frozen=True)
class Config:
    """Every field has a default that runs: the small model, which reads synthetic prompts.

    Raises:
        ValueError: on construction, naming the field, its value and what is allowed.
    """

    arms: tuple[str, ...] = GRID  # compression methods by name, see sims.kv_compression.methods
    budgets: tuple[int, ...] = (16,)  # entries per layer and KV head; each prompt has one of them
    recent: int = 4  # of which the newest tokens take so many
    context: tuple[str, ...] = ("tag", "length", "budget", "diversity", "repetition")
    reward: str = "agreement"  # or "cosine"
    entry_price: float = 0.0  # taken from the reward for every entry that is kept

    model_name: str = SMALL_LLAMA  # or a folder, or a causal language model on the hub
    device: str = "cpu"  # of the model, as "cuda:0"
    text_encoder: str = ""  # for the context "text" and the reward "cosine"; "": none
    trust_remote_code: bool = False  # run the code that a text encoder comes with
    table_path: str = ""  # a folder of tables that make-table wrote; "": ask the model

    split: str = "train"  # or "validation" or "test": which prompts
    num_prompts: int = 500  # in each split
    prompt_seed: int = 0  # of synthetic prompts, and of how others are split
    tagged: bool = False  # the prompt names its type, and so may the context
    prompt_tokens: int = 256  # of synthetic prompts
    num_facts: int = 24  # in each of them
    num_turns: int = 4  # questions after each of them
    prompts_path: str = ""  # a file of marlserve.traces.longbench; "": synthetic prompts
    max_prompt_tokens: int = 7500  # of such prompts; longer ones lose their middle
    answer_tokens: int = 32  # at most, of their answers

    def __post_init__(self):
        for name in ("arms", "budgets", "context"):  # JSON and command lines give lists
            object.__setattr__(self, name, tuple(getattr(self, name)))
        for name, low in _AT_LEAST.items():
            value = getattr(self, name)
            self._check(name, isinstance(value, int) and value >= low, f"whole, at least {low}")
        whole = all(isinstance(budget, int) for budget in self.budgets)
        self._check("budgets", whole and bool(self.budgets), "one or more whole numbers")
        own = [arm.budget for arm in self.parsed_arms() if arm.budget is not None]
        for budget in (*self.budgets, *own):
            check_budget(budget, self.recent)
        self._check("reward", self.reward in REWARDS, f"one of {tuple(REWARDS)}")
        self._check("split", self.split in _SPLITS, f"one of {_SPLITS}")
        for name in self.context:
            self._check("context", name in GROUPS, f"some of {tuple(GROUPS)}")
        self._check("context", bool(self.context), f"some of {tuple(GROUPS)}")
        self._check("context", len(set(self.context)) == len(self.context), "each group once")
        self._check("entry_price", 0.0 <= self.entry_price < float("inf"), "not negative")
        if "text" in self.context and not self.text_encoder:
            raise ValueError("context has 'text', which needs a text_encoder; it is ''")
        if self.text_encoder and not self.prompts_path:
            raise ValueError(
                f"text_encoder is {self.text_encoder!r}, but synthetic prompts have no text; "
                "allowed is '', or prompts of a prompts_path"
            )
        self.family()

    def parsed_arms(self) -> tuple[Arm, ...]:
        """The arms; action i is the i-th."""
        return distinct(self.arms, self.budgets)

    def family(self) -> Family:
        """The synthetic prompts."""
        return Family(self.prompt_tokens, self.num_facts, self.num_turns, self.tagged)

    def _check(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise ValueError(f"{name} is {getattr(self, name)!r}; allowed is {allowed}")


UNTAGGED = Config(num_prompts=3000)
# The tag says all that the best arms depend on: more would only be more to learn.
TAGGED = Config(num_prompts=3000, tagged=True, context=("tag", "length", "budget"))
PRESETS = {"untagged": UNTAGGED, "tagged": TAGGED}
