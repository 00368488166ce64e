"""What a teacher is asked for, checked before anything is sent."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Order(BaseModel):
    """Prompts, teachers (`URL#model`) and what their answers have to be. A YAML file can hold it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompts: Path
    teachers: Annotated[tuple[str, ...], Field(min_length=1)]
    samples: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_tokens: Annotated[int, Field(ge=1)] = 256
    concurrency: Annotated[int, Field(ge=1)] = 4
    deadline: Annotated[float, Field(gt=0, description="seconds for one request")] = 120
    retries: Annotated[int, Field(ge=0)] = 5
    shortest: Annotated[int, Field(ge=0, description="characters")] = 1
    longest: Annotated[int, Field(ge=1, description="characters")] = 8000
    agreement: Annotated[float, Field(ge=0, le=1, description="share of all samples with the winning answer")] = 0.0
