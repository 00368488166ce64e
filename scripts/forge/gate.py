"""Whether what was made is good enough to be served. Pure."""

from pydantic import BaseModel

from .recipe import Artifact, ForgeRecipe

NOISE = 1e-9  # of sums and differences in floating point


class Check(BaseModel):
    """One requirement: what was asked, what was found."""

    what: str
    asked: float
    found: float
    passed: bool
    required: bool = True


class Verdict(BaseModel):
    """What the gate says. `artifacts` are those that may be registered."""

    metric: str
    base: float
    checkpoint: float
    artifacts: dict[str, float]
    checks: list[Check]

    @property
    def passed(self) -> bool:
        return bool(self.admitted) and all(check.passed for check in self.checks if check.required)

    @property
    def admitted(self) -> list[str]:
        """Names of artifacts that lost no more than they may."""
        failed = {check.what for check in self.checks if not check.passed}
        return [name for name in self.artifacts if name not in failed]

    @property
    def reasons(self) -> list[str]:
        """Why it did not pass, a sentence each."""
        needed = [check for check in self.checks if not check.passed and (check.required or not self.admitted)]
        return [
            f"{check.what}: {self.metric} is {check.found:.4f}, and {check.asked:.4f} was asked" for check in needed
        ]


def judge(recipe: ForgeRecipe, base: float, checkpoint: float, artifacts: dict[str, float]) -> Verdict:
    """Figures of the gate's metric, by artifact."""
    gate = recipe.gate
    over = base + gate.gain
    checks = [
        Check(what="trained checkpoint", asked=gate.least, found=checkpoint, passed=checkpoint >= gate.least),
        Check(what="over the base", asked=over, found=checkpoint, passed=checkpoint >= over - NOISE),
    ]
    checks += [_artifact(told, checkpoint, artifacts[told.name]) for told in recipe.artifacts]
    return Verdict(metric=gate.metric, base=base, checkpoint=checkpoint, artifacts=artifacts, checks=checks)


def _artifact(told: Artifact, checkpoint: float, found: float) -> Check:
    asked = checkpoint - told.loss
    return Check(what=told.name, asked=asked, found=found, passed=found >= asked - NOISE, required=told.required)
