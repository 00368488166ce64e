"""The prompt of a completion with a suffix, for one loaded model."""

from ..chat.infill import KNOWN
from ..errors import UnsupportedField
from ..pool.resident import Resident


async def infill(resident: Resident, prefix: str | list[int], suffix: str) -> list[int]:
    """Token ids that ask for what stands between the two. Raises UnsupportedField where the model has no such tokens.

    Text of either side that is spelled like a special token is text.
    """
    before, after, middle = await markers(resident)
    leading = (await resident.tokenise("", special=False)).tokens
    if isinstance(prefix, str):
        prefix = (await resident.tokenise(prefix, special=False, leading=False)).tokens
    following = (await resident.tokenise(suffix, special=False, leading=False)).tokens
    return [*leading, before, *prefix, after, *following, middle]


async def markers(resident: Resident) -> list[int]:
    """The ids of the three tokens: of the first family whose markers are all single tokens here."""
    for family in KNOWN:
        found = [(await resident.tokenise(marker, special=True, leading=False)).tokens for marker in family]
        if all(len(tokens) == 1 for tokens in found):
            return [tokens[0] for tokens in found]
    raise UnsupportedField(
        f"suffix: {resident.spec.name} was not made to fill in the middle: it has no tokens for it.", param="suffix"
    )
