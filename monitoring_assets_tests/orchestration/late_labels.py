"""A reader of labels that arrive over days, as a table of chargebacks holds them: what is known depends on when it is asked."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd


def known_labels(day: date, options: dict[str, Any]) -> pd.DataFrame:
    """What `known.json` of the folder says of the day. Every reading is noted in `readings.txt`."""
    folder = Path(options["folder"])
    with (folder / "readings.txt").open("a") as notes:
        notes.write(f"{day}\n")
    known = json.loads((folder / "known.json").read_text()).get(str(day), {})
    return pd.DataFrame({"id": list(known), "late": list(known.values())}, dtype=object).astype({"late": "float64"})
