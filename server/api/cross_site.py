"""Foundry Local's clients load and unload models by GET, which any page on the web can make a browser send.

Such a request needs no permission and no answer to do its harm, so the Host and media type checks do not see it.
Browsers say where it comes from in Sec-Fetch-Site, which pages cannot forge. They say so to trustworthy addresses only,
which loopback is; beyond loopback a key is needed, and no page can put that into such a request.
"""

from starlette.datastructures import Headers

from ..errors import CrossSiteRefused

CHANGING = (
    "/openai/load",
    "/openai/unload",
    "/openai/unloadall",
    "/openai/setgpudevice",
    "/models/load",
    "/models/unload",
)
# `same-site` is another port or another name under the same domain: a dev server's page on localhost, for one.
FOREIGN = frozenset({"cross-site", "same-site"})


def check_site(path: str, headers: Headers) -> None:
    """Raise CrossSiteRefused for a request of another site's page to a path that changes something, of any method."""
    if not any(path == room or path.startswith(f"{room}/") for room in CHANGING):
        return
    if any(value.strip().lower() in FOREIGN for value in headers.getlist("sec-fetch-site")):
        raise CrossSiteRefused("A page of another site cannot load or unload models here.")
