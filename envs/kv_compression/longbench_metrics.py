"""The metrics of LongBench: how good a predicted text is, 0 to 1, against one right answer.

    score(sample, text)                                 # of a sample's best answer
    METRICS["hotpotqa"]("The cat sat.", "a cat", ())    # token F1: 0.667

set                                               metric
the English and Chinese questions, triviaqa       F1 of the bags of tokens
dureader, the summaries, samsum                   ROUGE-L F1: longest common subsequence of tokens
trec, lsht                                        1 / (classes named) if the right one is among them
passage_retrieval_en, passage_retrieval_zh        share of the numbers named that are right
passage_count                                     likewise
lcc, repobench-p                                  similarity of the first line of code

Formulas are those of the benchmark (https://arxiv.org/abs/2308.14508, its file metrics.py). What
differs from it:
- ROUGE-L comes from the library rouge-score, which compares lower-case words of letters and digits,
  without stems. The benchmark's `rouge` splits at blanks only and adds up over sentences, so that
  published figures are not to be compared with these to the last point.
- Chinese is segmented by rjieba, which has the dictionary and the rules of the benchmark's jieba,
  but leaves Latin names such as "README.md" in one piece.
- A class that lies within the name of the right one never counts as named. The benchmark means so
  too, but skips the class that follows one it has left out.
The code similarity is the benchmark's: `fuzz.ratio` of fuzzywuzzy is difflib's ratio in percent.

ROUGE-L and the segmenter need `pip install "marlserve[text]"`; the other metrics do not.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable
from difflib import SequenceMatcher
from functools import cache

from marlserve.traces.longbench import Sample

_INSTALL = 'pip install "marlserve[text]"'
_CHINESE_PUNCTUATION = (
    "！？｡。＂＃＄％＆＇（）＊＋，－／：；＜＝＞＠［＼］＾＿｀｛｜｝～｟｠｢｣､、〃》「」『』【】"  # noqa: RUF001
    "〔〕〖〗〘〙〚〛〜〝〞〟〰〾〿–—‘’‛“”„‟…‧﹏"  # noqa: RUF001
)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_CHINESE_PUNCTUATION = str.maketrans("", "", string.punctuation + _CHINESE_PUNCTUATION)

Metric = Callable[[str, str, tuple[str, ...]], float]  # of a prediction, an answer, and the classes


def score(sample: Sample, prediction: str) -> float:
    """How good a predicted text is, 0 to 1: the metric of the set for the best of the answers.

    Of a prediction for the group "few_shot", the first line that is not empty counts, since a model
    goes on with examples of its own.

    Raises:
        ImportError: without the extra `text`, for the sets with ROUGE-L, and multifieldqa_zh.
    """
    if sample.group == "few_shot":
        prediction = prediction.lstrip("\n").split("\n")[0]
    metric = METRICS[sample.dataset]
    return max(metric(prediction, answer, sample.all_classes) for answer in sample.answers)


def token_f1(prediction: str, answer: str, classes: tuple[str, ...] = ()) -> float:
    """F1 of the words, without case, punctuation and articles."""
    return _bag_f1(_words(prediction), _words(answer))


def chinese_token_f1(prediction: str, answer: str, classes: tuple[str, ...] = ()) -> float:
    """F1 of the segmented words, without punctuation.

    Raises:
        ImportError: without the extra `text`.
    """
    return _bag_f1(_chinese_words(prediction), _chinese_words(answer))


def rouge_l(prediction: str, answer: str, classes: tuple[str, ...] = ()) -> float:
    """ROUGE-L F1 of the words.

    Raises:
        ImportError: without the extra `text`.
    """
    return _rouge_scorer(chinese=False).score(answer, prediction)["rougeL"].fmeasure


def chinese_rouge_l(prediction: str, answer: str, classes: tuple[str, ...] = ()) -> float:
    """ROUGE-L F1 of the segmented words, punctuation included.

    Raises:
        ImportError: without the extra `text`.
    """
    return _rouge_scorer(chinese=True).score(answer, prediction)["rougeL"].fmeasure


def classification(prediction: str, answer: str, classes: tuple[str, ...]) -> float:
    """1 over the number of classes that are named, if the right one is; 0 otherwise."""
    named = [name for name in classes if name in prediction]
    named = [name for name in named if name == answer or name not in answer]
    return 1.0 / len(named) if answer in named else 0.0


def retrieval(prediction: str, answer: str, classes: tuple[str, ...] = ()) -> float:
    """Share of the numbers in a prediction that are the answer's, as in "Paragraph 7"."""
    return count(prediction, "".join(re.findall("[0-9]+", answer)[:1]))


def count(prediction: str, answer: str, classes: tuple[str, ...] = ()) -> float:
    """Share of the numbers in a prediction that are the answer."""
    numbers = re.findall("[0-9]+", prediction)
    return numbers.count(answer) / len(numbers) if numbers else 0.0


def code_similarity(prediction: str, answer: str, classes: tuple[str, ...] = ()) -> float:
    """2 M / T of the first line without a comment or a code fence, in whole percent.

    M is the number of characters that match in order, T the number of both texts.
    """
    lines = prediction.lstrip("\n").split("\n")
    line = next((line for line in lines if not re.search("`|#|//", line)), "")
    return round(100.0 * SequenceMatcher(None, line, answer).ratio()) / 100.0


def _bag_f1(predicted: list[str], right: list[str]) -> float:
    same = sum((Counter(predicted) & Counter(right)).values())
    return 2.0 * same / (len(predicted) + len(right)) if same else 0.0


def _words(text: str) -> list[str]:
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(_NO_PUNCTUATION)).split()


def _chinese_words(text: str) -> list[str]:
    words = (word.lower().translate(_NO_CHINESE_PUNCTUATION) for word in _segments(text))
    return [word for word in ("".join(word.split()) for word in words) if word]


def _segments(text: str) -> Iterable[str]:
    try:
        import rjieba
    except ImportError:
        raise ImportError(f"Chinese needs the segmenter rjieba; {_INSTALL}") from None
    return rjieba.cut(text)


class _Segmenter:
    """What rouge-score calls a tokenizer."""

    def tokenize(self, text: str) -> list[str]:
        return [word for word in _segments(text) if word.strip()]


@cache
def _rouge_scorer(chinese: bool):
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise ImportError(f"ROUGE-L needs the library rouge-score; {_INSTALL}") from None
    return RougeScorer(["rougeL"], tokenizer=_Segmenter() if chinese else None)


METRICS: dict[str, Metric] = {
    "narrativeqa": token_f1,
    "qasper": token_f1,
    "multifieldqa_en": token_f1,
    "multifieldqa_zh": chinese_token_f1,
    "hotpotqa": token_f1,
    "2wikimqa": token_f1,
    "musique": token_f1,
    "dureader": chinese_rouge_l,
    "gov_report": rouge_l,
    "qmsum": rouge_l,
    "multi_news": rouge_l,
    "vcsum": chinese_rouge_l,
    "trec": classification,
    "triviaqa": token_f1,
    "samsum": rouge_l,
    "lsht": classification,
    "passage_count": count,
    "passage_retrieval_en": retrieval,
    "passage_retrieval_zh": retrieval,
    "lcc": code_similarity,
    "repobench-p": code_similarity,
}
