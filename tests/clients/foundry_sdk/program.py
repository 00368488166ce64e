"""Every method of Foundry Local's SDK, one after the other, as a program of its own; what they said as JSON, at last.

It has no word about Cupola: of the two SDKs' differences only that of `device`, and of what the older one lacks.
"""

import json
import sys
from functools import partial
from importlib.metadata import version
from typing import Any

from foundry_local import FoundryLocalManager
from openai import OpenAI
from openai.types.chat import ChatCompletionUserMessageParam

ALIAS, OTHER = sys.argv[1], sys.argv[2]
NEWER = version("foundry-local-sdk") != "0.3.1"
QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "What is the capital of France?"}


def refused(call: Any, *arguments: Any) -> str:
    """The message of the error that a call raises."""
    try:
        call(*arguments)
    except (RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def ids(models: list[Any]) -> list[str]:
    return [model.id for model in models]


def chat(manager: FoundryLocalManager, model: str) -> str:
    client = OpenAI(base_url=manager.endpoint, api_key=manager.api_key)
    stream = client.chat.completions.create(model=model, messages=[QUESTION], stream=True, temperature=0)
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def service(said: dict[str, Any]) -> FoundryLocalManager:
    manager = FoundryLocalManager(bootstrap=False)
    said["running at first"] = manager.is_service_running()
    said["without a service"] = refused(lambda: manager.service_uri)
    manager.start_service()
    said |= {"running": manager.is_service_running(), "uri": manager.service_uri}
    said |= {"endpoint": manager.endpoint, "key": manager.api_key, "cache": manager.get_cache_location()}
    return manager


def catalogue(manager: FoundryLocalManager, said: dict[str, Any]) -> None:
    listed = manager.list_catalog_models()
    manager.refresh_catalog()
    said["listed"] = [[model.alias, model.id] for model in listed]
    said["same again"] = manager.list_catalog_models() == listed
    found = manager.get_model_info(ALIAS)
    said["found"] = found.model_dump()
    strictly = partial(manager.get_model_info, raise_on_not_found=True)
    said["unknown"] = [manager.get_model_info("no-such-model"), refused(strictly, "no-such-model")]
    said["same by id"] = manager.get_model_info(found.id) == found
    if NEWER:
        from foundry_local.models import DeviceType

        said["same by name"] = manager.get_model_info(found.id.split(":")[0]) == found
        said["same on the processor"] = manager.get_model_info(ALIAS, device=DeviceType.CPU) == found


def models(manager: FoundryLocalManager, said: dict[str, Any]) -> None:
    said["cached at first"] = ids(manager.list_cached_models())
    said["loaded too early"] = refused(manager.load_model, ALIAS)
    if NEWER:
        said["upgradeable at first"] = manager.is_model_upgradeable(ALIAS)
    said["downloaded"] = manager.download_model(ALIAS).id
    said["downloaded again"] = [manager.download_model(ALIAS).id, manager.download_model(ALIAS, force=True).id]
    said["cached"] = ids(manager.list_cached_models())
    if NEWER:
        said["upgradeable"] = manager.is_model_upgradeable(ALIAS)
        manager.upgrade_model(ALIAS)
    said["cannot be downloaded"] = refused(manager.download_model, OTHER)
    said["loaded"] = manager.load_model(ALIAS, ttl=300).id
    said["loaded models"] = ids(manager.list_loaded_models())
    said["answers"] = [chat(manager, manager.get_model_info(ALIAS).id), chat(manager, ALIAS)]
    manager.unload_model(ALIAS)
    said["loaded after that"] = ids(manager.list_loaded_models())
    manager.unload_model(ALIAS, force=True)  # not loaded: nothing to do
    said["answer of a model that is not loaded"] = chat(manager, ALIAS)
    manager.unload_model(ALIAS, force=True)


def main() -> None:
    said: dict[str, Any] = {}
    manager = service(said)
    catalogue(manager, said)
    models(manager, said)
    said["bootstrap"] = ids(FoundryLocalManager(ALIAS).list_loaded_models())
    sys.stdout.write("\n" + json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
