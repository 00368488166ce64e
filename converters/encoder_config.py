"""`config.json` of an encoder, as far as its graph needs it."""

from pathlib import Path
from typing import Annotated

import msgspec

from server.errors import InvalidValue

_LARGEST = 1 << 20

Size = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]


class EncoderConfig(msgspec.Struct, frozen=True):
    """Sizes of a BERT encoder, in the words of transformers."""

    model_type: str
    hidden_size: Size
    intermediate_size: Size
    num_hidden_layers: Annotated[int, msgspec.Meta(ge=1, le=256)]
    num_attention_heads: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    vocab_size: Annotated[int, msgspec.Meta(ge=1, le=1 << 24)]
    max_position_embeddings: Size
    type_vocab_size: Size = 2
    layer_norm_eps: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1e-12
    hidden_act: str = "gelu"
    position_embedding_type: str = "absolute"


def read(path: Path) -> EncoderConfig:
    """Parse and check one. Raises InvalidValue for a model that is no BERT encoder."""
    try:
        if path.stat().st_size > _LARGEST:
            raise InvalidValue(f"{path} is larger than {_LARGEST} bytes.")
        config = msgspec.json.decode(path.read_bytes(), type=EncoderConfig)
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise InvalidValue(f"{path} does not describe an encoder: {error}.") from None
    if config.model_type != "bert":
        raise InvalidValue(f"The architecture '{config.model_type}' cannot be converted; encoders are bert.")
    if config.hidden_act != "gelu" or config.position_embedding_type != "absolute":
        raise InvalidValue(
            f"{path} has the activation {config.hidden_act} and {config.position_embedding_type} positions;"
            " encoders have gelu and absolute ones."
        )
    if config.hidden_size % config.num_attention_heads:
        raise InvalidValue(f"{path}: {config.num_attention_heads} heads do not divide {config.hidden_size}.")
    return config
