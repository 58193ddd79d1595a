"""What a training configuration says of a user's own ground truth. Apart from its reader, which needs GDAL."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LabelTarget = Literal[
    "water", "grass", "tree", "residential", "industrial", "barren", "built", "clear", "cloud", "shadow", "ignore"
]


class FolderConfig(BaseModel):
    """One collection of images with their labels (docs/how-to/train-a-network.md)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Annotated[Path, Field(description="folder of GeoTIFFs; each one is a place")]
    labels: Annotated[
        Path, Field(description="folder of files named like the images, or one GeoJSON or GeoPackage for all of them")
    ]
    classes: Annotated[
        dict[str | int, LabelTarget],
        Field(min_length=1, description="value of the raster or attribute -> what it is here"),
    ]
    attribute: Annotated[str, Field(description="property of the polygons that holds the class")] = "class"
    unlabelled: Annotated[LabelTarget, Field(description="what pixels outside all polygons are")] = "ignore"
    bands: Annotated[
        tuple[int, int, int, int] | None, Field(description="numbers of red, green, blue, nir; default: the first four")
    ] = None
    offset: Annotated[int, Field(description="added to digital numbers: -1000 where baseline 04.00 left it in")] = 0
    val: Annotated[tuple[str, ...], Field(description="file names or patterns kept for validation")] = ()
    share: Annotated[float, Field(gt=0, description="of each batch, as in `sources`")] = 1.0
    name: Annotated[str | None, Field(pattern=r"^[\w-]+$", description="of the pool in the scores")] = None

    @property
    def pool(self) -> str:
        """Name of the pool; that of validation ends on -val."""
        return self.name or self.images.name
