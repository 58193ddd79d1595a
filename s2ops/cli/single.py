"""Commands on single files: mask, enhance, classify."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2ops.errors import ConfigError

if TYPE_CHECKING:
    from s2ops.single_image import Options

Source = Annotated[Path, typer.Argument(metavar="IN", help="GeoTIFF with red, green, blue and nir")]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="COG to write")]
Bands = Annotated[
    str | None, typer.Option("--bands", help="numbers of red,green,blue,nir, such as 4,3,2,8; default: by description")
]
Offset = Annotated[
    int, typer.Option("--offset", help="added to digital numbers: -1000 where baseline 04.00's offset is still in")
]
Models = Annotated[str | None, typer.Option("--models", help="folder or URI of the weights; default: the package's")]


def _options(bands: str | None, offset: int, models: str | None) -> "Options":
    from s2ops.single_image import Options  # noqa: PLC0415

    try:
        numbers = tuple(int(part) for part in bands.split(",")) if bands else None
    except ValueError as error:
        raise ConfigError(f"--bands {bands!r} is no list of numbers: write it like 4,3,2,8") from error
    return Options(numbers, offset, models, os.cpu_count() or 1)


def _mask(source: Source, target: Target, bands: Bands = None, offset: Offset = 0, models: Models = None) -> None:
    """Mask cloud (1) and shadow (2) in one image; 0 is clear, 255 no data."""
    from s2ops import single_image  # noqa: PLC0415

    single_image.mask(source, target, _options(bands, offset, models))
    typer.echo(f"mask {target}")


def _enhance(source: Source, target: Target, bands: Bands = None, offset: Offset = 0) -> None:
    """Turn one image into 8 bits by the fixed tone curve, with texture in dark and bright areas."""
    from s2ops import single_image  # noqa: PLC0415

    single_image.enhance(source, target, _options(bands, offset, None))
    typer.echo(f"image {target}")


def _classify(
    files: Annotated[list[Path], typer.Argument(metavar="IN... OUT", help="one or more dates, then the COG to write")],
    bands: Bands = None,
    offset: Offset = 0,
    models: Models = None,
) -> None:
    """Classify one image, or fuse several dates of one place, into six land-cover classes."""
    from s2ops import single_image  # noqa: PLC0415

    *sources, target = files
    if not sources:
        raise ConfigError(f"classify got only {target}: give one or more input files, then the output file")
    if target in sources:
        raise ConfigError(f"classify would overwrite its input {target}: name another output file last")
    confidence = single_image.classify(sources, target, _options(bands, offset, models))
    typer.echo(f"land cover {target}")
    typer.echo(f"confidence {confidence}")


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("mask")(_mask)
    app.command("enhance")(_enhance)
    app.command("classify")(_classify)
