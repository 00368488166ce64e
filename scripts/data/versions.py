"""Of what decides the data: another version may decide otherwise."""

from importlib.metadata import version

ALWAYS = ("cupola", "datasketch", "numpy", "msgspec")
COUNTING = ("tokenizers", "transformers")


def versions(*, with_tokenizer: bool) -> dict[str, str]:
    return {name: version(name) for name in (*ALWAYS, *(COUNTING if with_tokenizer else ()))}
