"""`python -P -m server.healthcheck`: exit status 0 when the server of these settings answers, else 1 and a sentence.

For a container's HEALTHCHECK, which may have neither a shell nor curl. It asks for `/health/live`, which needs no key
and is answered while models load: whoever restarts what is unhealthy shall not restart a server that is loading.
"""

import http.client
import sys

from .address import reached
from .errors import CupolaError
from .settings import load_settings

SECONDS = 4.0  # less than the five that the Dockerfile allows, so that the sentence is written


def main() -> int:
    """Ask once."""
    try:
        settings = load_settings()
    except CupolaError as error:
        return failed(error.message)
    connection = http.client.HTTPConnection(reached(settings.host), settings.port, timeout=SECONDS)
    try:
        connection.request("GET", "/health/live", headers={"Host": "localhost"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return failed(f"{settings.url} does not answer: {str(error).strip() or type(error).__name__}")
    finally:
        connection.close()
    return 0 if status == http.client.OK else failed(f"{settings.url}/health/live answers {status}")


def failed(message: str) -> int:
    sys.stderr.write(f"{message}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
