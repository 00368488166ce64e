"""Folders as Microsoft's Foundry Local keeps them: `inference_model.json` beside `genai_config.json`.

    {"Name": "llama-3.2:1", "Description": "...", "Version": "1",
     "PromptTemplate": {"system": "...{Content}...", "user": ..., "assistant": ..., "prompt": ...},
     "ModelConfig": {"temperature": 0.7, "top_p": 0.9}}

A PromptTemplate is the text around one message of each role; `prompt` is that of the last message of the user, up to
where the answer begins. It says less than a chat template: no tools, no thoughts, no default system message. So it is
made of one where a model is exported, and a chat template is made of it only where a folder has none.
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InvalidValue, TemplateFailed
from .spec import ModelSpec, Sampling

FILE, GENAI = "inference_model.json", "genai_config.json"
INCOMPLETE = "download.tmp"  # Foundry Local's mark of a download that did not end
LARGEST = 1 << 20  # bytes
CONTENT, TOOL = "{Content}", "{Tool}"
_SAMPLED = ("temperature", "top_k", "top_p", "repetition_penalty")
Render = Callable[[list[dict[str, Any]], bool], Awaitable[str]]
"""Messages and whether the answer's beginning is asked for, to text. Raises TemplateFailed."""
_SYSTEM, _USER, _ASSISTANT, _LAST = "Qsystemz", "Quserz", "Qassistantz", "Qlastz"  # words no template has


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")  # Foundry Local has more, which says nothing to us


class PromptTemplate(_Read):
    """The text around `{Content}`, by role."""

    prompt: str
    user: str | None = None
    assistant: str = CONTENT
    system: str | None = None


class InferenceModel(_Read):
    """What `inference_model.json` says."""

    name: Annotated[str, Field(alias="Name", min_length=1, max_length=256)]
    description: Annotated[str, Field(alias="Description")] = ""
    version: Annotated[str | int | float, Field(alias="Version")] = ""
    template: Annotated[PromptTemplate | None, Field(alias="PromptTemplate")] = None
    config: Annotated[dict[str, Any], Field(alias="ModelConfig")] = {}

    @property
    def alias(self) -> str:
        """The name without the version that Foundry Local puts behind a colon."""
        return self.name.partition(":")[0]

    def sampling(self, otherwise: Sampling) -> Sampling:
        """How its ModelConfig samples, where it says. Raises InvalidValue for a number that is out of range."""
        said = {name: self.config[name] for name in _SAMPLED if self.config.get(name) is not None}
        try:
            return Sampling.model_validate(otherwise.model_dump() | said)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            raise InvalidValue(f"{FILE}: ModelConfig.{where}: {error.errors()[0]['msg']}.") from None


def read(folder: Path) -> InferenceModel | None:
    """What stands in a folder; None where there is no such file. Raises InvalidValue for one that is damaged."""
    path = folder / FILE
    try:
        if path.stat().st_size > LARGEST:
            raise InvalidValue(f"{path} has more than {LARGEST} bytes.")
        return InferenceModel.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidValue(f"{path} cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"])) or "it"
        raise InvalidValue(f"{path}: {where}: {error.errors()[0]['msg']}.") from None


def model_folder(folder: Path) -> Path:
    """The folder with the model: this one, or the only one below it, as in `Publisher/name/v1`.

    Raises InvalidValue where there are several, or its download has not ended.
    """
    found = [folder] if (folder / GENAI).is_file() else sorted(path.parent for path in folder.rglob(GENAI))
    if len(found) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in found[:5])
        raise InvalidValue(f"{folder} has several models, {names}; choose the folder of one.")
    chosen = found[0] if found else folder
    if (chosen / INCOMPLETE).exists():
        raise InvalidValue(f"{chosen} is a download that has not ended ({INCOMPLETE} is there).")
    return chosen


def written(model: ModelSpec, template: PromptTemplate | None) -> str:
    """The text of `inference_model.json` for a model."""
    sampling = model.sampling.model_dump(include=set(_SAMPLED), exclude_defaults=True)
    about: dict[str, Any] = {"Name": f"{model.name}:1", "Description": model.description, "Version": "1"}
    if template is not None:
        about["PromptTemplate"] = template.model_dump(exclude_none=True)
    return json.dumps(about | {"ModelConfig": sampling}, indent=2, ensure_ascii=False) + "\n"


def chat_template(folder: Path) -> str | None:
    """A chat template (Jinja) that writes what the folder's PromptTemplate says; None where it has none."""
    found = read(folder)
    return as_jinja(found.template) if found is not None and found.template is not None else None


def as_jinja(template: PromptTemplate) -> str:
    """Messages one after another. Without a `system` text of its own, a system message goes before the first other.

    Raises InvalidValue for a text without `{Content}`.
    """
    user = template.user if template.user is not None else template.prompt
    branches = [
        ("loop.last and add_generation_prompt and message['role'] == 'user'", template.prompt),
        ("message['role'] == 'user'", user),
        ("message['role'] == 'assistant'", template.assistant),
    ]
    lines = ["{%- set before = namespace(text='') -%}", "{%- for message in messages -%}"]
    system = "message['role'] == 'system'"
    if template.system is not None:
        lines.append(f"{{%- if {system} -%}}{_around(template.system)}")
    else:
        lines.append(f"{{%- if {system} -%}}{{%- set before.text = message['content'] ~ '\\n\\n' -%}}")
    for condition, text in branches:
        lines.append(f"{{%- elif {condition} -%}}{_around(text)}{{%- set before.text = '' -%}}")
    refusal = "{{ raise_exception('a PromptTemplate has no text for the role ' ~ message['role']) }}"
    lines += ["{%- else -%}", refusal, "{%- endif -%}"]
    return "".join([*lines, "{%- endfor -%}"])


async def derived(render: Render, eos_token: str) -> PromptTemplate:
    """The PromptTemplate of a chat template, found by rendering probes.

    Without a text for `system` where the template refuses such messages, or writes them into the user's.
    Raises InvalidValue for a template that does not put messages one after another, TemplateFailed where it fails.
    """
    try:
        return await _probed(render, eos_token, system=True)
    except (InvalidValue, TemplateFailed):
        return await _probed(render, eos_token, system=False)


async def _probed(render: Render, eos_token: str, *, system: bool) -> PromptTemplate:
    """Cut probes apart at their words. What ends an answer is seen behind the last one."""
    first = [{"role": "system", "content": _SYSTEM}] if system else []
    said = [*first, {"role": "user", "content": _USER}, {"role": "assistant", "content": _ASSISTANT}]
    asked = [*said, {"role": "user", "content": _LAST}]
    words = [message["content"] for message in asked]
    answered = _between(await render(said, False), words[:-1])
    closed, open_ = _between(await render(asked, False), words), _between(await render(asked, True), words)
    user_end, answer_start = _cut(closed[-3], closed[-1], eos_token)
    answer_end, user_start = _cut(closed[-2], answered[-1], eos_token)
    before = _before(closed[1], user_start) if system else ""
    if closed[:-1] != open_[:-1] or not closed[-4].endswith(user_start):
        raise InvalidValue(
            "This chat template writes a message depending on others, so no PromptTemplate says the same."
        )
    return PromptTemplate(
        system=f"{closed[0]}{CONTENT}{before}" if system else None,
        user=f"{user_start}{CONTENT}{user_end}",
        assistant=f"{answer_start}{CONTENT}{answer_end}",
        prompt=f"{user_start}{CONTENT}{open_[-1]}",
    )


def _between(text: str, words: list[str]) -> list[str]:
    """What stands before, between and behind the words. Raises InvalidValue unless each is there once, in order."""
    found = []
    for word in words:
        before, here, text = text.partition(word)
        if not here or word in text:
            raise InvalidValue(
                "This chat template leaves messages out or repeats them, so no PromptTemplate says the same."
            )
        found.append(before)
    return [*found, text]


def _cut(text: str, last: str, eos_token: str) -> tuple[str, str]:
    """The end of a message and the beginning of the next, of what stands between two; `last` is behind the last one.

    Some templates end a conversation with a token, too.
    """
    for end in (last, last.removesuffix(eos_token)):
        if text.startswith(end):
            return end, text[len(end) :]
    raise InvalidValue("This chat template ends messages in several ways, so no PromptTemplate says the same.")


def _before(text: str, end: str) -> str:
    if not text.endswith(end):
        raise InvalidValue("This chat template joins messages, so no PromptTemplate says the same.")
    return text[: len(text) - len(end)]


def _around(text: str) -> str:
    parts = text.replace(TOOL, "").split(CONTENT)
    if len(parts) != 2:
        raise InvalidValue(f"{FILE}: a PromptTemplate has {CONTENT} once in each text, and {text[:80]!r} has not.")
    return f"{{{{ '{_escaped(parts[0])}' ~ before.text ~ message['content'] ~ '{_escaped(parts[1])}' }}}}"


def _escaped(text: str) -> str:
    """As the inside of a literal between single quotes, which Jinja reads as Python does."""
    return text.encode("unicode_escape").decode("ascii").replace("'", "\\'")
