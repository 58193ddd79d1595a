"""Command line for preparing training data.

`python -m s2ops.training.datasets pack REAL CSMASK SENTLE OUT.npz` labels the real scenes and packs them into one file;
it needs tensorflow and torch.
`python -m s2ops.training.datasets pools PACKED.npz OUT --patches N --processes P` makes the pools of samples.
"""

import argparse
from pathlib import Path

from s2ops.training.datasets.build_pools import POOL_KINDS, make_pools
from s2ops.training.datasets.packed_scenes import load_packed, save_packed


def _pack(given: argparse.Namespace) -> None:
    """Run the command `pack`."""
    from s2ops.training.datasets import label_fusion  # noqa: PLC0415 - needs GDAL, which a training machine may lack

    packed = label_fusion.pack_real_data(
        given.real, *label_fusion.run_teachers(given.real, given.csmask, given.sentle), given.quarters
    )
    save_packed(packed, label_fusion.read_packed_chips(given.real / "eurosat_rgb_1200_per_class.zip"), given.out)


def _make_pools(given: argparse.Namespace) -> None:
    """Run the command `pools`."""
    make_pools(given.out, load_packed(given.packed), given.patches, given.processes, given.only)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    pack = commands.add_parser("pack")
    pack.add_argument("real", type=Path, help="folder of the real data")
    pack.add_argument("csmask", type=Path, help="folder of the unpacked ukis_csmask package")
    pack.add_argument("sentle", type=Path, help="folder of the unpacked sentle package")
    pack.add_argument("out", type=Path, help="file to write (.npz)")
    pack.add_argument("--quarters", type=Path, help="GeoJSON with outlines of built-up quarters at Zurich")
    pack.set_defaults(do=_pack)
    pools = commands.add_parser("pools")
    pools.add_argument("packed", type=Path, help="file that `pack` wrote")
    pools.add_argument("out", type=Path, help="folder in which the pools are written")
    pools.add_argument(
        "--patches",
        type=int,
        default=9000,
        help="number of simulated samples; sizes of the other pools follow in proportion",
    )
    pools.add_argument("--processes", type=int, default=1, help="number of processes that simulate")
    pools.add_argument("--only", nargs="+", choices=POOL_KINDS, default=POOL_KINDS, help="kinds of pools to make")
    pools.set_defaults(do=_make_pools)
    given = parser.parse_args()
    given.do(given)
