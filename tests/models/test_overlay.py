from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.errors import ConfigError
from server.models.overlay import add_model, add_version
from server.models.registry import Registry, read_models_file
from server.models.spec import FileSource, ModelSpec, Variant
from server.models.standard import with_standard_variants

from .conftest import make_model

ENTRY = """- name: first  # my first
  licence: MIT
  context_length: 64
  variants:
    - name: gguf-q8
      format: gguf
      source: {type: file, path: first.gguf}"""


def indented(by: int) -> str:
    return "".join(f"{' ' * by}{line}\n" for line in ENTRY.splitlines())


LAYOUTS = {
    "nothing": "",
    "a comment": "# my models\n",
    "no last newline": "aliases: {coder: qwen2.5-coder-0.5b-instruct}",
    "an empty list": "models: []\n# the end\n",
    "an empty key": "models:\naliases: {}\n",
    "a block": f"# top\nmodels:\n{indented(2)}",
    "a block that is not indented": f"models:\n{indented(0)}",
    "a block with more behind it": f"models:\n{indented(4)}\n# about the aliases\naliases:\n  mine: first\n",
    "a block without a last newline": f"models:\n{indented(2)}".rstrip("\n"),
    "a block that ends in a comment": f"models:\n{indented(2)}  # the end of the models\n",
    "a block that ends in text": f"models:\n{indented(2)}    description: |\n      two\n      lines\n\naliases: {{}}\n",
    "one line": "models: [{name: first, licence: MIT, context_length: 64, variants: [{name: v, format: fake}]}] # x\n",
    "windows": f"models:\n{indented(2)}aliases: {{}}\n".replace("\n", "\r\n"),
}


def model(name: str = "second") -> ModelSpec:
    return make_model(Variant(name="v", format="gguf", source=FileSource(path="/models/second.gguf")), name=name)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_model_is_added_and_nothing_is_lost(tmp_path: Path, layout: str) -> None:
    overlay = tmp_path / "models.yaml"
    before = LAYOUTS[layout]
    overlay.write_bytes(before.encode())
    known = read_models_file(overlay)
    add_model(overlay, model())
    after = overlay.read_text(encoding="utf-8")
    kept = [line.strip() for line in before.splitlines() if "#" in line and "[" not in line]
    assert all(line in after for line in kept)
    found = read_models_file(overlay)
    assert found.models == (*known.models, model())
    assert found.aliases == known.aliases
    add_model(overlay, model("third"))
    assert [one.name for one in read_models_file(overlay).models][-2:] == ["second", "third"]


def test_the_first_model_makes_the_home(tmp_path: Path) -> None:
    overlay = tmp_path / "new" / "home" / "models.yaml"
    add_model(overlay, model())
    assert Registry.load(overlay).resolve("second")[0] == with_standard_variants(model())


def test_a_name_is_taken_once(tmp_path: Path) -> None:
    overlay = tmp_path / "models.yaml"
    add_model(overlay, model())
    before = overlay.read_text()
    with pytest.raises(ConfigError, match="already has a model 'second'"):
        add_model(overlay, model())
    assert overlay.read_text() == before


@pytest.mark.parametrize("text", ["models: [", "models: 3", "- a", "models: &a [*a]", "nonsense: 1"])
def test_a_bad_overlay_is_not_made_worse(tmp_path: Path, text: str) -> None:
    overlay = tmp_path / "models.yaml"
    overlay.write_text(text)
    with pytest.raises(ConfigError):
        add_model(overlay, model())
    assert overlay.read_text() == text


def test_an_overlay_that_cannot_be_added_to_gets_the_text_to_paste(tmp_path: Path) -> None:
    overlay = tmp_path / "models.yaml"
    text = "{aliases: {}}  # one line\n"
    overlay.write_text(text)
    with pytest.raises(ConfigError, match=r"put this under 'models':\n- name: second"):
        add_model(overlay, model())
    assert overlay.read_text() == text


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30), st.text(min_size=1, max_size=20))
def test_no_text_breaks_the_yaml(description: str, licence: str) -> None:
    one = model("odd").model_copy(update={"description": description, "licence": licence})
    with TemporaryDirectory() as folder:
        overlay = Path(folder) / "models.yaml"
        add_model(overlay, model())
        add_model(overlay, one)
        assert read_models_file(overlay).models == (model(), one)


@pytest.mark.parametrize(
    "aliases", ["[tuned, other]", "[tuned]", "\n    - tuned  # mine\n    - other", "\n    - tuned"]
)
def test_a_new_version_takes_the_name_over(tmp_path: Path, aliases: str) -> None:
    """The old one keeps its own name, and every word that stands around its aliases."""
    overlay = tmp_path / "models.yaml"
    before = f"# top\nmodels:\n{indented(2)}".replace(
        "    licence: MIT", f"    aliases: {aliases}\n    licence: MIT  # x"
    )
    overlay.write_text(before)
    newer = model("second").model_copy(update={"aliases": ("tuned",)})
    add_version(overlay, newer)
    first, second = read_models_file(overlay).models
    assert second.aliases == ("tuned",)
    assert first.aliases == (("other",) if "other" in aliases else ())
    assert first.name == "first"
    text = overlay.read_text()
    assert all(line in text for line in ("# top", "licence: MIT  # x", "# my first"))
    with pytest.raises(ConfigError, match="already has a model 'second'"):
        add_version(overlay, newer)
    assert overlay.read_text() == text
