"""What stays in a compressed KV cache: compression methods by name, one small class for each.

A method looks at the attention of the prompt's own queries. Key k of a KV head scores

    s(k) = sum over queries q of  w(q) * P(q, k),

with P the attention probabilities, summed over the query heads that share the KV head. Methods
differ by the weights w of the queries, and by what they make of the scores. The newest `recent`
entries stay in any case, and of the others those of the highest rank, so many as the budget allows.

    full                      nothing is evicted
    window_<sinks>            the first few and the newest tokens; no attention
                              (StreamingLLM: Xiao et al. 2024, https://arxiv.org/abs/2309.17453)
    h2o                       w = 1: accumulated attention
                              (Zhang et al. 2023, https://arxiv.org/abs/2306.14048)
    snapkv_<window>_<kernel>  the queries of a window vote, scores are max-pooled over neighbours
                              (Li et al. 2024, https://arxiv.org/abs/2404.14469; there all of
                              the window stays, here `recent` of it)
    tova                      the last query votes; all heads of a layer keep the same tokens
                              (Oren et al. 2024, https://arxiv.org/abs/2401.06104)
    a2sf_<alpha>              w = alpha ** (queries since): attention is forgotten
                              (Jo and Shin 2024, https://arxiv.org/abs/2407.20485)
    sigmoid_<a>_<b>           w = sigmoid(a * (q - (n - b - 0.5))): the last b queries of n weigh
                              more than a half, and a says how steeply that begins; a of 0 is h2o

Others look at keys k and values v alone:

    knorm                     -|k|: short keys stay
                              (Devoto et al. 2024, https://arxiv.org/abs/2406.11430)
    keydiff                   -cos(k, mean of k / |k|): keys unlike the others stay
                              (Park et al. 2025, https://arxiv.org/abs/2504.15364)
    expected                  softmax of (k m / d^.5 + k C k / 2 d), times |v|: the attention that
                              queries of mean m and covariance C will pay, see `queries`; the
                              first 4 tokens stay (Devoto et al. 2025,
                              https://arxiv.org/abs/2510.00636)

And some share the budget out unequally:

    pyramidkv_<window>_<kernel>_<beta>  as snapkv, but the budget falls from layer to layer, to
                              1 / beta of its mean (Cai et al. 2024,
                              https://arxiv.org/abs/2406.02069)
    ada_<method>              the heads of a layer share theirs: the highest ranks of all heads
                              stay, and a fifth of the mean in each (Feng et al. 2024,
                              https://arxiv.org/abs/2407.11550)
"""

from marlserve.envs.sims.kv_compression.allotments import Ada, PyramidKV
from marlserve.envs.sims.kv_compression.attention_methods import (
    A2SF,
    H2O,
    TOVA,
    Full,
    Sigmoid,
    SnapKV,
    Window,
)
from marlserve.envs.sims.kv_compression.key_methods import ExpectedAttention, KeyDiff, KNorm
from marlserve.envs.sims.kv_compression.method import Method

KINDS: dict[str, type[Method]] = {
    of.kind: of
    for of in (
        *(Full, Window, H2O, SnapKV, TOVA, A2SF, Sigmoid),
        *(KNorm, KeyDiff, ExpectedAttention, PyramidKV, Ada),
    )
}


def parse(name: str) -> Method:
    """The method of a name, such as "sigmoid_0.1_16"; parameters that are left out are defaults.

    Raises:
        ValueError: for an unknown method or a bad parameter.
    """
    kind, *parameters = name.split("_")
    if kind not in KINDS:
        raise ValueError(f"{name!r} is no compression method; there are {sorted(KINDS)}")
    if kind == Ada.kind and parameters:
        return Ada(parse("_".join(parameters)))
    try:
        return KINDS[kind](*map(_number, parameters))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name!r} is no compression method: {error}") from error


def grid(a_values: tuple[float, ...], b_values: tuple[float, ...]) -> tuple[str, ...]:
    """Names of all sigmoids of these parameters, each once; all those with an a of 0 are h2o.

    Raises:
        ValueError: for a bad parameter.
    """
    return tuple(dict.fromkeys(canonical(Sigmoid(a, b)).name for a in a_values for b in b_values))


def canonical(method: Method) -> Method:
    """The simplest method that keeps the same entries."""
    flat = (isinstance(method, Sigmoid) and method.a == 0) or method == A2SF(1.0)
    return H2O() if flat else method


def _number(text: str) -> float | int:
    return int(text) if text.lstrip("-").isdigit() else float(text)
