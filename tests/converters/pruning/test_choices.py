"""What is left out: the parts that make no difference, where there are such parts."""

from math import log
from pathlib import Path

import pytest
import torch

from converters.pruning import checkpoint as files
from converters.pruning import depth, sparsity, width
from converters.pruning.decoder import Decoder
from converters.pruning.text import cut, perplexity
from server.errors import InvalidValue

TOKENS = (torch.arange(96) * 7 % 250,)


def silent(fraction: float, doing: str) -> None:
    pass


@pytest.fixture
def decoder(checkpoint: Path) -> Decoder:
    return files.read(checkpoint)[0]


def make_idle(decoder: Decoder, *blocks: int) -> None:
    """Let these blocks add nothing to what goes through them."""
    with torch.no_grad():
        for block in blocks:
            decoder.blocks[block].self_attn.o_proj.weight.zero_()
            decoder.blocks[block].mlp.down_proj.weight.zero_()


@pytest.mark.parametrize(("grouping", "idle"), [("single", [1, 3]), ("contiguous", [2, 3])])
def test_blocks_that_do_nothing_go_first(decoder: Decoder, grouping: str, idle: list[int]) -> None:
    make_idle(decoder, *idle)
    before = decoder.logits(TOKENS[0])
    span = 2 if grouping == "contiguous" else 1
    scores = depth.measure(decoder, TOKENS, "angular", span, silent)
    assert len(scores) == 6 - span + 1
    dropped = depth.choose(scores, 6, 2, grouping)
    assert dropped == idle
    assert torch.equal(decoder.logits(TOKENS[0]), before)  # measuring leaves the model as it was
    decoder.keep([block for block in range(6) if block not in dropped])
    assert decoder.config.num_hidden_layers == 4
    assert torch.equal(decoder.logits(TOKENS[0]), before)


def test_perplexity_grows_by_what_a_block_is_worth(decoder: Decoder) -> None:
    make_idle(decoder, 1, 3)
    whole, before = perplexity(decoder, TOKENS), decoder.logits(TOKENS[0])
    scores = depth.measure(decoder, TOKENS, "perplexity", 1, silent)
    assert [block for block, score in enumerate(scores) if score == 0] == [1, 3]
    assert torch.equal(decoder.logits(TOKENS[0]), before)  # measuring leaves the model as it was
    assert depth.measure(decoder, TOKENS, "perplexity", 2, silent) == [sum(scores[at : at + 2]) for at in range(5)]
    decoder.keep([0, 1, 3, 4, 5])
    assert log(perplexity(decoder, TOKENS) / whole) == pytest.approx(scores[2], abs=1e-6)


def test_the_angle_is_that_between_what_enters_and_what_leaves(decoder: Decoder) -> None:
    with torch.no_grad():
        states = decoder.model(TOKENS[0][None], output_hidden_states=True).hidden_states
    cosine = torch.nn.functional.cosine_similarity(states[1][0], states[3][0], dim=-1)
    expected = float((cosine.arccos() / torch.pi).mean())
    assert depth.measure(decoder, TOKENS, "angular", 2, silent)[1] == pytest.approx(expected, abs=1e-5)


def test_the_first_and_the_last_block_stay() -> None:
    scores = [0.0, 0.5, 0.4, 0.3, 0.0]
    assert depth.choose(scores, 5, 2, "single") == [2, 3]
    assert depth.choose(scores[:4], 5, 2, "contiguous") == [2, 3]
    assert depth.choose(scores, 5, 4, "single") == [0, 2, 3, 4]  # only one may stay
    with pytest.raises(InvalidValue, match="contiguous, single"):
        depth.choose(scores, 5, 2, "pairs")


def test_channels_that_contribute_nothing_go_first(decoder: Decoder) -> None:
    idle = torch.randperm(128)[:32]
    with torch.no_grad():
        for block in decoder.blocks:
            block.mlp.down_proj.weight[:, idle[:16]] = 0  # loud, but nobody listens
            block.mlp.up_proj.weight[idle[16:]] = 0  # heard, but says nothing
    before = decoder.logits(TOKENS[0])
    width.narrow(decoder, TOKENS, width.channels(decoder, 0.75))
    assert decoder.config.intermediate_size == 96
    assert decoder.blocks[0].mlp.down_proj.weight.shape == (64, 96)
    assert torch.allclose(decoder.logits(TOKENS[0]), before, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 1.0, 0.05, 0.95, -1.0])
def test_a_width_that_means_nothing_is_refused(decoder: Decoder, share: float) -> None:
    with pytest.raises(InvalidValue, match="width"):
        width.channels(decoder, share)


def test_the_two_smallest_of_four_become_zero() -> None:
    weight = torch.tensor([[1.0, -4.0, 3.0, 2.0, 0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, -1.0, 9.0, -8.0, 7.0, 6.0]])
    mask = sparsity.mask(weight)
    assert mask[0, :4].tolist() == [0, 1, 1, 0]
    assert mask[1, 3:].tolist() == [1, 1, 1, 0, 0]
    assert (mask.reshape(-1, 4).sum(dim=1) == 2).all()


def test_perplexity_of_a_model_that_knows_nothing_is_the_size_of_its_vocabulary(decoder: Decoder) -> None:
    with torch.no_grad():
        decoder.model.lm_head.weight.zero_()
    assert perplexity(decoder, TOKENS) == pytest.approx(300, rel=1e-4)


def test_a_third_of_the_text_decides_nothing(checkpoint: Path) -> None:
    tokenizer = files.read(checkpoint)[1]
    windows = cut(tokenizer, "abc" * 400, 900)
    assert sum(map(len, windows.calibration)) == 600
    assert sum(map(len, windows.evaluation)) == 300
    with pytest.raises(InvalidValue, match="at least 64"):
        cut(tokenizer, "short", 900)


def test_every_window_begins_as_a_text_does(checkpoint: Path) -> None:
    tokenizer = files.read(checkpoint)[1]

    def led(text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        found = tokenizer(text, add_special_tokens=False)["input_ids"]
        return {"input_ids": [7, *found] if add_special_tokens else found}

    windows = cut(led, "abc" * 400, 900)
    assert [len(part) for part in windows.calibration] == [256, 256, 91]
    assert all(int(part[0]) == 7 for part in (*windows.calibration, *windows.evaluation))
    assert sum(len(part) - 1 for part in (*windows.calibration, *windows.evaluation)) == 900
