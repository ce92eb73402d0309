"""What the library kvpress keeps of a prompt, in an interpreter of its own: it needs an earlier
transformers than we do.

    python kvpress_kept.py MODEL_FOLDER tokens.npy out.npz RATIO
    python kvpress_kept.py                          # its version

out.npz has a [layers, kv_heads, n] bool for every press.
"""

import sys
from importlib.metadata import version

import numpy as np


def kept(folder: str, tokens: np.ndarray, ratio: float) -> dict[str, np.ndarray]:
    import torch
    from kvpress import (
        AdaKVPress,
        ExpectedAttentionPress,
        KeyDiffPress,
        KnormPress,
        SnapKVPress,
        StreamingLLMPress,
        TOVAPress,
    )
    from transformers import AutoModelForCausalLM, DynamicCache

    def snapkv():
        return SnapKVPress(ratio, window_size=8, kernel_size=1)

    presses = {
        "window_4": StreamingLLMPress(ratio, n_sink=4),
        "snapkv_8_1": snapkv(),
        "tova": TOVAPress(ratio),
        "knorm": KnormPress(ratio),
        "keydiff": KeyDiffPress(ratio),
        "expected": ExpectedAttentionPress(ratio),
        "ada_snapkv_8_1": AdaKVPress(snapkv()),
        "ada_expected": AdaKVPress(ExpectedAttentionPress(ratio)),
    }
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    layers = model.model.layers
    found = {}
    for name, press in presses.items():
        scorer, scores = getattr(press, "press", press), []
        score = type(scorer).score

        def told(module, *rest, of=scorer, by=score, to=scores, **named):
            to.append(by(of, module, *rest, **named).clone())
            return to[-1].clone()

        scorer.score = told
        with torch.inference_mode(), press(model):
            cache = DynamicCache()
            model(torch.from_numpy(tokens)[None], past_key_values=cache)
        ranks = torch.stack(scores)[:, 0]  # [layers, kv_heads, n]
        stays = torch.ones_like(ranks, dtype=torch.bool)
        if isinstance(press, AdaKVPress):
            for own, layer in zip(stays, layers, strict=True):
                own[layer.self_attn.masked_key_indices[1:]] = False
                layer.self_attn.masked_key_indices = None
        else:
            number = cache.layers[0].keys.shape[2]
            stays = torch.zeros_like(stays).scatter(2, ranks.topk(number).indices, True)
        found[name] = stays.numpy()
    return found


if __name__ == "__main__":
    if len(sys.argv) == 1:
        print(version("kvpress"))
    else:
        folder, tokens, out, ratio = sys.argv[1:]
        np.savez(out, **kept(folder, np.load(tokens), float(ratio)))
