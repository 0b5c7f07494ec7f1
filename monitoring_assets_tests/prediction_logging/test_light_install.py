"""The serving side needs nothing but pyarrow and the standard library: the wheel, beside pyarrow, in an empty environment."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pyarrow
import pyarrow.dataset as ds
import pytest

ROOT = Path(__file__).parents[2]
SERVING = """
import sys
from monitoring_assets.prediction_logging import PredictionLogger, high_risk, low_confidence

columns = {"amount": "numeric", "country": "categorical"}
with PredictionLogger(sys.argv[1], columns, sampling_rate=0.5, always_log=[low_confidence(0.1), high_risk(0.9)]) as logger:
    for place in range(10_000):
        logger.log({"amount": place, "country": "DE"}, score=place % 100 / 100)
stats = logger.stats
assert stats.logged + stats.sampled_out == 10_000, stats
assert (stats.dropped, stats.errors) == (0, 0), stats
print(stats.logged)
"""


def run(python: Path, code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-I", "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def serving_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that holds the wheel and pyarrow, and no more, made without the network."""
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("image")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "monitoring_assets", source / "monitoring_assets", ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", folder, source]
    subprocess.run(build, check=True, timeout=120, capture_output=True)
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    (wheel,) = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, timeout=120, capture_output=True)
    (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
    (packages / "pyarrow").symlink_to(Path(pyarrow.__file__).parent)
    return python


@pytest.mark.long
def test_the_wheel_beside_pyarrow_logs_ten_thousand_predictions(serving_image: Path, tmp_path: Path) -> None:
    done = run(serving_image, SERVING, tmp_path / "log")
    assert done.returncode == 0, done.stderr
    table = ds.dataset(tmp_path / "log", format="parquet", partitioning="hive").to_table()
    assert table.num_rows == int(done.stdout)
    assert 5_000 < table.num_rows < 7_500


@pytest.mark.long
def test_a_monitors_yaml_needs_two_packages_more_and_the_error_names_them(serving_image: Path, tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text("attributes: {}")
    code = (
        "import sys; from monitoring_assets.prediction_logging import PredictionLogger; PredictionLogger.for_monitor(sys.argv[1])"
    )
    done = run(serving_image, code, tmp_path / "defs.yaml")
    assert "LoggerMisconfigured" in done.stderr
    assert "pip install pydantic pyyaml" in done.stderr
    assert "PredictionLogger(folder, columns, ...)" in done.stderr


def test_importing_the_serving_side_imports_neither_dagster_nor_pandas_nor_duckdb() -> None:
    heavy = ("dagster", "duckdb", "pandas", "pydantic", "yaml", "numpy", "sklearn", "mlflow", "great_expectations")
    code = (
        "import sys; from monitoring_assets.prediction_logging import PredictionLogger, high_risk, low_confidence\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
