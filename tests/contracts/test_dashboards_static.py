"""Every query of the dashboards can return data, and every link leads somewhere: without running anything."""

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import promql_parser as promql
import pytest

from alerting.build import DASHBOARDS as DOMAINS
from alerting.catalogue import load_alerts
from alerting.document import read_yaml
from dashboards import prove
from dashboards.links import ALERTMANAGER_UID, LOKI_UID, PROMETHEUS_UID, TEMPO_UID
from dashboards.queries import FOLDER, Asked, asked, load, panels, substituted
from dashboards.telemetry import COLLECTOR_FLOWS
from service import failures
from tests.contracts.dashboard_lint import logql_problem
from tests.contracts.dashboard_typing import problems, typing

DASHBOARDS = load()
QUERIES = [query for name, dashboard in DASHBOARDS.items() for query in asked(name, dashboard)]
every_query = pytest.mark.parametrize("query", QUERIES, ids=lambda query: query.place)
every_dashboard = pytest.mark.parametrize("dashboard", DASHBOARDS.values(), ids=DASHBOARDS.keys())

MACROS = {"__url_time_range", "__from", "__to", "env", "service", "route", "runbooks:raw"}
SPAN_FIELDS = {
    "name",
    "trace:duration",
    "resource.service.name",
    "span.http.route",
    "span.http.response.status_code",
    "span.firedrill.failure.code",
}
LOG_FIELDS = {"http_route", "code", "trace_id"}


@every_query
def test_a_query_can_return_data(query: Asked) -> None:
    assert problems(substituted(query.expr), is_read=query.kind != "variable") == []


def test_each_dashboard_has_panels_variables_and_annotations() -> None:
    kinds = {(query.dashboard, query.kind) for query in QUERIES}

    assert len(DASHBOARDS) == 6
    assert kinds == {
        (name, kind) for name in DASHBOARDS for kind in ("panel", "variable", "annotation")
    }


@every_dashboard
def test_queries_use_only_variables_that_the_dashboard_has(dashboard: dict[str, Any]) -> None:
    declared = {item["name"] for item in dashboard["templating"]["list"]}
    used = {
        found[0] or found[1]
        for query in asked("", dashboard)
        for found in re.findall(r"\$\{([A-Za-z_]\w*)|\$([A-Za-z_]\w*)", query.expr)
    }

    assert used - declared - {"__rate_interval", "__range"} == set()


@every_query
def test_a_variable_asks_for_a_label_that_exists(query: Asked) -> None:
    if query.kind == "variable":
        assert query.label in typing().labels(promql.parse(substituted(query.expr)))


@every_dashboard
def test_legends_and_columns_name_labels_of_the_result(dashboard: dict[str, Any]) -> None:
    for panel in panels(dashboard):
        for target in panel["targets"]:
            labels = typing().labels(promql.parse(substituted(target["expr"])))
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) - {"le"}
            columns = {
                name
                for change in panel.get("transformations", [])
                for name in change["options"]["indexByName"]
            } - {"Value"}
            assert shown | columns <= labels, panel["title"]
            told_apart = labels - {"le", "env", "service"}
            assert target["instant"] or shown >= told_apart, f"{panel['title']}: equal legends"
    for annotation in dashboard["annotations"]["list"]:
        labels = typing().labels(promql.parse(substituted(annotation["expr"])))
        assert set(re.findall(r"\{\{(\w+)\}\}", annotation["titleFormat"])) <= labels
        assert set(annotation["tagKeys"].split(",")) <= labels


@every_dashboard
def test_a_fixed_colour_or_link_belongs_to_a_series_of_the_panel(
    dashboard: dict[str, Any],
) -> None:
    """An override that matches nothing is a line in the wrong colour, and nobody notices."""
    for panel in panels(dashboard):
        legends = {target["legendFormat"] for target in panel["targets"]}
        headings = {
            change["options"]["renameByName"].get(name, name)
            for change in panel.get("transformations", [])
            for name in change["options"]["indexByName"]
        }
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["id"] == "byName":
                assert override["matcher"]["options"] in legends | headings, panel["title"]
            else:
                re.compile(override["matcher"]["options"])


def _links(dashboard: dict[str, Any]) -> Iterator[tuple[dict[str, Any] | None, str]]:
    for panel in panels(dashboard):
        for link in panel["fieldConfig"]["defaults"].get("links", []):
            yield panel, link["url"]
        for override in panel["fieldConfig"]["overrides"]:
            for item in override["properties"]:
                if item["id"] == "links":
                    yield from ((panel, link["url"]) for link in item["value"])
    yield from ((None, link["url"]) for link in dashboard["links"] if link["type"] == "link")


@every_dashboard
def test_links_lead_to_what_exists(dashboard: dict[str, Any]) -> None:
    uids = {item["uid"] for item in DASHBOARDS.values()}
    runbooks = {alert.name for alert in load_alerts()} | set(failures.MODES)
    for panel, url in _links(dashboard):
        address = urlsplit(url)
        if url.startswith("${runbooks:raw}/runbooks/"):
            name = url.removeprefix("${runbooks:raw}/runbooks/")
            assert name.startswith("${") or name in runbooks, url
        elif address.path.startswith("/d/"):
            assert address.path.removeprefix("/d/") in uids, url
            assert "${__url_time_range}" in url
            assert {"var-env", "var-service"} <= parse_qs(address.query).keys()
        elif address.path == "/explore":
            _check_explore(url)
        else:
            assert url == "/alerting/list"
        _check_macros(panel, url)


@every_dashboard
def test_what_all_stands_for_survives_a_link(dashboard: dict[str, Any]) -> None:
    """Grafana puts it into addresses as it is, and reads them as forms are: `+` is a space there."""
    for one in dashboard["templating"]["list"]:
        value = one.get("allValue") or ""
        assert parse_qs(f"x={value}").get("x", [""]) == [value], one["name"]


def _check_macros(panel: dict[str, Any] | None, url: str) -> None:
    for macro in re.findall(r"\$\{([^}]+)\}", url):
        if macro in MACROS:
            continue
        assert panel is not None, f"{macro} has no panel around it"
        kind, _, name = macro.rpartition(".")
        labels: set[str] = set()
        for target in panel["targets"]:
            labels |= typing().labels(promql.parse(substituted(target["expr"])))
        if kind == "__data.fields":
            (change,) = panel["transformations"]
            assert name in change["options"]["renameByName"].values(), url
        else:
            assert (kind, name in labels) == ("__field.labels", True), f"{panel['title']}: {macro}"


def _check_explore(url: str) -> None:
    (packed,) = parse_qs(urlsplit(url).query)["panes"]
    (pane,) = json.loads(packed).values()
    (query,) = pane["queries"]
    assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
    assert pane["datasource"] == query["datasource"]["uid"]
    if pane["datasource"] == TEMPO_UID:
        assert traceql_fields(query["query"]) <= SPAN_FIELDS, query["query"]
    else:
        assert pane["datasource"] == LOKI_UID
        assert logql_problem(query["expr"]) == ""
        assert set(re.findall(r"\| (\w+) (?:=|=~) ", query["expr"])) <= LOG_FIELDS


_CONDITION = re.compile(
    r"""([a-z_.:]+) \s* (?:=~|!~|!=|>=|<=|=|>|<) \s*
    (?: "[^"]*" | \d+(?:ms|s)? | \$\{[\w.]+\} )""",
    re.VERBOSE,
)


def traceql_fields(query: str) -> set[str]:
    """Return the fields that conditions joined by && compare. Raises AssertionError for anything else."""
    assert query.startswith("{ "), query
    assert query.endswith(" }"), query
    fields = set()
    for condition in query[2:-2].split(" && "):
        found = _CONDITION.fullmatch(condition)
        assert found, f"no condition: {condition}"
        fields.add(found[1])
    return fields


def test_trace_queries_are_conditions_joined_by_and() -> None:
    good = '{ span.http.route = "/api/v1/profile" && trace:duration > 250ms }'

    assert traceql_fields(good) == {"span.http.route", "trace:duration"}
    for bad in ("{ span.http.route }", '{ span.http.route = "x" ', '{ span.http.route == "x" }'):
        with pytest.raises(AssertionError):
            traceql_fields(bad)


def test_a_panel_draws_every_query_it_was_given() -> None:
    title = "Collector: in, out, refused and lost"
    drawn = [query.expr for query in QUERIES if query.title == title]

    assert len(drawn) == len(COLLECTOR_FLOWS)
    assert all(metric in expr for metric, expr in zip(COLLECTOR_FLOWS, drawn, strict=True))


def test_every_alert_leads_to_a_dashboard_that_exists() -> None:
    uids = {item["uid"] for item in DASHBOARDS.values()}

    assert set(DOMAINS.values()) <= uids


def test_what_may_be_empty_names_a_query_and_a_drill_that_exist() -> None:
    places = {
        (dashboard, query.title, query.ref)
        for query in QUERIES
        for dashboard in (query.dashboard, prove.EVERY_DASHBOARD)
    }
    drills = {str(alert.front_matter["drill"]) for alert in load_alerts()} | prove.OTHER_FILLERS

    for place, drill in prove.excused().items():
        assert place in places, place
        assert drill in drills, f"{place}: {drill}"


def test_data_sources_are_provisioned_under_the_uids_that_links_name() -> None:
    document = read_yaml(FOLDER / "provisioning" / "datasources" / "firedrill.yaml")
    sources = {source["uid"]: source for source in document["datasources"]}

    assert sources.keys() == {PROMETHEUS_UID, TEMPO_UID, LOKI_UID, ALERTMANAGER_UID}
    text = json.dumps(document)
    named = set(re.findall(r'"(?:datasourceUid|alertmanagerUid|targetUID)": "(\w+)"', text))
    assert named <= sources.keys()
    assert all(source["url"] == f"${{{uid.upper()}_URL}}" for uid, source in sources.items())
    for query in sources[TEMPO_UID]["jsonData"]["tracesToMetrics"]["queries"]:
        expr = query["query"].replace("$$__tags", 'http_route="/api/v1/profile"')
        assert problems(expr) == []


def test_the_page_on_reading_them_quotes_panels_that_exist() -> None:
    page = (FOLDER.parent / "docs" / "reading-the-dashboards.md").read_text(encoding="utf-8")
    titles = [item["title"] for dashboard in DASHBOARDS.values() for item in dashboard["panels"]]

    quoted = re.findall("“([^”]+)”", " ".join(page.split()))

    assert quoted
    assert [text for text in quoted if not any(text in title for title in titles)] == []
