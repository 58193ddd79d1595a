"""Single-file commands (no catalog, no run): mask, enhance, classify."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from s2ops.cli.options import SINGLE_FILES_PANEL
from s2ops.config import DEFAULT_NETWORKS, NetworkChoice
from s2ops.errors import ConfigError

if TYPE_CHECKING:
    from s2ops.single_image import ImageOptions

Source = Annotated[
    Path, typer.Argument(metavar="IN", help="GeoTIFF with red, green, blue and near-infrared (nir) bands.")
]
Target = Annotated[Path, typer.Argument(metavar="OUT", help="Cloud Optimized GeoTIFF to write.")]
Bands = Annotated[
    str | None,
    typer.Option("--bands", help="Band numbers of red,green,blue,nir, such as 4,3,2,8; default: by band description."),
]
Offset = Annotated[
    int,
    typer.Option(
        "--offset",
        help="Added to the digital numbers; -1000 if the radiometric offset of baseline 04.00 is not yet applied.",
    ),
]
Models = Annotated[
    str | None, typer.Option("--models", help="Folder or URI of the weights; default: weights of the package.")
]


def _build_options(bands: str | None, offset: int, models: str | None) -> "ImageOptions":
    from s2ops.single_image import ImageOptions  # noqa: PLC0415

    try:
        numbers = tuple(int(part) for part in bands.split(",")) if bands else None
    except ValueError as error:
        raise ConfigError(f"--bands {bands!r} is not a list of numbers: write it like 4,3,2,8.") from error
    return ImageOptions(numbers, offset, models, os.cpu_count() or 1)


def _mask(source: Source, target: Target, bands: Bands = None, offset: Offset = 0, models: Models = None) -> None:
    """Mask clouds in one image: 0 clear, 1 cloud, 2 cloud shadow, 255 nodata."""
    from s2ops import single_image  # noqa: PLC0415

    single_image.mask(source, target, _build_options(bands, offset, models))
    typer.echo(f"mask {target}")


def _enhance(source: Source, target: Target, bands: Bands = None, offset: Offset = 0) -> None:
    """Convert one image to 8 bits with the fixed tone curve, which keeps texture in dark and bright areas."""
    from s2ops import single_image  # noqa: PLC0415

    single_image.enhance(source, target, _build_options(bands, offset, None))
    typer.echo(f"image {target}")


def _classify(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN... OUT", help="Images of one or more dates, then the Cloud Optimized GeoTIFF to write."
        ),
    ],
    bands: Bands = None,
    offset: Offset = 0,
    models: Models = None,
    networks: Annotated[
        NetworkChoice,
        typer.Option(
            "--networks",
            help="Networks: separate (one each for water, vegetation and buildings), shared (one with three heads), "
            "or both (the mean of the two).",
        ),
    ] = DEFAULT_NETWORKS,
) -> None:
    """Classify one image, or several dates of one place, into six land-cover classes."""
    from s2ops import single_image  # noqa: PLC0415

    *sources, target = files
    if not sources:
        raise ConfigError(
            f"classify needs an input: found only {target}; give one or more input files, then the output file."
        )
    if target in sources:
        raise ConfigError(
            f"classify would overwrite its input {target}: give another output file as the last argument."
        )
    options = replace(_build_options(bands, offset, models), networks=networks)
    confidence = single_image.classify(sources, target, options)
    typer.echo(f"land cover {target}")
    typer.echo(f"confidence {confidence}")


def register_commands(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("mask", rich_help_panel=SINGLE_FILES_PANEL)(_mask)
    app.command("enhance", rich_help_panel=SINGLE_FILES_PANEL)(_enhance)
    app.command("classify", rich_help_panel=SINGLE_FILES_PANEL)(_classify)
