"""Alerts, their pages and dashboards, as they are written: none is without what belongs to it."""

import re
from collections import Counter

import msgspec
import pytest
import yaml

from mercato.runtime.settings import Settings, variable
from tests.watching import PAGES, PROMETHEUS, ROOT, alerts, dashboards, names, panels, rules, selected

PAGE_PARTS = ("What users notice", "See for yourself", "Likely causes", "What to do", "It is over when")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]+))?\)")


def test_the_metrics_of_an_expression_are_found() -> None:
    expression = (
        'histogram_quantile(0.99, sum by (process, le) (rate(a_bucket{le!="a{b}", x=~"y"}[5m])))'
        " / on (slo) (slo:b:burn_1h > bool 1e3) or c offset 15m"
    )
    assert names(expression) == {"a_bucket", "slo:b:burn_1h", "c"}
    assert list(selected(expression)) == [("a_bucket", {"le", "x"})]


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    for alert in alerts():
        notes = alert["annotations"]
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert["alert"]
        assert notes["runbook_url"] == f"docs/operations/{alert['alert']}.md"
        assert notes["summary"]
        assert notes["description"]


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    pages = {path.stem for path in PAGES.glob("Mercato*.md")}
    assert pages == {alert["alert"] for alert in alerts()}
    listed = (PAGES / "README.md").read_text()
    assert [page for page in sorted(pages) if f"[{page}]({page}.md)" not in listed] == []


def test_every_page_goes_from_what_users_notice_to_the_end_of_it() -> None:
    for alert in {alert["alert"] for alert in alerts()}:
        text = (PAGES / f"{alert}.md").read_text()
        headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert text.startswith(f"# {alert}\n"), alert
        assert tuple(headings) == PAGE_PARTS, alert
        assert "```" in text, f"{alert} shows no command"


def test_the_links_of_the_pages_lead_somewhere() -> None:
    for page in [*PAGES.glob("*.md"), ROOT / "docs" / "cluster.md", ROOT / "README.md"]:
        for target, heading in LINK.findall(page.read_text()):
            if "://" in target:
                continue
            found = (page.parent / target).resolve()
            assert found.exists(), f"{page.name}: {target}"
            if heading:
                assert heading in _anchors(found.read_text()), f"{page.name}: {target}#{heading}"


def _anchors(text: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_alert_is_tested_to_fire_and_not_to() -> None:
    fires: Counter[tuple[str, str]] = Counter()
    silent: Counter[str] = Counter()
    for path in (PROMETHEUS / "tests").glob("*.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            for expected in test["alert_rule_test"]:
                if not expected["exp_alerts"]:
                    silent[expected["alertname"]] += 1
                for fired in expected["exp_alerts"]:
                    fires[expected["alertname"], fired["exp_labels"]["severity"]] += 1
    assert set(fires) == {(alert["alert"], alert["labels"]["severity"]) for alert in alerts()}
    assert set(silent) == {alert["alert"] for alert in alerts()}


def test_what_is_recorded_is_named_for_what_it_is_by() -> None:
    for rule in rules():
        if "record" in rule:
            assert re.fullmatch(r"[a-z_]+:mercato_[a-z_]+:[a-z0-9_]+", rule["record"]), rule["record"]


def test_dashboards_are_four_each_with_an_address_and_a_title_of_its_own() -> None:
    boards = dashboards()
    assert set(boards) == {"service", "events", "business", "tenants"}
    assert {board["uid"] for board in boards.values()} == {f"mercato-{name}" for name in boards}
    assert {board["title"] for board in boards.values()} == {f"Mercato: {name}" for name in boards}


@pytest.mark.parametrize("name", ["service", "events", "business", "tenants"])
def test_a_dashboard_can_be_shown_on_any_prometheus_and_tells_its_units(name: str) -> None:
    board = dashboards()[name]
    variables = {each["name"]: each for each in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert [
        number for number, count in Counter(each["id"] for each in board["panels"]).items() if count > 1
    ] == []
    assert [
        title for title, count in Counter(each["title"] for each in board["panels"]).items() if count > 1
    ] == []
    sources = [each.get("datasource") for each in variables.values() if each["type"] == "query"]
    for panel in panels(board):
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        sources += [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters), panel["title"]
    assert [each for each in sources if each != {"type": "prometheus", "uid": "${datasource}"}] == []


@pytest.mark.parametrize("name", ["service", "events", "business", "tenants"])
def test_panels_lie_side_by_side_and_not_on_each_other(name: str) -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in dashboards()[name]["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_pages_name_settings_and_log_lines_that_there_are() -> None:
    code = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    settings = {variable(field.name) for field in msgspec.structs.fields(Settings)}
    for page in PAGES.glob("*.md"):
        text = page.read_text()
        for setting in set(re.findall(r"MERCATO_[A-Z]+(?:_[A-Z]+)*\b", text)):
            assert setting in settings, f"{page.name}: {setting}"
        for event in re.findall(r'"event":"([^"]+)"', text):
            assert f'"{event}"' in code, f"{page.name}: {event}"
