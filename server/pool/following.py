"""What a changed models.yaml means for a worker that runs. Pure."""

from ..models.spec import ModelSpec, Variant


def runs_alike(before: ModelSpec, after: ModelSpec, variant: Variant) -> bool:
    """Whether a worker that runs this variant of the model as it was also runs it as it is described now."""
    if (before.context_length, before.adapters, before.tasks) != (after.context_length, after.adapters, after.tasks):
        return False
    # The engine may have been written into the variant by the name that was asked for.
    return variant in [known.model_copy(update={"backend": variant.backend}) for known in after.variants]
