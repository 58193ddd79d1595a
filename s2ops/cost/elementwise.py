"""Element-wise (vector) arithmetic on dataclasses whose fields are numbers."""

from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True)
class ElementwiseNumbers:
    """Base of dataclasses of numbers that are added, multiplied and divided field by field."""

    def __add__(self, other: Self) -> Self:
        return self._from_values([a + b for a, b in zip(self.to_tuple(), other.to_tuple(), strict=True)])

    def __mul__(self, other: Self) -> Self:
        return self._from_values([a * b for a, b in zip(self.to_tuple(), other.to_tuple(), strict=True)])

    def divide(self, other: Self) -> Self:
        """Divide each field by that of `other`; the ratio is 1 where the divisor is 0, because it is unknown there."""
        return self._from_values([a / b if b else 1.0 for a, b in zip(self.to_tuple(), other.to_tuple(), strict=True)])

    def to_tuple(self) -> tuple[float, ...]:
        """Return the values in the order of the fields."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def to_json(self) -> dict[str, float]:
        """Return the values by field name, rounded to thousandths."""
        return {field.name: round(getattr(self, field.name), 3) for field in fields(self)}

    def _from_values(self, values: list[float]) -> Self:
        names = (field.name for field in fields(self))
        return replace(self, **dict(zip(names, values, strict=True)))
