"""What a person sees in the Dagster UI, in a real browser. `MONITORING_ASSETS_SCREENSHOTS` names a folder for pictures of it."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitoring_assets.orchestration.asset_checks import QUALITY_CHECKS
from monitoring_assets_tests.whole_loop import payments
from monitoring_assets_tests.whole_loop.conftest import Shop

CHROMIUM = Path("/usr/bin/chromium")
if not CHROMIUM.exists():
    pytest.skip(f"the pages need a browser, and {CHROMIUM} is not installed", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Browser, Page, expect  # noqa: E402

pytestmark = pytest.mark.long

# Chromium itself would otherwise look for updates.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
ASSETS = ["reference_baseline", "inference_log", "daily_profile", "drift_scores", "labels", "performance"]
ASSETS += ["model_candidate", "champion"]
DAY = payments.QUIET_DAYS[-1].isoformat()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser, shop: Shop, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that must neither complain nor ask anybody but the server; its last state is kept as a picture."""
    page = browser.new_page(base_url=shop.server.url, viewport={"width": 1400, "height": 1000}, color_scheme="light")
    page.set_default_timeout(20_000)
    complaints: list[str] = []
    elsewhere: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: None if is_ours(asked.url, shop.server.url) else elsewhere.append(asked.url))
    yield page
    keep_picture(page, request.node.name)
    page.close()
    assert (complaints, elsewhere) == ([], [])


def test_the_lineage_runs_from_the_log_to_the_champion(page: Page) -> None:
    page.goto(f"/locations/{payments.MODULE}/asset-groups/payments/lineage")
    for asset in ASSETS:
        expect(page.get_by_text(asset, exact=True).first).to_be_visible()


def test_a_partition_of_drift_scores_shows_its_scores_and_a_picture(page: Page) -> None:
    page.goto(f"/assets/payments/drift_scores?view=partitions&partition={DAY}")
    expect(page.get_by_text(f"Materialized ({served(page)})")).to_be_visible()
    for shown in (
        "baseline_id",
        "worst_columns",
        *(f"psi {column} (1 day)" for column in ("amount", "items", "country", "score")),
    ):
        expect(page.get_by_text(shown, exact=True).first).to_be_visible()
    page.get_by_text("[Show Markdown]").click()
    picture = page.locator("img[src^='data:image/']")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 420


def test_scores_are_plotted_over_the_days(page: Page) -> None:
    page.goto("/assets/payments/drift_scores?view=overview")
    page.get_by_text("Plots", exact=True).click()
    plot = page.get_by_text("psi amount (1 day)", exact=True)
    expect(plot).to_be_visible()
    plot.scroll_into_view_if_needed()
    expect(page.locator("canvas").first).to_be_visible()


def test_the_checks_of_inference_log_have_a_status_per_day(page: Page) -> None:
    page.goto("/assets/payments/inference_log?view=checks")
    kinds = {"accepted", *QUALITY_CHECKS} - {"declared"}  # its YAML declares no expectations
    expect(page.get_by_text(f"Checks ({len(kinds)})")).to_be_visible()
    for kind in kinds:
        expect(page.get_by_text(kind, exact=True).first).to_be_visible()
    page.get_by_text("unique_id", exact=True).first.click()
    page.get_by_text("Partitions", exact=True).last.click()
    expect(page.get_by_text(re.compile(rf"^Passed\s*\({served(page)}\)$"))).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Skipped\s*\(0\)$"))).to_be_visible()


def served(page: Page) -> int:
    """How many days have come in: the drifted one is among them once its test has run."""
    query = '{ assetNodeOrError(assetKey: {path: ["payments", "drift_scores"]}) { ... on AssetNode { partitionStats {'
    answer = page.request.post("/graphql", data={"query": query + " numMaterialized } } } }"}).json()
    return int(answer["data"]["assetNodeOrError"]["partitionStats"]["numMaterialized"])


def is_ours(url: str, server: str) -> bool:
    return url.startswith((server, server.replace("http", "ws", 1), "data:", "blob:"))


def keep_picture(page: Page, name: str) -> None:
    folder = os.environ.get("MONITORING_ASSETS_SCREENSHOTS")
    if folder:
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.wait_for_timeout(1000)  # animations
        page.screenshot(path=Path(folder) / f"{name}.png")
