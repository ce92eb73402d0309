"""Prompts of a file as a model reads them: templates for chats, documents, scores."""

import json
from dataclasses import replace

import pytest
import torch
from language_models import CONFIGS, save
from word_tokenizer import WORDS, save_tokenizer

from marlserve.envs.kv_compression import Config
from marlserve.envs.kv_compression.live import Live, prompts_of

CHAT = "{% for m in messages %}w1 {{ m['content'] }} w2 {% endfor %}w3"


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Config:
    """A model with a template for chats, and a question about each of 16 documents of 3 texts."""
    folder = tmp_path_factory.mktemp("model")
    save(CONFIGS["llama"], folder)
    save_tokenizer(folder, chat=CHAT)
    lines = [
        {
            "context": f"w{document} w{document + 7} w{part} w9 w10",
            "input": "w5",
            "answers": ["w7 w8"],
            "length": 5,
            "dataset": ("hotpotqa", "lcc", "trec")[part],
            "language": "en",
            "all_classes": ["w7 w8"],
            "_id": f"{document} {part}",
            "document": f"document {document}",
        }
        for document in range(16)
        for part in range(3)
    ]
    (folder / "samples.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return Config(
        model_name=str(folder),
        prompts_path=str(folder / "samples.jsonl"),
        num_prompts=12,
        budgets=(0.5,),
        arms=("h2o", "full"),
        recent=1,
    )


def test_a_template_for_chats_is_put_around_requests(config):
    """But not around code, or examples to go on with."""
    prompts, framed = prompts_of(config), set()
    for index in range(12):
        prompt = prompts[index]
        ((asked, _),) = prompt.turns
        words = [WORDS[i] for i in prompt.tokens], [WORDS[i] for i in asked]
        chat = words[0][0] == "w1" and words[1][-2:] == ["w2", "w3"]
        plain = words[0][0] == "<s>" and words[1][-1] != "w3"
        assert chat is not plain
        assert chat is (prompts.types[prompt.type] == "multi_doc_qa")
        framed.add(chat)
    assert framed == {True, False}


def test_texts_of_a_document_stay_together(config):
    seen = [
        {prompts_of(replace(config, split=split))[index].text.split()[-4] for index in range(12)}
        for split in ("train", "validation", "test")
    ]
    assert [len(documents) for documents in seen] == [4, 4, 4]
    assert len(set().union(*seen)) == 12


def test_a_share_of_a_prompt_is_kept(config):
    prompt = prompts_of(config)[0]
    assert prompt.budget == round(0.5 * len(prompt.tokens))


def test_replies_are_scored_by_the_metric_of_their_set(config):
    prompts, live = prompts_of(config), Live(config)
    for index in range(6):
        prompt = prompts[index]
        right, half, end = ([WORDS.index(x) for x in y] for y in (("w7", "w8"), ["w7"], ["</s>"]))
        assert prompt.score(torch.tensor([*right, *end])) == 1.0
        assert prompt.score(torch.tensor(half + end)) < 1.0
        found = live.outcomes(index, [0, 1])["score"]
        assert ((found >= 0) & (found <= 1)).all()
