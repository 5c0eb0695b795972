"""Shows the pages of reports in a headless browser, and fails if one is not what it should be.

Usage: report_page.py FOLDER: the folder of the pages, which then also holds a screenshot of each on a desktop, on a phone and
in the dark. `make report-page` makes the pages and calls this; it installs the browser with apt-get if it may.
"""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from axe_core_python.selenium import Axe
from selenium import webdriver
from selenium.webdriver.common.by import By

PACKAGES = ["chromium", "chromium-driver"]
OPTIONS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
           "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars"]
HEADLINES = {
    "complete": "Everything was recovered", "days-31": "Everything was recovered", "year": "Everything was recovered",
    "empty": "Recovered, but a person should look at it",
    "incomplete": "Not everything is recovered", "failures-10000": "Not everything is recovered",
    "hostile": "Not everything is recovered",
}
SIZES = {"desktop": (1100, 900), "phone": (390, 844)}
SEVERE = {"serious", "critical"}
PAGE_BYTES_MAX = 500_000


def install_browser():
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"error: no browser; install it with the package manager ({' and '.join(PACKAGES)})")
    subprocess.run(["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *PACKAGES],
                   check=True, stdout=sys.stderr)


def browser(profile):
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for option in [*OPTIONS, f"--user-data-dir={profile}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


def screenshot(driver, path):
    """Of the whole page."""
    taken = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(taken["data"]))


def check(condition, message):
    if not condition:
        raise SystemExit(f"error: {message}")


def sums(driver):
    """The parts and the sum of each balance."""
    number = lambda cell: int(cell.text.replace(",", ""))
    for table in driver.find_elements(By.CSS_SELECTOR, ".balances table"):
        *parts, total = [number(cell) for cell in table.find_elements(By.CSS_SELECTOR, "td.number")]
        yield table.find_element(By.TAG_NAME, "caption").text, parts, total


def check_page(driver, path):
    name = path.stem
    check(path.stat().st_size <= PAGE_BYTES_MAX, f"{name}: {path.stat().st_size} bytes")
    driver.get(path.as_uri())
    check(driver.find_element(By.TAG_NAME, "h1").text == HEADLINES[name], f"{name}: another headline")
    for title, parts, total in sums(driver):
        check(sum(parts) == total, f"{name}: {title}: {parts} is not {total}")
    check(driver.find_elements(By.TAG_NAME, "script") == [], f"{name}: a script")
    charts = driver.find_elements(By.TAG_NAME, "svg")
    check(len(charts) == (0 if name == "empty" else 3), f"{name}: {len(charts)} charts")
    if name == "incomplete":
        classes = {bar.get_attribute("class") for bar in charts[0].find_elements(By.TAG_NAME, "rect")}
        check(classes == {"done", "failed", "late", "gap"}, f"{name}: {classes}")
    if name == "failures-10000":
        check("the first 100 of 10,000" in driver.page_source, f"{name}: how many more there are is not said")
    found = [(found["id"], found["impact"], found["nodes"][0]["html"][:200])
             for found in Axe().run(driver)["violations"] if found["impact"] in SEVERE]
    check(not found, f"{name}: {found}")
    for size, (width, height) in SIZES.items():
        driver.set_window_size(width, height)
        wide = driver.execute_script("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
        check(wide <= 0, f"{name}: {wide} pixels wider than a {size}")
        screenshot(driver, path.with_name(f"{name}-{size}.png"))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    found = [found["id"] for found in Axe().run(driver)["violations"] if found["impact"] in SEVERE]
    check(not found, f"{name}, dark: {found}")
    screenshot(driver, path.with_name(f"{name}-dark.png"))
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    said = [entry["message"] for entry in driver.get_log("browser")]
    check(not said, f"{name}: the console says {said}")


def main():
    folder = Path(sys.argv[1]).resolve()
    install_browser()
    pages = sorted(folder.glob("*.html"))
    check({page.stem for page in pages} == set(HEADLINES), f"other pages: {pages}")
    with tempfile.TemporaryDirectory() as profile:
        driver = browser(profile)
        try:
            for page in pages:
                check_page(driver, page)
        finally:
            driver.quit()
    print(f"{len(pages)} pages are as they should be; screenshots are in {folder}")


if __name__ == "__main__":
    main()
