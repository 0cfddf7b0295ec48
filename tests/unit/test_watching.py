"""Alerts, their pages and the dashboards belong together: none is without the other."""

import re
from collections import Counter

import yaml

from tests.watching import PAGES, PROMETHEUS, ROOT, alerts, names, rules, selected

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
