"""Parts of SciPy, loaded when first used: they take half a second, which most pods of a run need not spend."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scipy import ndimage, sparse, special
    from scipy.sparse import linalg
else:

    class _Later:
        """A module that is imported when the first of its names is asked for."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            return getattr(import_module(self._name), attribute)

    ndimage = _Later("scipy.ndimage")
    sparse = _Later("scipy.sparse")
    linalg = _Later("scipy.sparse.linalg")
    special = _Later("scipy.special")

__all__ = ["linalg", "ndimage", "sparse", "special"]
