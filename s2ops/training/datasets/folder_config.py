"""Configuration of users' ground truth: folders of images with labels. Its reader is separate, since it needs GDAL."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LabelTarget = Literal[
    "water", "grass", "tree", "residential", "industrial", "barren", "built", "clear", "cloud", "shadow", "ignore"
]


class FolderConfig(BaseModel):
    """Configuration of one collection of images with labels (docs/how-to/train-a-network.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Annotated[Path, Field(description="folder of GeoTIFFs, one per place")]
    labels: Annotated[
        Path, Field(description="folder of files named like the images, or one GeoJSON or GeoPackage for all of them")
    ]
    classes: Annotated[
        dict[str | int, LabelTarget],
        Field(min_length=1, description="class of each value of the raster or attribute"),
    ]
    attribute: Annotated[str, Field(description="property of the polygons that contains the class")] = "class"
    unlabelled: Annotated[LabelTarget, Field(description="class of pixels outside all polygons")] = "ignore"
    bands: Annotated[
        tuple[int, int, int, int] | None,
        Field(description="band numbers of red, green, blue, nir; default: the first four"),
    ] = None
    offset: Annotated[
        int,
        Field(
            description="offset added to digital numbers: -1000 if that of processing baseline 04.00 was not applied"
        ),
    ] = 0
    val: Annotated[tuple[str, ...], Field(description="file names or patterns held out for validation")] = ()
    share: Annotated[float, Field(gt=0, description="share of each batch, as in `sources`")] = 1.0
    name: Annotated[str | None, Field(pattern=r"^[\w-]+$", description="name of the pool in the scores")] = None

    @property
    def pool(self) -> str:
        """Name of the pool; the pool for validation has the suffix -val."""
        return self.name or self.images.name
