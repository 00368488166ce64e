"""Vectors between a worker and the wire."""

import base64

from ..errors import InvalidValue
from ..pool.resident import Resident
from ..runners.base import FloatRows
from ..worker.messages import Encoded


def rows_of(resident: Resident, encoded: Encoded) -> FloatRows:
    """The vectors as rows, [inputs, dimension]."""
    assert resident.dimension is not None
    import numpy as np  # not at the top: many servers never make vectors, and it would be a fifth of their start

    return np.frombuffer(encoded.vectors, np.float32).reshape(len(encoded.tokens), resident.dimension)


def check_dimensions(resident: Resident, wanted: int | None) -> None:
    """Raises InvalidValue for more than the model has."""
    if wanted is not None and wanted > (resident.dimension or 0):
        raise InvalidValue(
            f"dimensions: {resident.spec.name} has {resident.dimension}, and {wanted} were asked for.",
            param="dimensions",
        )


def shortened(rows: FloatRows, dimensions: int | None) -> FloatRows:
    """The first numbers of each row, scaled to length 1; the rows as they are where that is all of them."""
    return rows if dimensions in {None, rows.shape[1]} else unit(rows[:, :dimensions])


def unit(rows: FloatRows) -> FloatRows:
    """Each row scaled to length 1; a row of zeros stays one."""
    import numpy as np

    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    scaled: FloatRows = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return scaled


def as_base64(row: FloatRows) -> str:
    """Little-endian float32, as OpenAI's client reads it."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()
